//! What can go wrong with a tracee.

use nix::errno::Errno;

/// A request that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceeError {
    /// The tracee was killed while it was being asked. Its end is still to be waited for.
    #[error("{operation}: tracee {tid} is gone")]
    Gone {
        /// What was asked.
        operation: &'static str,
        /// Of whom.
        tid: i32,
    },
    /// Attaching was refused.
    #[error("seize failed for process {tid}: {errno}{}", attach_advice(*errno))]
    Seize {
        /// Whom we wanted.
        tid: i32,
        /// Why not.
        errno: Errno,
    },
    /// Any other refusal.
    #[error("{operation} failed for tracee {tid}: {errno}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// Of whom.
        tid: i32,
        /// Why not.
        errno: Errno,
    },
    /// The tracee did something else than what injecting needs.
    #[error("injecting into tracee {tid}: {what}")]
    Injection {
        /// Into whom.
        tid: i32,
        /// What happened instead.
        what: String,
    },
}

impl TraceeError {
    pub(crate) fn new(operation: &'static str, tid: i32, errno: Errno) -> Self {
        match errno {
            Errno::ESRCH => Self::Gone { operation, tid },
            errno => Self::Refused {
                operation,
                tid,
                errno,
            },
        }
    }

    /// Whether it only says that the tracee was killed meanwhile.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}

/// What to do when attaching is not permitted.
fn attach_advice(errno: Errno) -> &'static str {
    match errno {
        Errno::EPERM | Errno::EACCES => {
            " (ptrace is not permitted here: in Docker, add --cap-add SYS_PTRACE or a seccomp profile \
             that allows ptrace; with Yama, set kernel.yama.ptrace_scope to 0 or 1; another tracer may \
             already be attached)"
        }
        _ => "",
    }
}
