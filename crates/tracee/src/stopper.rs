//! Ends a run from another thread: at a time limit, or because the user asked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;

use crate::sys;

/// A handle by which any thread can kill one process and leave word why. Clones share the word.
/// The process is held by a pidfd, so that its number can't be reused for another.
#[derive(Clone, Debug)]
pub struct Stopper {
    pidfd: Option<Arc<OwnedFd>>,
    word: Arc<AtomicU32>,
}

impl Stopper {
    /// A handle on this process, which must not have been waited for yet.
    ///
    /// # Errors
    /// The errno of pidfd_open(2) (Linux 5.3).
    pub fn new(pid: i32) -> Result<Self, Errno> {
        Ok(Self {
            pidfd: Some(Arc::new(sys::pidfd(pid)?)),
            word: Arc::default(),
        })
    }

    /// A handle that leaves word and kills nothing: for a process that is not ours.
    pub fn sparing() -> Self {
        Self {
            pidfd: None,
            word: Arc::default(),
        }
    }

    /// Kills the process, unless it is spared. The first word that is left stays; 0 is no word.
    pub fn stop(&self, word: u32) {
        let _ = self
            .word
            .compare_exchange(0, word, Ordering::SeqCst, Ordering::SeqCst);
        if let Some(pidfd) = &self.pidfd {
            // It may have ended by itself: then there is nothing to kill.
            let _ = sys::kill_pidfd(pidfd);
        }
    }

    /// The pidfd; none of a process that is spared.
    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    /// The word that was left, if the process was stopped.
    pub fn word(&self) -> Option<u32> {
        match self.word.load(Ordering::SeqCst) {
            0 => None,
            word => Some(word),
        }
    }
}
