//! What the kernel tells of a system call at a stop: number, ABI and arguments from the same answer.

use callgate_abi::{Abi, Syscall};

/// The system call that a tracee is stopped in (`PTRACE_GET_SYSCALL_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyscallStop {
    /// `AUDIT_ARCH_*` of the entry that was used.
    pub audit_arch: u32,
    /// The instruction after the one that entered the kernel.
    pub instruction: u64,
    /// The stack pointer.
    pub stack: u64,
    /// Before or after the call.
    pub moment: Moment,
}

/// The moment of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The call has not been made yet.
    Entry {
        /// Its number.
        nr: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// A seccomp filter asked the tracer; the call has not been made yet.
    Seccomp {
        /// Its number.
        nr: u64,
        /// Its arguments.
        args: [u64; 6],
        /// The 16 bits that the filter sent along.
        data: u32,
    },
    /// The call has been made.
    Exit {
        /// What it returned: the value, or minus the errno.
        result: i64,
        /// Whether it failed.
        failed: bool,
    },
    /// Not in a system call.
    None,
}

impl SyscallStop {
    /// The call and its arguments, at a stop before the call. `None` after it, or for an ABI that
    /// callgate does not know.
    pub fn call(&self) -> Option<(Syscall, [u64; 6])> {
        let (nr, args) = match self.moment {
            Moment::Entry { nr, args } | Moment::Seccomp { nr, args, .. } => (nr, args),
            Moment::Exit { .. } | Moment::None => return None,
        };
        let abi = Abi::of(self.audit_arch, nr)?;
        Some((Syscall::new(abi, nr as u32), args))
    }
}
