//! A stopped tracee: the only one that can be asked, and resuming it gives it up.

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::arch;
use crate::error::TraceeError;
use crate::sys;
use crate::syscall::{Moment, SyscallStop};
use crate::tracer::Options;

/// Why a tracee stopped (ptrace(2), "Stopped states").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Before or after a system call.
    Syscall,
    /// A filter answered `SECCOMP_RET_TRACE`.
    Seccomp,
    /// It forked; [`Stopped::event_message`] is the child's tid.
    Fork,
    /// It vforked; [`Stopped::event_message`] is the child's tid.
    Vfork,
    /// It made a thread (or cloned); [`Stopped::event_message`] is the new tid.
    Clone,
    /// It executed a program; [`Stopped::event_message`] is the tid that asked for it, which is now
    /// the process's.
    Exec,
    /// It is about to end, and its memory is still there; [`Stopped::event_message`] is the wait status.
    Exit,
    /// This signal is about to be delivered.
    Signal(i32),
    /// It stops together with its process, by this signal.
    GroupStop(i32),
    /// It is new, or was interrupted by us.
    Attached,
}

/// How a tracee goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Until an event or a signal.
    Freely,
    /// Until the next system-call entry or exit, an event or a signal.
    ToNextSyscall,
}

/// Where a tracee is in its own code, as an unwinder needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The next instruction.
    pub instruction: u64,
    /// The stack pointer.
    pub stack: u64,
    /// The frame pointer, where the code keeps one (rbp, x29).
    pub frame: u64,
    /// The return address that is in a register (arm64's x30); 0 on x86-64, where it is on the stack.
    pub link: u64,
}

/// A stopped tracee.
#[derive(Debug)]
#[must_use = "a stopped tracee stands still until it is resumed"]
pub struct Stopped {
    tid: i32,
    reason: Reason,
}

impl Stopped {
    pub(crate) fn new(tid: i32, reason: Reason) -> Self {
        Self { tid, reason }
    }

    /// The thread.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Why it stopped.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.tid)
    }

    pub(crate) fn error(&self, operation: &'static str) -> impl Fn(Errno) -> TraceeError {
        let tid = self.tid;
        move |errno| TraceeError::new(operation, tid, errno)
    }

    /// The system call it is stopped in.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses (or is older than 5.3).
    pub fn syscall(&self) -> Result<SyscallStop, TraceeError> {
        let info = ptrace::syscall_info(self.pid()).map_err(self.error("PTRACE_GET_SYSCALL_INFO"))?;
        Ok(sys::syscall_stop(&info))
    }

    /// Number and arguments from the registers: for stops that are not system-call stops but happen
    /// inside one, as when a filter kills.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn call_in_registers(&self) -> Result<(u64, [u64; 6], SyscallStop), TraceeError> {
        let stop = self.syscall()?;
        let registers = ptrace::getregs(self.pid()).map_err(self.error("PTRACE_GETREGSET"))?;
        let (nr, args) = arch::call(&registers, stop.audit_arch);
        Ok((nr, args, stop))
    }

    /// Where it is in its own code.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn frame(&self) -> Result<Frame, TraceeError> {
        let registers = ptrace::getregs(self.pid()).map_err(self.error("PTRACE_GETREGSET"))?;
        Ok(arch::frame(&registers))
    }

    /// The number that belongs to an event: a new tid, a former tid, a wait status.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn event_message(&self) -> Result<i64, TraceeError> {
        ptrace::getevent(self.pid()).map_err(self.error("PTRACE_GETEVENTMSG"))
    }

    /// The signal that is about to be delivered, if it comes from seccomp (`SIGSYS` with `SYS_SECCOMP`,
    /// sigaction(2)).
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn seccomp_trap(&self) -> Result<bool, TraceeError> {
        if self.reason != Reason::Signal(libc::SIGSYS) {
            return Ok(false);
        }
        const SYS_SECCOMP: i32 = 1;
        let info = ptrace::getsiginfo(self.pid()).map_err(self.error("PTRACE_GETSIGINFO"))?;
        Ok(info.si_code == SYS_SECCOMP)
    }

    /// Makes the system call that has just been made return this value.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn set_result(&self, value: i64) -> Result<(), TraceeError> {
        let mut registers = ptrace::getregs(self.pid()).map_err(self.error("PTRACE_GETREGSET"))?;
        arch::set_result(&mut registers, value);
        ptrace::setregs(self.pid(), registers).map_err(self.error("PTRACE_SETREGSET"))
    }

    /// Changes an argument of the system call that is about to be made.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn set_argument(&self, index: usize, value: u64) -> Result<(), TraceeError> {
        let mut registers = ptrace::getregs(self.pid()).map_err(self.error("PTRACE_GETREGSET"))?;
        arch::set_argument(&mut registers, index, value);
        ptrace::setregs(self.pid(), registers).map_err(self.error("PTRACE_SETREGSET"))
    }

    /// Puts an argument back that was changed, after the call: the registers of arguments survive it,
    /// except the one that takes the result.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn restore_argument(&self, index: usize, value: u64) -> Result<(), TraceeError> {
        if index == 0 && arch::RESULT_IN_FIRST {
            return Ok(());
        }
        self.set_argument(index, value)
    }

    /// Makes the system call that is about to be made fail with this errno, unmade; with 0 it seems to
    /// succeed. A number, as a filter may answer with errnos that have no name.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn refuse(&self, errno: u16) -> Result<(), TraceeError> {
        let mut registers = ptrace::getregs(self.pid()).map_err(self.error("PTRACE_GETREGSET"))?;
        arch::skip(self.tid, &mut registers, i32::from(errno)).map_err(self.error("PTRACE_SETREGSET"))?;
        ptrace::setregs(self.pid(), registers).map_err(self.error("PTRACE_SETREGSET"))
    }

    /// Changes which events stop it, and whether those that it makes are followed.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn set_options(&self, options: Options) -> Result<(), TraceeError> {
        ptrace::setoptions(self.pid(), options.0).map_err(self.error("PTRACE_SETOPTIONS"))
    }

    /// Kills its process.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn kill(&self) -> Result<(), TraceeError> {
        sys::signal_thread(self.tid, libc::SIGKILL).map_err(self.error("tkill"))
    }

    /// Whether an [`Injector`](crate::Injector) can use the instruction by which it has entered the
    /// kernel: after a native call that returned where it was made (not after an exec or a signal's
    /// end), and that the kernel is not about to restart.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn can_inject(&self) -> Result<bool, TraceeError> {
        // A call that a signal interrupted may have blocked others for its time: not there.
        const EINTR: i64 = -(libc::EINTR as i64);
        // ERESTARTSYS to ERESTART_RESTARTBLOCK (linux/errno.h).
        const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;
        let stop = self.syscall()?;
        let Moment::Exit { result, .. } = stop.moment else {
            return Ok(false);
        };
        let mut found = arch::INSTRUCTION;
        let at = stop.instruction.wrapping_sub(found.len() as u64);
        Ok(self.reason == Reason::Syscall
            && stop.audit_arch == callgate_abi::Arch::NATIVE.audit()
            && result != EINTR
            && !RESTARTS.contains(&result)
            && self.read(at, &mut found).is_ok_and(|read| read == found.len())
            && found == arch::INSTRUCTION)
    }

    /// Lets it go on as it would without us: a signal is delivered, a group-stop is kept up.
    /// A tracee that was killed meanwhile is no error: its end will be waited for.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn resume(self, how: Resume) -> Result<(), TraceeError> {
        match self.reason {
            Reason::GroupStop(_) => gone_is_fine(sys::listen(self.tid)).map_err(self.error("PTRACE_LISTEN")),
            Reason::Signal(signal) => self.resume_with(how, signal),
            _ => self.resume_with(how, 0),
        }
    }

    /// Lets it go on and delivers this signal (0 for none) in place of any other.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn resume_with(self, how: Resume, signal: i32) -> Result<(), TraceeError> {
        let pid = self.pid();
        let result = match (signal, Signal::try_from(signal)) {
            (0, _) => match how {
                Resume::Freely => ptrace::cont(pid, None),
                Resume::ToNextSyscall => ptrace::syscall(pid, None),
            },
            (_, Ok(signal)) => match how {
                Resume::Freely => ptrace::cont(pid, signal),
                Resume::ToNextSyscall => ptrace::syscall(pid, signal),
            },
            // nix has no real-time signals; threads of glibc need 32 and 33.
            (signal, Err(_)) => sys::resume(self.tid, how == Resume::ToNextSyscall, signal),
        };
        gone_is_fine(result).map_err(self.error("resuming"))
    }

    /// Lets the tracee go for good, as it would be without us: a signal is delivered, a group-stop is kept up.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn detach(self) -> Result<(), TraceeError> {
        let signal = match self.reason {
            Reason::Signal(signal) => signal,
            _ => 0,
        };
        gone_is_fine(sys::detach(self.tid, signal)).map_err(self.error("PTRACE_DETACH"))
    }
}

/// A tracee that was killed can't be resumed, and needn't be.
fn gone_is_fine(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ESRCH) => Ok(()),
        other => other,
    }
}
