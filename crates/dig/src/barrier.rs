//! A call that must not be made before other threads have stopped once.

use std::collections::{BTreeMap, BTreeSet};

use callgate_tracee::Stopped;

/// One that waits.
#[derive(Debug, Default)]
struct Waiting {
    held: Option<Stopped>,
    /// The threads that have not stopped yet.
    awaited: BTreeSet<i32>,
}

/// All that wait, by thread.
#[derive(Debug, Default)]
pub(crate) struct Barriers(BTreeMap<i32, Waiting>);

impl Barriers {
    /// A thread is to wait for these, which have been interrupted.
    pub(crate) fn expect(&mut self, tid: i32, awaited: BTreeSet<i32>) {
        self.0.insert(tid, Waiting { held: None, awaited });
    }

    /// Keeps the thread that waits.
    pub(crate) fn hold(&mut self, tracee: Stopped) {
        let tid = tracee.tid();
        self.0.entry(tid).or_default().held = Some(tracee);
    }

    /// Whether a thread stands still here.
    pub(crate) fn holds(&self, tid: i32) -> bool {
        self.0.contains_key(&tid)
    }

    /// A thread has stopped or ended: returns those that needn't wait any longer.
    pub(crate) fn reached(&mut self, tid: i32) -> Vec<Stopped> {
        if self.0.is_empty() {
            return Vec::new();
        }
        for waiting in self.0.values_mut() {
            waiting.awaited.remove(&tid);
        }
        let done: Vec<i32> = self
            .0
            .iter()
            .filter(|(_, waiting)| waiting.awaited.is_empty())
            .map(|(tid, _)| *tid)
            .collect();
        done.iter().filter_map(|tid| self.0.remove(tid)?.held).collect()
    }
}
