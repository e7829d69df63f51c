//! A machine that is busy, and threads that are interrupted at any moment: what is rare otherwise comes up.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use callgate_tracee::Waker;

/// The time between two interruptions: from one millisecond to this many.
const LONGEST_MS: u64 = 8;

/// One spinning thread of ours for each CPU, and one that wakes the tracer every few ms. Dropping it ends
/// them.
#[derive(Debug)]
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(crate) fn start(waker: Waker) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let mut threads: Vec<JoinHandle<()>> = (0..cpus)
            .map(|_| {
                let over = Arc::clone(&over);
                thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        let ends = Arc::clone(&over);
        threads.push(thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1 + random() % LONGEST_MS));
                waker.wake();
            }
        }));
        Self { over, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // They only spin and sleep.
            let _ = thread.join();
        }
    }
}

/// A number that nobody knows.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
