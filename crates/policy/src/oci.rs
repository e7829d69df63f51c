//! The shape of a policy file: OCI runtime-spec seccomp with moby's `comment`, `archMap`, `includes`.
//!
//! What can be judged by itself (a name, an action, a condition) is judged while it is read, so that an
//! error carries the JSON path and the line of the very word.

use callgate_abi::{Action, ArgCondition, CompareOp};
use serde::{Deserialize, Serialize};

use crate::{Rule, Unknown, names};

/// The whole file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct File {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub default_action: ActionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
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
    pub syscalls: Option<Vec<FileRule>>,
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

#[derive(Serialize, Deserialize)]
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
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Conditions {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arches: Option<Vec<MobyArch>>,
    #[serde(default, skip_serializing)]
    caps: Option<Vec<String>>,
    #[serde(default, skip_serializing)]
    min_kernel: Option<String>,
}

fn unresolved(what: &str) -> String {
    format!(
        "{what} depends on the host, which callgate does not resolve yet: keep the rule without it if it holds on \
         your hosts, else take the rule out"
    )
}

impl TryFrom<RuleParts> for FileRule {
    type Error = String;

    fn try_from(parts: RuleParts) -> Result<Self, String> {
        let action = parts.action.with(parts.errno_ret)?;
        let some = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let includes = parts.includes.unwrap_or_default();
        let excludes = parts.excludes.unwrap_or_default();
        if some(&includes.caps) {
            return Err(unresolved("includes.caps"));
        }
        if includes.min_kernel.is_some() {
            return Err(unresolved("includes.minKernel"));
        }
        if some(&excludes.caps)
            || excludes.min_kernel.is_some()
            || excludes.arches.is_some_and(|a| !a.is_empty())
        {
            return Err(unresolved("excludes"));
        }
        let names = match (parts.names, parts.name) {
            (Some(names), None) if !names.is_empty() => names,
            (None, Some(name)) => vec![name],
            (Some(_), Some(_)) => return Err("both `name` and `names`".into()),
            _ => return Err("a rule without names".into()),
        };
        Ok(Self(Rule {
            names: names.into_iter().map(|name| name.0).collect(),
            action,
            args: parts
                .args
                .unwrap_or_default()
                .into_iter()
                .map(|arg| arg.0)
                .collect(),
            comment: parts.comment,
            arches: includes
                .arches
                .filter(|arches| !arches.is_empty())
                .map(|arches| arches.into_iter().map(|arch| arch.0).collect()),
        }))
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
