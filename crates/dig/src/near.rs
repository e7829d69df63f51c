//! Keeps the tracer and the thread that stops most on one CPU.
//!
//! At a stop one of them sleeps and the other goes on. On two CPUs each change wakes one that has just gone
//! idle, which in a virtual machine takes longer than all else at the stop: an import of pandas took 2.0
//! times as long as without tracing, and 1.2 times on one CPU. So as long as one thread stops and stops
//! again, it is bound to the CPU that the tracer is on. It is let go when it has not stopped for a while
//! (it computes), when others stop, before a call by which a program could see or set it, and every now and
//! then, for the scheduler to choose another CPU. New threads and children get the CPUs that their parent
//! had before. It stays visible as `Cpus_allowed:` in `/proc/PID/status`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::{Pid, gettid};

/// Stops that follow each other so quickly are worth it.
const QUICK: Duration = Duration::from_millis(2);

/// After so many of them.
const OFTEN: u32 = 4;

/// How long a thread is bound at the most, before the scheduler has its say.
const LONGEST: Duration = Duration::from_millis(100);

/// How long a bound thread may go on without a stop.
const BUSY: Duration = Duration::from_millis(10);

#[derive(Debug)]
struct State {
    tracer: Pid,
    /// The thread that is bound, since when, and the CPUs that the tracer had before.
    bound: Option<(i32, Instant, CpuSet)>,
    /// The CPUs that threads had before they were bound.
    before: HashMap<i32, CpuSet>,
    last: Option<(i32, Instant)>,
    quick: u32,
    /// Nothing is ever bound.
    never: bool,
}

/// A handle on what is bound; clones share it. Dropping the last lets all go.
#[derive(Clone, Debug)]
pub(crate) struct Near(Arc<Mutex<State>>);

impl Near {
    /// For the calling thread, which traces.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            tracer: gettid(),
            bound: None,
            before: HashMap::new(),
            last: None,
            quick: 0,
            never: false,
        })))
    }

    /// Binds nothing: a process that is not ours would stay bound if the tracer were killed.
    pub(crate) fn never() -> Self {
        let near = Self::new();
        near.state().never = true;
        near
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread has stopped.
    pub(crate) fn stopped(&self, tid: i32) {
        let mut state = self.state();
        let now = Instant::now();
        let again = state
            .last
            .is_some_and(|(last, at)| last == tid && now - at < QUICK);
        state.last = Some((tid, now));
        state.quick = if again { state.quick + 1 } else { 0 };
        if let Some((bound, since, _)) = state.bound {
            if now - since < LONGEST && (bound == tid || state.quick < OFTEN) {
                return;
            }
            state.release();
        }
        if state.quick >= OFTEN {
            state.bind(tid, now);
        }
    }

    /// Lets a thread go that has not stopped for a while. For another thread of ours to call.
    pub(crate) fn glance(&self) {
        let mut state = self.state();
        if state.last.is_some_and(|(_, at)| at.elapsed() > BUSY) {
            state.release();
        }
    }

    /// The program is about to see or set what threads are bound to.
    pub(crate) fn release(&self) {
        let mut state = self.state();
        state.release();
        state.before.clear();
    }

    /// A thread or process was made, bound as its parent was.
    pub(crate) fn born(&self, parent: i32, child: i32) {
        let state = self.state();
        let child = Pid::from_raw(child);
        if let (Some(before), Ok(now)) = (state.before.get(&parent), sched_getaffinity(child)) {
            if now != *before {
                // If that is not permitted, its parent could not be bound either.
                let _ = sched_setaffinity(child, before);
            }
        }
    }

    /// A thread has another number now.
    pub(crate) fn renamed(&self, former: i32, tid: i32) {
        let mut state = self.state();
        if let Some(before) = state.before.remove(&former) {
            state.before.insert(tid, before);
        }
        if let Some((bound, ..)) = &mut state.bound {
            if *bound == former {
                *bound = tid;
            }
        }
    }

    /// A thread has ended.
    pub(crate) fn ended(&self, tid: i32) {
        let mut state = self.state();
        if state.bound.is_some_and(|(bound, ..)| bound == tid) {
            state.release();
        }
        state.before.remove(&tid);
    }
}

impl State {
    /// Binds a thread and the tracer to the CPU that the tracer is on. Where that is refused (another user's
    /// thread, a CPU beyond what fits), all stays as it is.
    fn bind(&mut self, tid: i32, now: Instant) {
        self.quick = 0;
        if self.never {
            return;
        }
        let thread = Pid::from_raw(tid);
        let (Ok(own), Ok(before), Ok(cpu)) = (
            sched_getaffinity(self.tracer),
            sched_getaffinity(thread),
            sched_getcpu(),
        ) else {
            return;
        };
        let mut here = CpuSet::new();
        // The thread may not be allowed where we are.
        if !before.is_set(cpu).unwrap_or(false) || here.set(cpu).is_err() {
            return;
        }
        if sched_setaffinity(thread, &here).is_ok() {
            self.before.insert(tid, before);
            self.bound = Some((tid, now, own));
            let _ = sched_setaffinity(self.tracer, &here);
        }
    }

    fn release(&mut self) {
        self.quick = 0;
        let Some((tid, _, own)) = self.bound.take() else {
            return;
        };
        if let Some(before) = self.before.get(&tid) {
            // It may have ended.
            let _ = sched_setaffinity(Pid::from_raw(tid), before);
        }
        let _ = sched_setaffinity(self.tracer, &own);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.release();
    }
}
