//! The words of a policy file, each held against what it may say: architectures, capabilities, errnos, actions, calls.

use callgate_abi::{Action, errno_number};
use serde::{Deserialize, Serialize};

use crate::{import, names};

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
pub(crate) struct Cap(pub String);

impl TryFrom<String> for Cap {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        import::capability(&word).map(Self)
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
