//! Runs a read, on a thread of its own if need be: with a deadline, and as another user.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::StackError;
use crate::sys;

/// How long a read may take. It takes a few ms, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the memory of a process is read.
pub(super) struct Reader {
    pid: i32,
    owner: Option<(u32, u32)>,
    /// The calling thread reads, if it may.
    here: bool,
}

impl Reader {
    /// As the user that this process is.
    pub fn direct(pid: i32) -> Self {
        Self {
            pid,
            owner: None,
            here: false,
        }
    }

    /// The same for [short reads](Reader::run_short) on the calling thread.
    pub fn here(self) -> Self {
        Self { here: true, ..self }
    }

    /// As the user of process `pid`; `None` if that has no one identity to take.
    ///
    /// process_vm_readv(2) and the links in `/proc/PID` are granted by the credentials of the calling
    /// thread (ptrace(2), "ptrace access mode checking"): its real ids have to be the process's real,
    /// effective and saved ones. Yama's tracer and descendant rules look at the process, and stay met.
    pub fn as_owner(pid: i32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let only = |key: &str| {
            let ids = status.lines().find_map(|line| line.strip_prefix(key))?;
            let ids: Vec<u32> = ids
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()
                .ok()?;
            let (first, rest) = ids.split_first()?;
            rest.iter().all(|id| id == first).then_some(*first)
        };
        Some(Self {
            pid,
            owner: Some((only("Uid:")?, only("Gid:")?)),
            here: false,
        })
    }

    pub fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    /// Runs a `read` that can neither panic nor go on for ever: on the calling thread, if that may read and is to.
    pub fn run_short<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StackError> {
        if self.here && self.owner.is_none() {
            return Ok(read());
        }
        self.run(read)
    }

    /// Runs `read` and waits for it.
    pub fn run<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, StackError> {
        let (pid, owner) = (self.pid, self.owner);
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("stack-reader".to_owned())
            .spawn(move || {
                let result = match owner.map_or(Ok(()), |(uid, gid)| sys::become_user(uid, gid)) {
                    Ok(()) => Ok(read()),
                    Err(error) => Err(StackError::Denied {
                        pid,
                        source: error.into(),
                    }),
                };
                // Nobody listens any more after the deadline.
                let _ = sender.send(result);
            });
        let thread = thread.map_err(|error| StackError::Open {
            pid,
            source: error.into(),
        })?;
        match receiver.recv_timeout(PATIENCE) {
            Ok(result) => {
                // Not before it is gone may anyone rely on nobody having that user's ids here.
                thread
                    .join()
                    .map_err(|_| StackError::GivenUp { pid, what: "failed" })?;
                result
            }
            Err(RecvTimeoutError::Disconnected) => Err(StackError::GivenUp { pid, what: "failed" }),
            Err(RecvTimeoutError::Timeout) => Err(StackError::GivenUp {
                pid,
                what: "took too long",
            }),
        }
    }
}
