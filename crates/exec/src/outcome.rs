//! How a run ended: the outcome and its JSON, `callgate.outcome/1`.

use std::error::Error;
use std::fmt;
use std::io;

use callgate_abi::{Abi, Site};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::Tier;
use crate::filtering::Refusal;
use crate::lacks::Lack;
use crate::out::BroughtOut;
use crate::run::Network;
use crate::timings::Timings;

/// The value of `schema` in every outcome of this format.
pub const SCHEMA: &str = "callgate.outcome/1";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// Which kind of end.
    pub status: Status,
    /// The exit code of `callgate exec`: the code's own; 124 timeout; 125 set-up failed and nothing
    /// ran; 126 and 127 the command can't be run, is not found; 128+N killed by signal N (137 at the limits
    /// of memory and CPU time).
    pub exit_code: i32,
    /// The signal that ended the run: `SIGSYS`.
    pub signal: Option<String>,
    /// What was written to standard output, if it was captured; bytes that are not UTF-8 are replaced.
    pub stdout: Option<String>,
    /// What was written to standard error, if it was captured.
    pub stderr: Option<String>,
    /// The same two streams byte by byte, for whoever compares runs. Not in the JSON.
    #[serde(skip)]
    pub captured: Option<Captured>,
    /// The streams that were cut at their limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<String>,
    /// The first call that was refused, if it ended a process of the run.
    pub violation: Option<Violation>,
    /// The refused calls that ended nobody, in the order in which they were first made; where that was
    /// asked for ([`Filtering`](crate::Filtering)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusals: Option<Vec<Refusal>>,
    /// How many refused calls are not among them, because there were too many kinds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refusals_omitted: u64,
    /// What the code missed by its own words, and where the host has it; where that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<Lack>,
    /// The limit that ended the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitHit>,
    /// The tier that was in force; none if nothing ran.
    pub tier: Option<Tier>,
    /// The layers that were in force.
    pub layers: Vec<String>,
    /// The tier's layers that this machine lacks, and why. Only `--tier auto` runs code without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The network that the code had: there only if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The files that the code left in its work directory and that were brought out, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<BroughtOut>,
    /// What was used.
    pub usage: Usage,
    /// Where the time went, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// The step that failed, if nothing ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetUpFailure>,
    /// What the reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a run wrote, as far as it was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// To standard output.
    pub stdout: Vec<u8>,
    /// To standard error.
    pub stderr: Vec<u8>,
}

/// The kinds of end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The code ended by itself.
    Exited,
    /// A signal killed it.
    Signaled,
    /// The filter killed it.
    Violation,
    /// The time limit was reached.
    Timeout,
    /// The memory limit was reached, and the kernel killed it.
    Oom,
    /// The limit of CPU time was reached.
    Cpu,
    /// A file would have grown over the limit of its size, and the kernel killed it.
    FileSize,
    /// A set-up step failed and nothing ran.
    SetupFailed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exited => "exited",
            Self::Signaled => "signaled",
            Self::Violation => "violation",
            Self::Timeout => "timeout",
            Self::Oom => "oom",
            Self::Cpu => "cpu",
            Self::FileSize => "file_size",
            Self::SetupFailed => "setup_failed",
        })
    }
}

/// A limit that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitHit {
    /// Which, as its option is called: `memory`, `cpu`, `timeout`, `file-size`.
    pub name: String,
    /// How much was allowed.
    pub value: u64,
    /// What `value` counts: `bytes` or `ms`.
    pub unit: String,
}

/// A refused call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Its name, or `syscall_N`.
    pub syscall: String,
    /// Its number.
    pub nr: u32,
    /// The ABI that the number belongs to.
    pub arch: Abi,
    /// Its six arguments as the registers held them.
    pub args: [u64; 6],
    /// The process, as seen from the host.
    pub pid: i32,
    /// The thread, as seen from the host.
    pub tid: i32,
    /// Where in the program it was made.
    pub site: Option<Site>,
    /// Why that can't be told of a process that does run Python.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_lines: Option<String>,
    /// How to allow it; filled in by whoever knows the policy.
    pub remedy: Option<Remedy>,
}

/// How to allow a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// A command that makes a policy which allows it.
    pub command: String,
    /// dify-sandbox's setting.
    pub dify: String,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// From the start of the set-up to the end of the last process, in milliseconds.
    pub wall_ms: u64,
    /// User and system time of all processes, in milliseconds.
    pub cpu_ms: u64,
    /// The greatest resident set of any one process, in bytes.
    pub max_rss_bytes: u64,
    /// The most memory that all processes held at once, with tmpfs and page cache, in bytes; known where
    /// there is a cgroup.
    pub memory_peak_bytes: Option<u64>,
    /// The most processes and threads at once; known where there is a cgroup that counts them.
    pub pids_peak: Option<u64>,
}

/// A set-up step that failed: the code never ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUpFailure {
    /// The step: the name of a system call or of a stage.
    pub step: String,
    /// What happened, with the errno.
    pub error: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl fmt::Display for SetUpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.error)
    }
}

impl Outcome {
    /// An outcome with nothing known but its kind and exit code.
    pub(crate) fn new(status: Status, exit_code: i32) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            status,
            exit_code,
            signal: None,
            stdout: None,
            stderr: None,
            captured: None,
            truncated: Vec::new(),
            violation: None,
            refusals: None,
            refusals_omitted: 0,
            lacks: Vec::new(),
            limit: None,
            tier: None,
            layers: Vec::new(),
            missing: Vec::new(),
            network: None,
            out: None,
            usage: Usage::default(),
            timings: None,
            setup: None,
            notes: Vec::new(),
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Outcome {
    /// That of a run of which nothing ran.
    pub(crate) fn of(failure: SetUpFailure) -> Self {
        Unready::from(failure).into()
    }
}

/// Why nothing ran, and the exit code for it: 125, or 126 if it is the command that can't be run.
#[derive(Debug)]
pub(crate) struct Unready {
    pub(crate) failure: SetUpFailure,
    pub(crate) exit_code: i32,
}

impl From<SetUpFailure> for Unready {
    fn from(failure: SetUpFailure) -> Self {
        Self {
            failure,
            exit_code: 125,
        }
    }
}

impl From<Unready> for Outcome {
    fn from(unready: Unready) -> Self {
        Self {
            setup: Some(unready.failure),
            ..Self::new(Status::SetupFailed, unready.exit_code)
        }
    }
}

/// An error with its causes, each said once; an errno by its name.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let errno = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        let said = errno.map_or_else(|| error.to_string(), |errno| Errno::from_raw(errno).to_string());
        if text.is_empty() {
            text = said;
        } else if !text.contains(&error.to_string()) && !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("opening the root")]
    struct Silent(#[source] io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_and_errnos_by_name() {
        let errno = || io::Error::from_raw_os_error(libc::EPERM);
        assert_eq!(causes(&errno()), "EPERM: Operation not permitted");
        assert_eq!(
            causes(&Silent(errno())),
            "opening the root: EPERM: Operation not permitted"
        );
        assert_eq!(causes(&io::Error::other("no room")), "no room");
    }
}
