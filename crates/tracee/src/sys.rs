//! The raw kernel calls: what nix does not offer for tracees.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use nix::Result;
use nix::errno::Errno;

use crate::syscall::{Moment, SyscallStop};
use crate::tracer::Usage;

/// Has this program hear of its children's ends, and of the signals that are to end it, whatever its parent left it:
/// where SIGCHLD is ignored children can't be waited for (wait(2)), and what is blocked never comes. A file that would
/// become longer than is allowed (`ulimit -f`) is an error and not this program's end; what is launched has the
/// default again. For the start of a program, as threads have masks of their own.
pub fn hear_signals() {
    // SAFETY: plain signal calls; SIG_DFL is always valid, and the set is a live local that is emptied first.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// wait4(2) for one tracee, or for any of this thread's (-1), with what it has used. Raw because nix refuses
/// statuses that carry real-time signals, and the stop would be lost.
pub(crate) fn wait(tid: i32) -> Result<(i32, i32, Usage)> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: status and usage are live locals, and an all-zero rusage is a valid one.
    let (tid, used) = unsafe {
        let mut used: libc::rusage = std::mem::zeroed();
        (libc::wait4(tid, &raw mut status, flags, &raw mut used), used)
    };
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    let usage = Usage {
        cpu: time(used.ru_utime) + time(used.ru_stime),
        max_rss_bytes: (used.ru_maxrss as u64).saturating_mul(1024),
    };
    Errno::result(tid).map(|tid| (tid, status, usage))
}

/// The same without what it has used, which the kernel adds up over all its threads.
pub(crate) fn wait_only(tid: i32) -> Result<(i32, i32)> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: status is a live local, and no usage is asked for.
    let tid = unsafe { libc::wait4(tid, &raw mut status, flags, ptr::null_mut()) };
    Errno::result(tid).map(|tid| (tid, status))
}

/// Whether the next event of a tracee is its end, which stays to be waited for.
pub(crate) fn has_ended(tid: i32) -> Result<bool> {
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: siginfo_t is plain data, for which zeroes are valid; the kernel fills the live local.
    let info = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        Errno::result(libc::waitid(libc::P_PID, tid as libc::id_t, &raw mut info, flags))?;
        info
    };
    Ok(matches!(
        info.si_code,
        libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED
    ))
}

/// The signals that a tracee blocks (PTRACE_GETSIGMASK, Linux 3.11).
pub(crate) fn blocked(tid: i32) -> Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: the kernel writes 8 bytes, the size that is given in the address, to a live local.
    let result = unsafe { libc::ptrace(libc::PTRACE_GETSIGMASK, tid, size_of::<u64>(), &raw mut mask) };
    Errno::result(result).map(|_| mask)
}

/// Sets the signals that a tracee blocks (PTRACE_SETSIGMASK).
pub(crate) fn block(tid: i32, mask: u64) -> Result<()> {
    // SAFETY: the kernel reads 8 bytes, the size that is given in the address, of a live local.
    let result = unsafe { libc::ptrace(libc::PTRACE_SETSIGMASK, tid, size_of::<u64>(), &raw const mask) };
    Errno::result(result).map(drop)
}

/// Sets the number of the call that a tracee is about to make (`NT_ARM_SYSTEM_CALL`, linux/elf.h): on
/// arm64 it is in no register that the kernel looks at again.
#[cfg(target_arch = "aarch64")]
pub(crate) fn set_number(tid: i32, nr: i32) -> Result<()> {
    const NT_ARM_SYSTEM_CALL: usize = 0x404;
    let mut nr = nr;
    let mut part = libc::iovec {
        iov_base: (&raw mut nr).cast(),
        iov_len: size_of::<i32>(),
    };
    // SAFETY: the kernel reads four bytes of a live local.
    let result = unsafe { libc::ptrace(libc::PTRACE_SETREGSET, tid, NT_ARM_SYSTEM_CALL, &raw mut part) };
    Errno::result(result).map(drop)
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

/// PTRACE_DETACH with any signal, real-time ones included; 0 is none.
pub(crate) fn detach(tid: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers: the address is ignored and the data is the signal's number.
    let result = unsafe {
        libc::ptrace(
            libc::PTRACE_DETACH,
            tid,
            ptr::null_mut::<libc::c_void>(),
            libc::c_long::from(signal),
        )
    };
    Errno::result(result).map(drop)
}

/// Gives a signal a handler that does nothing, so that it ends waits (no SA_RESTART) and nothing else.
pub(crate) fn handle_in_vain(signal: i32) -> Result<()> {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: the action is a live local, all zero is a valid one, and the handler is async-signal-safe.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(signal, &raw const action, ptr::null_mut())
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
