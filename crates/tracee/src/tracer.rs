//! Seizing a process and waiting for what its threads do.

use std::marker::PhantomData;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::unistd::Pid;

use crate::error::TraceeError;
use crate::stopped::{Reason, Stopped};
use crate::sys;

/// Which events stop a tracee, and who is followed. New threads and children inherit them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options(pub(crate) ptrace::Options);

impl Options {
    /// Follow threads, forks, vforks and execs; mark system-call stops; kill everything if the tracer
    /// dies.
    pub const FOLLOW: Self = Self(
        ptrace::Options::PTRACE_O_TRACESYSGOOD
            .union(ptrace::Options::PTRACE_O_TRACECLONE)
            .union(ptrace::Options::PTRACE_O_TRACEFORK)
            .union(ptrace::Options::PTRACE_O_TRACEVFORK)
            .union(ptrace::Options::PTRACE_O_TRACEEXEC)
            .union(ptrace::Options::PTRACE_O_EXITKILL),
    );

    /// As [`Options::FOLLOW`], for processes that are not ours: they go on if the tracer dies.
    pub const ATTACH: Self = Self(Self::FOLLOW.0.difference(ptrace::Options::PTRACE_O_EXITKILL));

    /// As [`Options::FOLLOW`], and stop where a filter says `SECCOMP_RET_TRACE`.
    pub const FILTERED: Self = Self(Self::FOLLOW.0.union(ptrace::Options::PTRACE_O_TRACESECCOMP));

    /// Follow nobody and stop for nothing but signals; kill it if the tracer dies.
    pub const GUARD: Self =
        Self(ptrace::Options::PTRACE_O_TRACESYSGOOD.union(ptrace::Options::PTRACE_O_EXITKILL));

    /// As [`Options::FILTERED`], and stop before every exit.
    pub const SUPERVISE: Self = Self(Self::FILTERED.0.union(ptrace::Options::PTRACE_O_TRACEEXIT));
}

/// Something happened to a tracee.
#[derive(Debug)]
pub enum Event {
    /// It stopped and waits for an order.
    Stopped(Stopped),
    /// It exited.
    Exited {
        /// Which thread.
        tid: i32,
        /// Its exit code.
        code: i32,
    },
    /// A signal killed it.
    Killed {
        /// Which thread.
        tid: i32,
        /// The signal's number.
        signal: i32,
    },
}

/// What a process has used (getrusage(2)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// The greatest resident set, in bytes.
    pub max_rss_bytes: u64,
}

/// The tracer: the calling thread, and no other (the kernel's rule).
#[derive(Debug)]
pub struct Tracer {
    options: Options,
    usage: Usage,
    /// Not `Send`: ptrace requests from another thread fail with ESRCH.
    thread: PhantomData<*const ()>,
}

impl Tracer {
    /// Attaches to a process without stopping it. It should be waiting for a word from us, so that
    /// nothing is missed.
    ///
    /// # Errors
    /// [`TraceeError::Seize`] with advice.
    pub fn seize(pid: i32, options: Options) -> Result<Self, TraceeError> {
        ptrace::seize(Pid::from_raw(pid), options.0)
            .map_err(|errno| TraceeError::Seize { tid: pid, errno })?;
        Ok(Self {
            options,
            usage: Usage::default(),
            thread: PhantomData,
        })
    }

    /// Attaches to a further process, as [`Tracer::seize`] does and with the same options.
    ///
    /// # Errors
    /// [`TraceeError::Seize`] with advice.
    pub fn join(&mut self, pid: i32) -> Result<(), TraceeError> {
        self.seize_also(pid)
            .map_err(|errno| TraceeError::Seize { tid: pid, errno })
    }

    /// Attaches to a further thread, with the same options.
    pub(crate) fn seize_also(&self, tid: i32) -> Result<(), Errno> {
        ptrace::seize(Pid::from_raw(tid), self.options.0)
    }

    /// What the process of the last event of [`Tracer::wait`] has used. At its end: it, and the children that it
    /// has waited for.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The options that every tracee has.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Asks a running tracee to stop ([`Reason::Attached`], or [`Reason::GroupStop`] if its process is
    /// stopped). One that has ended meanwhile is no error.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn interrupt(tid: i32) -> Result<(), TraceeError> {
        match ptrace::interrupt(Pid::from_raw(tid)) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(TraceeError::new("PTRACE_INTERRUPT", tid, errno)),
        }
    }

    /// Waits for the next event of any tracee (or untraced child) of this thread; `None` when there
    /// is none left.
    ///
    /// # Errors
    /// [`TraceeError::Refused`] if waiting fails for another reason than a signal.
    pub fn wait(&mut self) -> Result<Option<Event>, TraceeError> {
        loop {
            match sys::wait(-1) {
                Ok((tid, status, usage)) => {
                    if let Some(event) = decode(tid, status) {
                        self.usage = usage;
                        return Ok(Some(event));
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return Ok(None),
                Err(errno) => return Err(TraceeError::new("waitpid", -1, errno)),
            }
        }
    }
}

/// Turns a wait status into an event; `None` for one that says nothing (a continued child).
pub(crate) fn decode(tid: i32, status: i32) -> Option<Event> {
    if libc::WIFEXITED(status) {
        return Some(Event::Exited {
            tid,
            code: libc::WEXITSTATUS(status),
        });
    }
    if libc::WIFSIGNALED(status) {
        return Some(Event::Killed {
            tid,
            signal: libc::WTERMSIG(status),
        });
    }
    if !libc::WIFSTOPPED(status) {
        return None;
    }
    let signal = libc::WSTOPSIG(status);
    let reason = match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => Reason::Syscall,
        0 => Reason::Signal(signal),
        libc::PTRACE_EVENT_FORK => Reason::Fork,
        libc::PTRACE_EVENT_VFORK => Reason::Vfork,
        libc::PTRACE_EVENT_CLONE => Reason::Clone,
        libc::PTRACE_EVENT_EXEC => Reason::Exec,
        libc::PTRACE_EVENT_EXIT => Reason::Exit,
        libc::PTRACE_EVENT_SECCOMP => Reason::Seccomp,
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Reason::Attached,
        libc::PTRACE_EVENT_STOP => Reason::GroupStop(signal),
        _ => Reason::Attached,
    };
    Some(Event::Stopped(Stopped::new(tid, reason)))
}
