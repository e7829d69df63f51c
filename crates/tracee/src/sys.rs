//! The raw kernel calls: what nix does not offer for tracees.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use nix::Result;
use nix::errno::Errno;

use crate::syscall::{Moment, SyscallStop};

/// waitpid(2) for one tracee, or for any of this thread's (-1). Raw because nix refuses statuses
/// that carry real-time signals, and the stop would be lost.
pub(crate) fn wait(tid: i32) -> Result<(i32, i32)> {
    let mut status = 0;
    // SAFETY: the status is a live local.
    let tid = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    Errno::result(tid).map(|tid| (tid, status))
}

/// PTRACE_CONT or PTRACE_SYSCALL with any signal, real-time ones included.
pub(crate) fn resume(tid: i32, to_syscall: bool, signal: i32) -> Result<()> {
    let request = if to_syscall {
        libc::PTRACE_SYSCALL
    } else {
        libc::PTRACE_CONT
    };
    // SAFETY: no pointers: the address is ignored and the data is the signal's number.
    let result = unsafe {
        libc::ptrace(
            request,
            tid,
            ptr::null_mut::<libc::c_void>(),
            libc::c_long::from(signal),
        )
    };
    Errno::result(result).map(drop)
}

/// PTRACE_LISTEN: keeps a group-stop up until SIGCONT.
pub(crate) fn listen(tid: i32) -> Result<()> {
    // SAFETY: no pointers are used.
    let result = unsafe { libc::ptrace(libc::PTRACE_LISTEN, tid, 0, 0) };
    Errno::result(result).map(drop)
}

/// tgkill(2) of a thread by itself: its process is looked up by the kernel's tkill.
pub(crate) fn signal_thread(tid: i32, signal: i32) -> Result<()> {
    // SAFETY: plain numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_tkill, tid, signal) }).map(drop)
}

/// pidfd_open(2).
pub(crate) fn pidfd(pid: i32) -> Result<OwnedFd> {
    // SAFETY: plain numbers; the descriptor that comes back is new and ours (close-on-exec).
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// pidfd_send_signal(2) with SIGKILL.
pub(crate) fn kill_pidfd(fd: &OwnedFd) -> Result<()> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means "as kill(2) would".
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            libc::SIGKILL,
            no_info,
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// The kernel's answer with its union resolved.
pub(crate) fn syscall_stop(info: &libc::ptrace_syscall_info) -> SyscallStop {
    // SAFETY: `op` says which member of the union the kernel filled.
    let moment = unsafe {
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => Moment::Entry {
                nr: info.u.entry.nr,
                args: info.u.entry.args,
            },
            libc::PTRACE_SYSCALL_INFO_SECCOMP => Moment::Seccomp {
                nr: info.u.seccomp.nr,
                args: info.u.seccomp.args,
                data: info.u.seccomp.ret_data,
            },
            libc::PTRACE_SYSCALL_INFO_EXIT => Moment::Exit {
                result: info.u.exit.sval,
                failed: info.u.exit.is_error != 0,
            },
            _ => Moment::None,
        }
    };
    SyscallStop {
        audit_arch: info.arch,
        instruction: info.instruction_pointer,
        stack: info.stack_pointer,
        moment,
    }
}
