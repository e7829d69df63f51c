//! The threads that are being recorded, and their end when the recording is cut short.

use std::collections::HashSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use callgate_tracee::{Stopper, Waker};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::near::Near;
use crate::request::Word;

/// How often the watcher looks whether a word was left, and whether a thread is busy.
const GLANCE: Duration = Duration::from_millis(20);

/// The threads that were seen and have not ended.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    all: Arc<Mutex<HashSet<i32>>>,
    /// They are not ours to kill.
    spared: bool,
}

impl Live {
    pub(crate) fn new(main: i32) -> Self {
        Self {
            all: Arc::new(Mutex::new(HashSet::from([main]))),
            spared: false,
        }
    }

    /// Threads of processes that go on when the recording ends.
    pub(crate) fn spared(threads: impl IntoIterator<Item = i32>) -> Self {
        Self {
            all: Arc::new(Mutex::new(threads.into_iter().collect())),
            spared: true,
        }
    }

    pub(crate) fn tids(&self) -> Vec<i32> {
        self.all().iter().copied().collect()
    }

    fn all(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, tid: i32) {
        self.all().insert(tid);
    }

    pub(crate) fn remove(&self, tid: i32) {
        self.all().remove(&tid);
    }

    /// Kills every process that is left, unless they are spared.
    pub(crate) fn kill(&self) {
        if self.spared {
            return;
        }
        for tid in self.all().iter() {
            // It may have ended by itself; that will be waited for.
            let _ = kill(Pid::from_raw(*tid), Signal::SIGKILL);
        }
    }
}

/// Ends the recording at the time limit, and whenever a word was left with the stopper. The stopper
/// itself only reaches the first process: the tracer may be waiting for a child that outlives it.
/// A tracer that lets its tracees live is woken instead. Dropping what is returned ends the watch.
pub(crate) fn watch(
    stopper: Stopper,
    live: Live,
    near: Near,
    waker: Option<Waker>,
    limit: Option<Duration>,
) -> Sender<()> {
    let (done, ended) = channel();
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    thread::spawn(move || {
        loop {
            let left = deadline.map_or(GLANCE, |at| at.saturating_duration_since(Instant::now()));
            let pause = if left.is_zero() { GLANCE } else { left.min(GLANCE) };
            if ended.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            near.glance();
            if deadline.is_some_and(|at| Instant::now() >= at) {
                stopper.stop(Word::Timeout as u32);
            }
            if stopper.word().is_some() {
                live.kill();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    });
    done
}
