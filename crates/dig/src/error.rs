//! Why nothing could be recorded.

use callgate_launch::{Failure, LaunchError};
use callgate_tracee::TraceeError;
use nix::errno::Errno;

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum DigError {
    /// The probe's process could not be made.
    #[error("can't start the probe: {0}")]
    Launch(#[from] LaunchError),
    /// The probe's code could not be handed over.
    #[error("can't hand the code to the interpreter: {0}")]
    Code(#[source] std::io::Error),
    /// The probe can't be run: there is no such program, or it may not be executed.
    #[error("can't run {program}: {errno}")]
    Exec {
        /// The path that was tried.
        program: String,
        /// Why not.
        errno: Errno,
    },
    /// A step before the probe failed.
    #[error("{step} failed before the probe ran: {errno}")]
    SetUp {
        /// The system call.
        step: &'static str,
        /// Why.
        errno: Errno,
    },
    /// ptrace was refused.
    #[error(transparent)]
    Trace(#[from] TraceeError),
    /// The kernel's name could not be read, or another system interface failed.
    #[error("{what}: {errno}")]
    System {
        /// What was asked.
        what: &'static str,
        /// Why not.
        errno: Errno,
    },
}

impl DigError {
    /// Whether the probe is at fault (there is no such program) and not the tracing.
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Exec { .. } | Self::Launch(LaunchError::Nul { .. }))
    }

    pub(crate) fn from_failure(failure: Failure) -> Self {
        let errno = Errno::from_raw(failure.errno);
        if failure.exec {
            return Self::Exec {
                program: failure.subject.unwrap_or_default(),
                errno,
            };
        }
        Self::SetUp {
            step: failure.step,
            errno,
        }
    }
}
