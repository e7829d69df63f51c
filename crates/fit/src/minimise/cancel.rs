//! Ends a search from outside, with all the runs that are under way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callgate_exec::Word;
use callgate_tracee::Stopper;

/// A handle by which another thread can end a search. Clones are the same handle.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Mutex<Live>>);

#[derive(Debug, Default)]
struct Live {
    cancelled: bool,
    runs: BTreeMap<u64, Stopper>,
    next: u64,
}

impl Cancel {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the search and every run of it. Returns false if that has been asked for already.
    pub fn cancel(&self) -> bool {
        let mut live = self.live();
        for stopper in live.runs.values() {
            stopper.stop(Word::Interrupt as u32);
        }
        !std::mem::replace(&mut live.cancelled, true)
    }

    /// Whether the search was ended.
    pub fn is_cancelled(&self) -> bool {
        self.live().cancelled
    }

    /// A run that begins; dropping what is returned says that it has ended.
    pub(crate) fn begin(&self, stopper: Stopper) -> Running<'_> {
        let mut live = self.live();
        if live.cancelled {
            stopper.stop(Word::Interrupt as u32);
        }
        let id = live.next;
        live.next += 1;
        live.runs.insert(id, stopper);
        Running { cancel: self, id }
    }
}

/// A run that is under way.
pub(crate) struct Running<'a> {
    cancel: &'a Cancel,
    id: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.cancel.live().runs.remove(&self.id);
    }
}
