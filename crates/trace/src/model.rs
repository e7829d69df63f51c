//! The parts of a trace.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Abi, Arch, Site, Syscall};
use serde::{Deserialize, Serialize};

use crate::{Ending, FileUse};

/// Everything that was seen of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Always [`SCHEMA`](crate::SCHEMA).
    pub schema: String,
    /// The machine that it was recorded on.
    pub arch: Arch,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The command as it was run, first the program.
    pub command: Vec<String>,
    /// The interpreter, if the probe is a Python script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Python>,
    /// How the probe ended.
    pub outcome: Ending,
    /// Whether `count` and `errors` are exact.
    pub counts: Counts,
    /// What the reader should know: what could not be read, followed or resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The system calls, ordered by ABI and number; each once.
    pub syscalls: Vec<Call>,
    /// The paths that were used, ordered.
    #[serde(default)]
    pub files: Vec<FileUse>,
}

/// The interpreter of a Python probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// `sys.executable`.
    pub executable: String,
    /// `3.11.7`.
    pub version: String,
    /// `sys.prefix`.
    pub prefix: String,
}

/// How far `count` and `errors` can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Every call was counted.
    Exact,
    /// Calls that had been seen before may have passed uncounted.
    LowerBound,
}

/// The part of a run in which a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the first line of the user's code: the loader, the interpreter's own start.
    Startup,
    /// From the first line of the user's code to the end.
    Body,
}

/// One system call as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The kernel's name, or `syscall_N`.
    pub name: String,
    /// The number (x32: with bit 30).
    pub nr: u32,
    /// The ABI that the number belongs to.
    pub abi: Abi,
    /// How often it was made.
    pub count: u64,
    /// How often it failed, by the name of the error.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// The phases in which it was made.
    pub phases: BTreeSet<Phase>,
    /// What made it first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
}

impl Call {
    /// The call itself.
    pub fn syscall(&self) -> Syscall {
        Syscall::new(self.abi, self.nr)
    }
}
