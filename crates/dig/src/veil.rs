//! What an injected filter would show to the program, answered as if it were not there.
//!
//! A process can ask whether it is under seccomp and whether it may gain privileges, and some calls depend on
//! the answer. These calls always stop; where the kernel's answer would be another than without our filter,
//! the program gets the other. What stays visible is `Seccomp:`, `Seccomp_filters:` and `NoNewPrivs:` in
//! `/proc/PID/status`.
//!
//! A program that puts itself into strict mode is answered with EINVAL by a kernel that has a filter of ours
//! already. It gets what it asked for all the same: from then on it stops on every call, and one that strict
//! mode forbids is answered with SIGKILL, as the kernel does (`mode1_syscalls`, kernel/seccomp.c).

use callgate_abi::Syscall;
use callgate_tracee::{Stopped, TraceeError};
use nix::errno::Errno;

use crate::threads::Thread;

/// A call by which a process asks about, or sets, what our filter changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `prctl(PR_GET_SECCOMP)`.
    Mode,
    /// Strict mode is asked for.
    Strict,
    /// A filter of its own is loaded, for `all` threads or this one. The argument that holds its address
    /// has this index and value.
    Filter { all: bool, program: (usize, u64) },
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    SetNoNewPrivs,
    /// `prctl(PR_GET_NO_NEW_PRIVS)`.
    GetNoNewPrivs,
    /// `landlock_restrict_self` with these flags, which needs `no_new_privs` or a privilege.
    Landlock { flags: u64 },
}

/// An address and flags that no call takes.
const NO_ADDRESS: u64 = 0;
const NO_FLAGS: u64 = 0xffff_ffff;

/// What a call asks, if it is one of those.
pub(crate) fn question(call: Syscall, args: &[u64; 6]) -> Option<Question> {
    const TSYNC: u64 = libc::SECCOMP_FILTER_FLAG_TSYNC;
    let word = |index: usize| args[index] as u32;
    let filter = |all| Question::Filter {
        all,
        program: (2, args[2]),
    };
    match (call.known_name()?, word(0), args[1]) {
        ("prctl", 21, _) => Some(Question::Mode),
        ("prctl", 22, 1) | ("seccomp", 0, _) => Some(Question::Strict),
        ("prctl", 22, 2) => Some(filter(false)),
        ("seccomp", 1, flags) => Some(filter(flags & TSYNC != 0)),
        ("prctl", 38, _) => Some(Question::SetNoNewPrivs),
        ("prctl", 39, _) => Some(Question::GetNoNewPrivs),
        ("landlock_restrict_self", _, flags) => Some(Question::Landlock { flags }),
        _ => None,
    }
}

impl Question {
    /// Before the call: where only our `no_new_privs` would let it succeed, it is made to fail.
    pub(crate) fn prepare(self, tracee: &Stopped, thread: &Thread) -> Result<(), TraceeError> {
        match self {
            Self::Filter {
                program: (index, _), ..
            } if thread.no_new_privs => tracee.set_argument(index, NO_ADDRESS),
            Self::Landlock { .. } if thread.no_new_privs => tracee.set_argument(1, NO_FLAGS),
            _ => Ok(()),
        }
    }

    /// After the call: the result that the program gets, and what it means from now on.
    pub(crate) fn answer(
        self,
        tracee: &Stopped,
        thread: &mut Thread,
        result: i64,
    ) -> Result<i64, TraceeError> {
        let error = |errno: Errno| -i64::from(errno as i32);
        let answer = match self {
            Self::Mode if !thread.own_filter && result == 2 => 0,
            Self::GetNoNewPrivs if thread.no_new_privs && result == 1 => 0,
            Self::SetNoNewPrivs if result == 0 => {
                thread.no_new_privs = false;
                result
            }
            Self::Strict if !thread.own_filter && result == error(Errno::EINVAL) => {
                thread.strict = true;
                thread.filtered = false;
                0
            }
            Self::Filter {
                program: (index, address),
                ..
            } if thread.no_new_privs => {
                tracee.restore_argument(index, address)?;
                error(Errno::EACCES)
            }
            Self::Filter { .. } if result >= 0 => {
                // Its answers win over ours where they are stricter: ours can't be relied on any more.
                thread.own_filter = true;
                thread.filtered = false;
                result
            }
            Self::Landlock { flags } if thread.no_new_privs => {
                tracee.restore_argument(1, flags)?;
                if result == error(Errno::EINVAL) {
                    error(Errno::EPERM)
                } else {
                    result
                }
            }
            _ => result,
        };
        if answer != result {
            tracee.set_result(answer)?;
        }
        Ok(answer)
    }
}

/// Whether strict mode lets a call pass.
pub(crate) fn strict_allows(call: Syscall) -> bool {
    call.abi() != callgate_abi::Abi::X32
        && matches!(
            call.known_name(),
            Some("read" | "write" | "exit" | "rt_sigreturn" | "sigreturn")
        )
}
