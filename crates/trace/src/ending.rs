//! How a probe ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a probe ended, with the number that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Which kind of end.
    pub status: EndingKind,
    /// The exit code of a probe that exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The name of the signal that killed it: `SIGSEGV`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// The kinds of end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingKind {
    /// It ended by itself; the exit code says how.
    Exited,
    /// A signal killed it.
    Signaled,
    /// The time limit was reached and it was killed: the trace holds what was seen until then.
    Timeout,
    /// The user interrupted the recording: the trace holds what was seen until then.
    Interrupted,
    /// The recording let go of a process that it had attached to, because the user asked or at the time limit:
    /// that goes on.
    Detached,
    /// A recording of another tool that doesn't say how it ended.
    Unknown,
}

impl Ending {
    /// A probe that exited with this code.
    pub fn exited(code: i32) -> Self {
        Self {
            status: EndingKind::Exited,
            exit_code: Some(code),
            signal: None,
        }
    }

    /// A probe that was killed by this signal.
    pub fn signaled(signal: impl Into<String>) -> Self {
        Self {
            status: EndingKind::Signaled,
            exit_code: None,
            signal: Some(signal.into()),
        }
    }

    /// A probe that did not come to its end, or not to one that is known: [`EndingKind::Timeout`],
    /// [`EndingKind::Interrupted`], [`EndingKind::Detached`],
    /// [`EndingKind::Unknown`].
    pub fn cut(status: EndingKind) -> Self {
        Self {
            status,
            exit_code: None,
            signal: None,
        }
    }

    /// Whether the probe did what it set out to do: it exited with 0.
    pub fn succeeded(&self) -> bool {
        self.status == EndingKind::Exited && self.exit_code == Some(0)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.status, self.exit_code, self.signal.as_deref()) {
            (EndingKind::Exited, Some(code), _) => write!(f, "exited with {code}"),
            (EndingKind::Exited, None, _) => f.write_str("exited"),
            (EndingKind::Signaled, _, Some(signal)) => write!(f, "killed by {signal}"),
            (EndingKind::Signaled, _, None) => f.write_str("killed by a signal"),
            (EndingKind::Timeout, ..) => f.write_str("stopped at the time limit"),
            (EndingKind::Interrupted, ..) => f.write_str("interrupted"),
            (EndingKind::Detached, ..) => f.write_str("goes on; the recording let go of it"),
            (EndingKind::Unknown, ..) => f.write_str("how it ended is not known"),
        }
    }
}
