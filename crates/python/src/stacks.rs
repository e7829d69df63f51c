//! The Python stacks of another process, read from its memory.
//!
//! From CPython 3.13 on the interpreter tells where it keeps what; an older one's state is found by py-spy. The frames
//! are read here: whole pages at a time, of the one thread that is asked about, and no further than the frame that is
//! wanted. py-spy reads all of all threads word by word, which took more time than all else that a recorder does where
//! something is new.
//!
//! Nothing is attached and nothing is stopped: the process has to hold still by other means, usually
//! because its supervisor has the thread in a ptrace stop. Only the thread that is asked about must be
//! stopped; while others run, their stacks may be torn, and the read is repeated a few times.
//!
//! What lies in that memory may be made to mislead. So the search runs on a thread of its own, with a
//! deadline: a panic or an endless loop becomes a [`StackError`]. So do the reads, as a page may never come
//! (userfaultfd(2)), except for [who traces](Opening) the process and waits for its pages anyway. A site is
//! what the process says about itself; it explains, and decides nothing.

mod awaited;
mod binaries;
mod layout;
mod lines;
mod offsets;
mod pages;
mod process;
mod reader;
mod symbols;
mod threads;
mod version;
mod walk;

use std::error::Error;
use std::io;

use callgate_abi::Site;
use nix::errno::Errno;

use self::awaited::Awaited;
use self::process::Python;
use self::reader::Reader;
use self::walk::{Thread, Walk};

type Cause = Box<dyn Error + Send + Sync>;

/// How often a read is tried while other threads of the process run.
const ATTEMPTS: usize = 5;

/// A process whose Python stacks can be read.
///
/// Opening costs more than reading (a few ms: symbols are looked up in the executable), so keep it for
/// as long as the process runs the same program; after an `execve` it must be opened again.
pub struct Stacks {
    pid: i32,
    reader: Reader,
    /// Whether its threads see themselves by other numbers than we do.
    nested: bool,
    /// Where its interpreter is told: not there any more once it has ended.
    awaited: Option<Awaited>,
    python: Python,
    /// A read never came back.
    given_up: bool,
}

/// What is seen of a stack at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    /// Its [`site`].
    pub site: Option<Site>,
    /// The file of its outermost frame.
    pub outermost: Option<String>,
}

/// Why stacks could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The process runs no CPython that can be recognised.
    #[error("process {pid} is not a Python process ({executable})")]
    NotPython {
        /// The process.
        pid: i32,
        /// Its executable.
        executable: String,
    },
    /// The kernel refuses to show the process's memory.
    #[error(
        "may not read the memory of process {pid}: {source}: run as the same user, as root, or with CAP_SYS_PTRACE"
    )]
    Denied {
        /// The process.
        pid: i32,
        /// The refusal.
        source: Cause,
    },
    /// The interpreter's state was not found: it is being set up, ends, or is of an unknown version.
    #[error("no Python state found in process {pid}: {source}")]
    Open {
        /// The process.
        pid: i32,
        /// Why not.
        source: Cause,
    },
    /// The interpreter is there, and has not set itself up yet.
    #[error("no Python state found in process {pid}: its interpreter has not set itself up yet")]
    NotYet {
        /// The process.
        pid: i32,
    },
    /// The interpreter's state was found before, but not its stacks now.
    #[error("cannot read the Python stacks of process {pid}: {source}")]
    Read {
        /// The process.
        pid: i32,
        /// Why not.
        source: Cause,
    },
    /// The read was given up.
    #[error("reading the Python stacks of process {pid} {what}: its memory is not as CPython leaves it")]
    GivenUp {
        /// The process.
        pid: i32,
        /// How it went wrong.
        what: &'static str,
    },
}

impl Stacks {
    /// Finds the Python interpreter in process `pid`.
    ///
    /// CPython 3.9 to 3.15, in any mount namespace, pid namespace or chroot. If the process belongs to
    /// another user and this one lacks CAP_SYS_PTRACE but has CAP_SETUID and CAP_SETGID (as root in a
    /// container has), the reads are made by threads that take that user's ids: see [`Stacks::as_user`].
    ///
    /// # Errors
    /// [`StackError`]; before the interpreter has set itself up, [`StackError::NotYet`] or [`StackError::Open`].
    pub fn open(pid: i32) -> Result<Self, StackError> {
        Opening::new(pid).open_by(Reader::direct(pid))
    }

    /// The uid and gid that the reading threads take, if they have to: direct reading was refused.
    ///
    /// While such a thread reads, which is for a few ms at most, processes of that user may send signals
    /// to it, and SIGKILL to a thread ends the supervisor. Stop the processes of the run, or have them
    /// in a pid namespace, where that matters. It leaves the supervisor undumpable (prctl(2),
    /// PR_SET_DUMPABLE), so they may not trace it.
    pub fn as_user(&self) -> Option<(u32, u32)> {
        self.reader.owner()
    }

    /// The stack of thread `tid` (as this process numbers it), innermost frame first; `None` if that
    /// thread runs no Python.
    ///
    /// From CPython 3.11 on the interpreter records each thread's id. Before, it doesn't: then the only
    /// Python thread is taken to be `tid`; of several, the main one if `tid` is the process's id, and
    /// for any other thread there is no answer.
    ///
    /// # Errors
    /// [`StackError`]. After [`StackError::GivenUp`] further reads fail too.
    pub fn frames(&mut self, tid: i32) -> Result<Option<Vec<Site>>, StackError> {
        self.read(tid, |walk, thread| walk.frames(thread))
    }

    /// As [`Stacks::frames`], of which only the site and the outermost frame's file are read.
    ///
    /// # Errors
    /// As [`Stacks::frames`].
    pub fn glance(&mut self, tid: i32) -> Result<Option<Glance>, StackError> {
        self.read(tid, |walk, thread| {
            let (site, outermost) = walk.glance(thread, is_of_somebody)?;
            Ok(Glance { site, outermost })
        })
    }

    fn read<T: Send + 'static>(
        &mut self,
        tid: i32,
        read: impl Fn(&mut Walk, Thread) -> Result<T, Errno> + Send + 'static,
    ) -> Result<Option<T>, StackError> {
        let (pid, nested, python) = (self.pid, self.nested, self.python);
        if self.awaited.is_some_and(|awaited| awaited.is_missing(pid)) {
            return Ok(None);
        }
        if self.given_up {
            return Err(StackError::GivenUp {
                pid,
                what: "was given up before",
            });
        }
        let once = move || -> Result<Option<T>, Errno> {
            let mut walk = Walk::new(pid, python.layout);
            let threads = walk.threads(python.first)?;
            match threads::of(pid, tid, nested, &threads) {
                Some(thread) => read(&mut walk, thread).map(Some),
                None => Ok(None),
            }
        };
        let result = self.reader.run_short(move || {
            let mut result = once();
            for _ in 1..ATTEMPTS {
                if result.is_ok() {
                    break;
                }
                result = once();
            }
            result
        });
        self.given_up = matches!(result, Err(StackError::GivenUp { .. }));
        result?.map_err(|errno| {
            let cause = io::Error::from(errno).into();
            failed(pid, cause, |pid, source| StackError::Read { pid, source })
        })
    }
}

/// A process that is asked again and again while its interpreter starts, by the thread that traces it: that thread
/// reads its stacks itself, and waits if a page of its memory does not come.
#[derive(Debug)]
pub struct Opening {
    pid: i32,
    awaited: Option<Awaited>,
}

impl Opening {
    /// Of a process that has not been asked yet. After an `execve` it is another.
    pub fn new(pid: i32) -> Self {
        Self { pid, awaited: None }
    }

    /// As [`Stacks::open`], and cheap as long as there is no interpreter (two calls of the kernel).
    ///
    /// # Errors
    /// As [`Stacks::open`].
    pub fn open(&mut self) -> Result<Stacks, StackError> {
        let pid = self.pid;
        if self.awaited.is_some_and(|awaited| awaited.is_missing(pid)) {
            return Err(StackError::NotYet { pid });
        }
        self.open_by(Reader::direct(pid).here())
    }

    /// With this reader, or else as the user that the process is.
    fn open_by(&mut self, reader: Reader) -> Result<Stacks, StackError> {
        match self.open_with(reader) {
            Err(denied @ StackError::Denied { .. }) => match Reader::as_owner(self.pid) {
                Some(reader) => self.open_with(reader),
                None => Err(denied),
            },
            result => result,
        }
    }

    fn open_with(&mut self, reader: Reader) -> Result<Stacks, StackError> {
        let pid = self.pid;
        let (result, awaited) = reader.run(move || {
            let mut awaited = None;
            (process::open(pid, &mut awaited), awaited)
        })?;
        self.awaited = awaited;
        Ok(Stacks {
            pid,
            reader,
            nested: threads::nested(pid),
            awaited,
            python: result?,
            given_up: false,
        })
    }
}

/// The frame that a person wants to see: the innermost that is not the import system's own, so that an
/// import shows the line that imports. Nor is it the prelude, which is `<string>` as all `-c` programs
/// are; text given to `exec` without a name is passed over with it, in favour of the line that runs it.
pub fn site(frames: &[Site]) -> Option<&Site> {
    frames.iter().find(|frame| is_of_somebody(&frame.file))
}

/// Whether somebody wrote the code of this file for the program: it is not the import system's own, nor the prelude's.
fn is_of_somebody(file: &str) -> bool {
    !(file == "<string>" || file.starts_with("<frozen ") || file.ends_with("/importlib/__init__.py"))
}

/// Tells a refusal by the kernel from other failures.
fn failed(pid: i32, source: Cause, otherwise: impl FnOnce(i32, Cause) -> StackError) -> StackError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*source);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::PermissionDenied) {
            return StackError::Denied { pid, source };
        }
        cause = error.source();
    }
    otherwise(pid, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str) -> Site {
        Site {
            file: file.into(),
            line: 1,
            function: "f".into(),
        }
    }

    #[test]
    fn the_site_is_the_innermost_line_that_somebody_wrote() {
        let stack = [
            "<frozen importlib._bootstrap_external>",
            "<frozen importlib._bootstrap>",
            "/usr/lib/python3.11/importlib/__init__.py",
            "/lib/numpy/core.py",
            "probe.py",
            "<string>",
        ]
        .map(frame);
        assert_eq!(site(&stack), Some(&stack[3]));
        assert_eq!(site(&stack[4..]), Some(&stack[4]));
        assert_eq!(site(&stack[5..]), None);
        assert_eq!(site(&[frame("<frozen zipimport>"), frame("<string>")]), None);
    }
}
