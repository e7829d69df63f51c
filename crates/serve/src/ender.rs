//! Ends a run from outside: its client has gone, or the server stops.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use callgate_exec::Word;
use callgate_tracee::Stopper;

/// Ends one run, whether or not it has begun. Clones end the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ender(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    ended: bool,
    run: Option<Stopper>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ender {
    /// The run has a process now; it is ended at once if that was asked for before.
    pub(crate) fn begun(&self, run: Stopper) {
        let mut state = lock(&self.0);
        if state.ended {
            run.stop(Word::Interrupt as u32);
        }
        state.run = Some(run);
    }

    /// Ends it, now or when it begins.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.0);
        state.ended = true;
        if let Some(run) = &state.run {
            run.stop(Word::Interrupt as u32);
        }
    }

    /// Whether it was ended from outside.
    pub(crate) fn ended(&self) -> bool {
        lock(&self.0).ended
    }

    /// Ends the run when the guard is dropped before it is disarmed.
    pub(crate) fn guard(&self) -> Guard {
        Guard(Some(self.clone()))
    }
}

/// Held by who waits for a run: nobody else wants it.
#[derive(Debug)]
pub(crate) struct Guard(Option<Ender>);

impl Guard {
    /// The run is over.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(ender) = &self.0 {
            ender.end();
        }
    }
}

/// All runs that go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Arc<Mutex<Vec<Weak<Mutex<State>>>>>);

impl Runs {
    /// A new one.
    pub(crate) fn ender(&self) -> Ender {
        let ender = Ender::default();
        let mut all = lock(&self.0);
        all.retain(|run| run.strong_count() > 0);
        all.push(Arc::downgrade(&ender.0));
        ender
    }

    /// Ends them all and returns how many there were.
    pub(crate) fn end_all(&self) -> usize {
        let all: Vec<Ender> = lock(&self.0)
            .iter()
            .filter_map(Weak::upgrade)
            .map(Ender)
            .collect();
        all.iter().for_each(Ender::end);
        all.len()
    }
}
