//! Makes a stopped tracee perform system calls of our choice, then puts everything back.

use callgate_abi::Filter;
use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace;

use crate::arch;
use crate::error::TraceeError;
use crate::stopped::{Reason, Resume, Stopped};
use crate::sys;
use crate::syscall::Moment;
use crate::tracer::{Event, Tracer, decode};

/// A tracee at a system-call exit that performs calls for us. [`Injector::finish`] puts its registers,
/// its text and the signals that it blocks back; all are blocked in the meantime, so that those that
/// come wait in the kernel, with all that was sent along.
#[derive(Debug)]
pub struct Injector {
    pub(crate) tracee: Stopped,
    pub(crate) saved: user_regs_struct,
    /// Where a system-call instruction stands.
    pub(crate) instruction: u64,
    /// The bytes that it replaced, if it was put there by us.
    replaced: Option<[u8; arch::INSTRUCTION.len()]>,
    /// The signals that it blocked.
    blocked: u64,
    /// What can't be blocked.
    held: Vec<i32>,
    /// Its process was stopped while we were at it.
    group_stop: bool,
}

/// How a filter is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Set `no_new_privs` first: a process without CAP_SYS_ADMIN in its user namespace must.
    pub no_new_privs: bool,
    /// Where the program is put meanwhile.
    pub place: Place,
}

/// Memory of a tracee for what its injected calls point to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Mapped for it, and unmapped afterwards: a filter must allow that.
    Mapped,
    /// Below its stack: see [`Injector::below_stack`].
    BelowStack,
}

impl Load {
    /// For a filter that holds somebody down, who has set `no_new_privs` already, and is at its start.
    pub const LOCK: Self = Self {
        no_new_privs: false,
        place: Place::BelowStack,
    };
}

impl Injector {
    /// Takes a tracee that has just left a system call (a [`Reason::Syscall`] stop with
    /// [`Moment::Exit`]), whose instruction is used again; after an exec there is none in the new
    /// image, and one is put at the entry point for the time being.
    ///
    /// # Errors
    /// [`TraceeError`] if it is at another stop, or the kernel refuses.
    pub fn new(tracee: Stopped, fresh_image: bool) -> Result<Self, TraceeError> {
        let stop = tracee.syscall()?;
        if tracee.reason() != Reason::Syscall || !matches!(stop.moment, Moment::Exit { .. }) {
            let what = format!(
                "stopped for {:?} and not at the exit of a system call",
                tracee.reason()
            );
            return Err(TraceeError::Injection {
                tid: tracee.tid(),
                what,
            });
        }
        let saved = ptrace::getregs(tracee.pid()).map_err(tracee.error("PTRACE_GETREGSET"))?;
        let at = arch::instruction_pointer(&saved);
        let blocked = sys::blocked(tracee.tid()).map_err(tracee.error("PTRACE_GETSIGMASK"))?;
        sys::block(tracee.tid(), u64::MAX).map_err(tracee.error("PTRACE_SETSIGMASK"))?;
        let mut injector = Self {
            tracee,
            saved,
            instruction: at,
            replaced: None,
            blocked,
            held: Vec::new(),
            group_stop: false,
        };
        if fresh_image {
            let mut old = arch::INSTRUCTION;
            if injector.tracee.read(at, &mut old)? != old.len() {
                return Err(injector.unexpected(format!("its entry point {at:#x} can't be read")));
            }
            injector.tracee.poke(at, &arch::INSTRUCTION)?;
            injector.replaced = Some(old);
        } else {
            injector.instruction = at - arch::INSTRUCTION.len() as u64;
        }
        Ok(injector)
    }

    /// The tracee's memory can be read and written through it between calls.
    pub fn tracee(&self) -> &Stopped {
        &self.tracee
    }

    /// Performs one call and returns its result.
    ///
    /// # Errors
    /// The outer error if the tracee is gone or does something else, the inner one if the call fails.
    pub fn call(&mut self, nr: i64, args: [u64; 6]) -> Result<Result<u64, Errno>, TraceeError> {
        let mut registers = self.saved;
        arch::prepare(&mut registers, self.instruction, nr as u64, &args);
        ptrace::setregs(self.tracee.pid(), registers).map_err(self.tracee.error("PTRACE_SETREGSET"))?;
        let entry = self.next_syscall_stop()?;
        if !matches!(entry, Moment::Entry { nr: seen, .. } if seen == nr as u64) {
            return Err(self.unexpected(format!("expected the entry of call {nr}, saw {entry:?}")));
        }
        match self.next_syscall_stop()? {
            Moment::Exit {
                failed: false,
                result,
            } => Ok(Ok(result as u64)),
            Moment::Exit { failed: true, result } => Ok(Err(Errno::from_raw((-result) as i32))),
            other => Err(self.unexpected(format!("expected the exit of call {nr}, saw {other:?}"))),
        }
    }

    /// Resumes until this tracee's next system-call stop; signals on the way are held back.
    fn next_syscall_stop(&mut self) -> Result<Moment, TraceeError> {
        self.next_stop(Resume::ToNextSyscall, Reason::Syscall)?;
        Ok(self.tracee.syscall()?.moment)
    }

    /// Resumes until this tracee stops for a reason; signals on the way are held back.
    pub(crate) fn next_stop(&mut self, how: Resume, wanted: Reason) -> Result<(), TraceeError> {
        let tid = self.tracee.tid();
        loop {
            match how {
                Resume::ToNextSyscall => ptrace::syscall(self.tracee.pid(), None),
                Resume::Freely => ptrace::cont(self.tracee.pid(), None),
            }
            .map_err(self.tracee.error("resuming"))?;
            // Its end is for the tracer's own wait to see.
            if through_signals(|| sys::has_ended(tid)).map_err(self.tracee.error("waitid"))? {
                return Err(TraceeError::Gone {
                    operation: "injecting",
                    tid,
                });
            }
            let (_, status, _) = through_signals(|| sys::wait(tid)).map_err(self.tracee.error("waitpid"))?;
            match decode(tid, status) {
                Some(Event::Stopped(stopped)) => {
                    let reason = stopped.reason();
                    self.tracee = stopped;
                    match reason {
                        reason if reason == wanted => return Ok(()),
                        Reason::Signal(signal) => self.held.push(signal),
                        Reason::GroupStop(_) => self.group_stop = true,
                        // A filter that traces everything also traces what we inject.
                        Reason::Seccomp | Reason::Attached => {}
                        Reason::Exit => {
                            // It was killed. Resumed, it ends, and that is still to be waited for.
                            let resumed = ptrace::cont(self.tracee.pid(), None);
                            debug_assert!(matches!(resumed, Ok(()) | Err(Errno::ESRCH)));
                            return Err(self.tracee.error("injecting")(Errno::ESRCH));
                        }
                        other => return Err(self.unexpected(format!("it stopped for {other:?}"))),
                    }
                }
                Some(_) => {
                    return Err(TraceeError::Gone {
                        operation: "injecting",
                        tid,
                    });
                }
                None => {}
            }
        }
    }

    pub(crate) fn unexpected(&self, what: String) -> TraceeError {
        TraceeError::Injection {
            tid: self.tracee.tid(),
            what,
        }
    }

    /// Loads a filter for the whole process (`SECCOMP_FILTER_FLAG_TSYNC`).
    ///
    /// # Errors
    /// [`TraceeError`] with the step that failed: no filter is in force then, and the caller must not
    /// let the tracee go on.
    pub fn load_filter(&mut self, filter: &Filter, how: Load) -> Result<(), TraceeError> {
        if how.no_new_privs {
            self.step("prctl(PR_SET_NO_NEW_PRIVS)", libc::SYS_prctl, [38, 1, 0, 0, 0, 0])?;
        }
        // struct sock_fprog { unsigned short len; struct sock_filter *filter; }, then the program.
        let program = filter.to_bytes();
        let header = size_of::<libc::sock_fprog>();
        let len = (header + program.len()) as u64;
        let at = match how.place {
            Place::Mapped => self.map(len)?,
            Place::BelowStack => self.below_stack(len),
        };
        let mut memory = vec![0; header];
        let count = filter.0.len().min(usize::from(u16::MAX)) as u16;
        memory[..2].copy_from_slice(&count.to_ne_bytes());
        memory[8..16].copy_from_slice(&(at + header as u64).to_ne_bytes());
        memory.extend_from_slice(&program);
        self.tracee.write(at, &memory)?;
        let mode = u64::from(libc::SECCOMP_SET_MODE_FILTER);
        let loaded = self.step(
            "seccomp",
            libc::SYS_seccomp,
            [mode, libc::SECCOMP_FILTER_FLAG_TSYNC, at, 0, 0, 0],
        );
        if how.place == Place::Mapped {
            self.unmap(at, len)?;
        }
        let unsynced = loaded?;
        if unsynced != 0 {
            let what = format!("thread {unsynced} can't take the filter (it has another of its own)");
            return Err(self.unexpected(what));
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, name: &'static str, nr: i64, args: [u64; 6]) -> Result<u64, TraceeError> {
        match self.call(nr, args)? {
            Ok(result) => Ok(result),
            Err(errno) => Err(TraceeError::Refused {
                operation: name,
                tid: self.tracee.tid(),
                errno,
            }),
        }
    }

    /// Puts everything back and makes the call that was left return `result`, if one is given. The
    /// tracee is stopped as before; held signals reach it when it goes on.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn finish(self, result: Option<i64>) -> Result<Stopped, TraceeError> {
        let Self {
            tracee,
            mut saved,
            instruction,
            replaced,
            blocked,
            held,
            group_stop,
        } = self;
        if let Some(old) = replaced {
            tracee.poke(instruction, &old)?;
        }
        if let Some(value) = result {
            arch::set_result(&mut saved, value);
        }
        ptrace::setregs(tracee.pid(), saved).map_err(tracee.error("PTRACE_SETREGSET"))?;
        sys::block(tracee.tid(), blocked).map_err(tracee.error("PTRACE_SETSIGMASK"))?;
        for signal in held {
            sys::signal_thread(tracee.tid(), signal).map_err(tracee.error("tgkill"))?;
        }
        if group_stop {
            // It must stop again with its process, where it is told to listen.
            Tracer::interrupt(tracee.tid())?;
        }
        Ok(tracee)
    }

    /// Puts everything back and lets the tracee go on.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn resume(self, result: Option<i64>, how: Resume) -> Result<(), TraceeError> {
        self.finish(result)?.resume(how)
    }
}

/// Waits again after each signal that comes to us meanwhile: half an injection must not be left.
fn through_signals<T>(wait: impl Fn() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match wait() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}
