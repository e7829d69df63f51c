//! The shape of a policy file: OCI runtime-spec seccomp with moby's `comment`, `archMap`, `includes`.
//!
//! What can be judged by itself (a name, an action, a condition) is judged while it is read, so that an
//! error carries the JSON path and the line of the very word.

use callgate_abi::{Action, ArgCondition, CompareOp, errno_number};
use serde::{Deserialize, Serialize};

use crate::{Rule, Unknown, import, names};

/// The whole file, with rules as they are wanted: [`FileRule`], or [`HostRule`] where conditions on the host
/// are kept to be resolved.
#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    bound(deserialize = "R: Deserialize<'de>")
)]
pub(crate) struct File<R> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub default_action: ActionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// The same by name, as containers-common (Podman) writes it.
    #[serde(default, skip_serializing)]
    pub default_errno: Option<ErrnoName>,
    #[serde(default)]
    pub architectures: Option<Vec<ScmpArch>>,
    #[serde(default, skip_serializing)]
    pub arch_map: Option<Vec<ArchMap>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener_metadata: Option<String>,
    /// What only callgate understands; runtimes ignore keys that they don't know.
    #[serde(default, rename = "x-callgate", skip_serializing_if = "Option::is_none")]
    pub own: Option<Own>,
    #[serde(default)]
    pub syscalls: Option<Vec<R>>,
}

/// callgate's own part of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Own {
    pub unknown: UnknownWord,
}

/// [`Unknown`] as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnknownWord {
    Default,
    Enosys,
}

impl Own {
    /// Nothing is written for what is so without it.
    pub fn of(unknown: Unknown) -> Option<Self> {
        (unknown == Unknown::Enosys).then_some(Self {
            unknown: UnknownWord::Enosys,
        })
    }

    pub fn unknown(own: Option<Self>) -> Unknown {
        match own.map(|own| own.unknown) {
            Some(UnknownWord::Enosys) => Unknown::Enosys,
            Some(UnknownWord::Default) | None => Unknown::Default,
        }
    }
}

/// moby's pairs of an architecture and the entries that come with it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ArchMap {
    pub architecture: ScmpArch,
    #[serde(default)]
    pub sub_architectures: Option<Vec<ScmpArch>>,
}

/// An architecture in libseccomp's words.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ScmpArch(pub String);

/// The architectures of the OCI runtime specification 1.2 (config-linux.md, seccomp) without their prefix.
const SCMP_ARCHES: [&str; 23] = [
    "AARCH64",
    "ARM",
    "LOONGARCH64",
    "M68K",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PARISC",
    "PARISC64",
    "PPC",
    "PPC64",
    "PPC64LE",
    "RISCV64",
    "S390",
    "S390X",
    "SH",
    "SHEB",
    "X32",
    "X86",
    "X86_64",
];

impl TryFrom<String> for ScmpArch {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word
            .strip_prefix("SCMP_ARCH_")
            .is_some_and(|w| SCMP_ARCHES.contains(&w))
        {
            true => Ok(Self(word)),
            false => Err(format!(
                "unknown architecture {word:?}: expected SCMP_ARCH_X86_64, SCMP_ARCH_AARCH64 …"
            )),
        }
    }
}

/// The words of moby's `arches` (libseccomp-golang's `ScmpArch.String`).
const MOBY_ARCHES: [&str; 20] = [
    "amd64",
    "arm",
    "arm64",
    "loong64",
    "m68k",
    "mips",
    "mips64",
    "mips64n32",
    "mipsel",
    "mipsel64",
    "mipsel64n32",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv64",
    "s390",
    "s390x",
    "sh",
    "x32",
    "x86",
];

#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct MobyArch(pub String);

impl TryFrom<String> for MobyArch {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match MOBY_ARCHES.contains(&word.as_str()) {
            true => Ok(Self(word)),
            false => Err(format!(
                "unknown architecture {word:?}: expected amd64, arm64, x86 …"
            )),
        }
    }
}

/// A capability, by its full name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Cap(String);

impl TryFrom<String> for Cap {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        import::capability(&word).map(Self)
    }
}

/// A kernel's version: its first two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Kernel {
    /// `6` of 6.1.
    pub version: u32,
    /// `1` of 6.1.
    pub patchlevel: u32,
}

impl TryFrom<String> for Kernel {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl std::str::FromStr for Kernel {
    type Err = String;

    /// Reads `6.1`, and `uname -r`'s `6.1.0-13-amd64`.
    fn from_str(word: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse::<u32>().ok()
        };
        let mut parts = word.splitn(3, '.').map(number);
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(version), Some(patchlevel)) => Ok(Self { version, patchlevel }),
            _ => Err(format!(
                "{word:?} is no kernel version: expected two numbers, as 6.1"
            )),
        }
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.version, self.patchlevel)
    }
}

/// The name of an errno.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ErrnoName(u32);

impl TryFrom<String> for ErrnoName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match errno_number(&name) {
            Some(errno) if name.starts_with('E') => Ok(Self(errno.into())),
            _ => Err(format!("unknown errno {name:?}: expected EPERM, ENOSYS …")),
        }
    }
}

/// The errno that stands in a file, by number, by name or both.
pub(crate) fn one_errno(number: Option<u32>, name: Option<ErrnoName>) -> Result<Option<u32>, String> {
    match (number, name.map(|name| name.0)) {
        (Some(number), Some(name)) if number != name => Err(format!(
            "the errno is {number} by number and {name} by name: take one out"
        )),
        (number, name) => Ok(number.or(name)),
    }
}

/// The name of an action that callgate has.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ActionName(pub String);

impl TryFrom<String> for ActionName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match Action::from_scmp(&name, None) {
            Ok(_) => Ok(Self(name)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl ActionName {
    /// The action with the errno that stands beside it.
    pub fn with(&self, errno: Option<u32>) -> Result<Action, String> {
        let action = Action::from_scmp(&self.0, errno).map_err(|error| error.to_string())?;
        match (action, errno) {
            (Action::Errno(_) | Action::Trace(_), _) | (_, None) => Ok(action),
            (_, Some(_)) => Err(format!(
                "an errno beside {}: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take one",
                self.0
            )),
        }
    }

    /// The name of an action and the errno that belongs beside it.
    pub fn of(action: Action) -> (Self, Option<u32>) {
        let errno = match action {
            Action::Errno(data) | Action::Trace(data) => Some(u32::from(data)),
            _ => None,
        };
        (Self(action.scmp_name().to_owned()), errno)
    }
}

/// The name of a call that Linux has on some machine.
#[derive(Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CallName(pub String);

impl TryFrom<String> for CallName {
    type Error = names::UnknownCall;

    fn try_from(name: String) -> Result<Self, names::UnknownCall> {
        names::check(&name).map(|()| Self(name))
    }
}

/// One rule.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "RuleParts", into = "RuleParts")]
pub(crate) struct FileRule(pub Rule);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RuleParts {
    #[serde(default)]
    names: Option<Vec<CallName>>,
    /// Docker before 17.05 wrote one name.
    #[serde(default, skip_serializing)]
    name: Option<CallName>,
    action: ActionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(default, skip_serializing)]
    errno: Option<ErrnoName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Arg>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    includes: Option<Conditions>,
    #[serde(default, skip_serializing)]
    excludes: Option<Conditions>,
}

/// moby's conditions on the host.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Conditions {
    /// Machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arches: Option<Vec<MobyArch>>,
    /// Capabilities of the container.
    #[serde(default, skip_serializing)]
    caps: Option<Vec<Cap>>,
    /// The oldest kernel.
    #[serde(default, skip_serializing)]
    min_kernel: Option<Kernel>,
}

impl Conditions {
    /// The machines, in moby's words.
    pub fn arches(&self) -> Vec<String> {
        self.arches.iter().flatten().map(|arch| arch.0.clone()).collect()
    }

    /// The capabilities.
    pub fn caps(&self) -> Vec<&str> {
        self.caps.iter().flatten().map(|cap| cap.0.as_str()).collect()
    }

    /// The oldest kernel.
    pub fn min_kernel(&self) -> Option<Kernel> {
        self.min_kernel
    }
}

/// A rule that counts on some hosts.
#[derive(Deserialize)]
#[serde(try_from = "RuleParts")]
pub(crate) struct HostRule {
    /// The rule, for all hosts.
    pub rule: Rule,
    /// Where it counts: all of these must hold.
    pub includes: Conditions,
    /// Where it does not: none of these may hold.
    pub excludes: Conditions,
}

fn unresolved(what: &str) -> String {
    format!("{what} depends on the host: `callgate policy import` resolves it (--kernel, --cap)")
}

impl TryFrom<RuleParts> for HostRule {
    type Error = String;

    fn try_from(parts: RuleParts) -> Result<Self, String> {
        let action = parts.action.with(one_errno(parts.errno_ret, parts.errno)?)?;
        let names = match (parts.names, parts.name) {
            (Some(names), None) if !names.is_empty() => names,
            (None, Some(name)) => vec![name],
            (Some(_), Some(_)) => return Err("both `name` and `names`".into()),
            _ => return Err("a rule without names".into()),
        };
        Ok(Self {
            rule: Rule {
                names: names.into_iter().map(|name| name.0).collect(),
                action,
                args: parts
                    .args
                    .unwrap_or_default()
                    .into_iter()
                    .map(|arg| arg.0)
                    .collect(),
                comment: parts.comment,
                arches: None,
            },
            includes: parts.includes.unwrap_or_default(),
            excludes: parts.excludes.unwrap_or_default(),
        })
    }
}

impl TryFrom<RuleParts> for FileRule {
    type Error = String;

    fn try_from(parts: RuleParts) -> Result<Self, String> {
        let HostRule {
            rule,
            includes,
            excludes,
        } = HostRule::try_from(parts)?;
        if !includes.caps().is_empty() {
            return Err(unresolved("includes.caps"));
        }
        if includes.min_kernel.is_some() {
            return Err(unresolved("includes.minKernel"));
        }
        if !excludes.caps().is_empty() || excludes.min_kernel.is_some() || !excludes.arches().is_empty() {
            return Err(unresolved("excludes"));
        }
        let arches = Some(includes.arches()).filter(|arches| !arches.is_empty());
        Ok(Self(Rule { arches, ..rule }))
    }
}

impl From<FileRule> for RuleParts {
    fn from(FileRule(rule): FileRule) -> Self {
        let (action, errno_ret) = ActionName::of(rule.action);
        Self {
            names: Some(rule.names.into_iter().map(CallName).collect()),
            name: None,
            action,
            errno_ret,
            errno: None,
            args: (!rule.args.is_empty()).then(|| rule.args.iter().copied().map(Arg).collect()),
            comment: rule.comment,
            includes: rule.arches.map(|arches| Conditions {
                arches: Some(arches.into_iter().map(MobyArch).collect()),
                ..Conditions::default()
            }),
            excludes: None,
        }
    }
}

/// One condition.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "ArgParts", into = "ArgParts")]
struct Arg(ArgCondition);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArgParts {
    index: u8,
    value: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: Op,
}

#[derive(Serialize, Deserialize)]
enum Op {
    #[serde(rename = "SCMP_CMP_EQ")]
    Eq,
    #[serde(rename = "SCMP_CMP_NE")]
    Ne,
    #[serde(rename = "SCMP_CMP_LT")]
    Lt,
    #[serde(rename = "SCMP_CMP_LE")]
    Le,
    #[serde(rename = "SCMP_CMP_GE")]
    Ge,
    #[serde(rename = "SCMP_CMP_GT")]
    Gt,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEq,
}

impl TryFrom<ArgParts> for Arg {
    type Error = String;

    fn try_from(arg: ArgParts) -> Result<Self, String> {
        let two = arg.value_two.unwrap_or(0);
        let (op, value) = match arg.op {
            // OCI: `value` is the mask, `valueTwo` the datum.
            Op::MaskedEq => (CompareOp::MaskedEq(arg.value), two),
            _ if two != 0 => return Err("valueTwo belongs to SCMP_CMP_MASKED_EQ alone".into()),
            Op::Eq => (CompareOp::Eq, arg.value),
            Op::Ne => (CompareOp::Ne, arg.value),
            Op::Lt => (CompareOp::Lt, arg.value),
            Op::Le => (CompareOp::Le, arg.value),
            Op::Ge => (CompareOp::Ge, arg.value),
            Op::Gt => (CompareOp::Gt, arg.value),
        };
        ArgCondition::new(arg.index, op, value)
            .map(Self)
            .map_err(|error| error.to_string())
    }
}

impl From<Arg> for ArgParts {
    fn from(Arg(condition): Arg) -> Self {
        let (op, value, value_two) = match condition.op() {
            CompareOp::MaskedEq(mask) => (Op::MaskedEq, mask, Some(condition.value())),
            CompareOp::Eq => (Op::Eq, condition.value(), None),
            CompareOp::Ne => (Op::Ne, condition.value(), None),
            CompareOp::Lt => (Op::Lt, condition.value(), None),
            CompareOp::Le => (Op::Le, condition.value(), None),
            CompareOp::Ge => (Op::Ge, condition.value(), None),
            CompareOp::Gt => (Op::Gt, condition.value(), None),
        };
        Self {
            index: condition.index(),
            value,
            value_two,
            op,
        }
    }
}
