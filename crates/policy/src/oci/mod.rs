//! The shape of a policy file: OCI runtime-spec seccomp with moby's `comment`, `archMap`, `includes`.
//!
//! What can be judged by itself (a name, an action, a condition) is judged while it is read, so that an
//! error carries the JSON path and the line of the very word.

mod condition;
mod kernel;
mod rule;
mod words;

use serde::{Deserialize, Serialize};

pub use kernel::Kernel;
pub(crate) use rule::{FileRule, HostRule};
pub(crate) use words::{ActionName, ErrnoName, ScmpArch, one_errno};

use crate::Unknown;

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
