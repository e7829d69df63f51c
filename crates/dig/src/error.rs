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
    /// A running process can't be attached to.
    #[error("can't attach to process {pid}: {why}")]
    Attach {
        /// Which one.
        pid: i32,
        /// Why not, with the mend.
        why: NotAttached,
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
    /// Whether the probe is at fault (there is no such program or process) and not the tracing.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Exec { .. } | Self::Launch(LaunchError::Nul { .. }) => true,
            Self::Attach { why, .. } => why.is_bad_input(),
            _ => false,
        }
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

/// Why a running process can't be attached to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAttached {
    /// There is none.
    #[error("there is no such process")]
    Missing,
    /// The number is that of a thread.
    #[error("that is a thread of process {process}: attach to {process}, which takes all its threads")]
    Thread {
        /// Its process.
        process: i32,
    },
    /// It has ended, and its parent has not asked how.
    #[error("it has ended already (a zombie until its parent waits for it)")]
    Ended,
    /// It is this program, or runs it.
    #[error("callgate itself runs in it or below it: start callgate from another terminal or service")]
    Ours,
    /// It has no program.
    #[error("it is a thread of the kernel, which makes no system calls")]
    Kernel,
    /// Another tracer has it: there can be one only.
    #[error("process {tracer} ({name}) traces it already: end that first (a debugger, strace, a supervisor)")]
    Traced {
        /// The other tracer.
        tracer: i32,
        /// Its name.
        name: String,
    },
    /// Yama refuses (Documentation/admin-guide/LSM/Yama.rst).
    #[error(
        "the Yama security module refuses (kernel.yama.ptrace_scope is {scope}): run as root, or \
         `sysctl kernel.yama.ptrace_scope=0`{}",
        if *.scope >= 3 { "; at 3 that takes a reboot" } else { "" }
    )]
    Yama {
        /// `/proc/sys/kernel/yama/ptrace_scope`.
        scope: u32,
    },
    /// The kernel refuses for another reason.
    #[error(
        "{errno}: it runs as uid {uid}, callgate as {own}: run as root or with CAP_SYS_PTRACE (in Docker: \
         --cap-add SYS_PTRACE, and --pid=host or container:NAME for processes outside)"
    )]
    Refused {
        /// What the kernel said.
        errno: Errno,
        /// The real uid of the process.
        uid: u32,
        /// Our effective uid.
        own: u32,
    },
}

impl NotAttached {
    fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Thread { .. } | Self::Ended | Self::Ours | Self::Kernel
        )
    }
}
