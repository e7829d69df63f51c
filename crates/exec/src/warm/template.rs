//! A template as its users see it: started, given jobs, renewed when it is worn or has died.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use callgate_launch::Networks;
use callgate_tracee::Stopper;
use nix::sys::prctl;

use super::generation::{Generation, failure};
use super::slot::serve;
use super::spec::{Job, Spec};
use crate::ground::{Prepared, prepare};
use crate::outcome::{Outcome, SetUpFailure};
use crate::run::{Root, system};
use crate::tier::Tier;

/// How often, at the most, it is looked whether the modules have changed.
const LOOK: Duration = Duration::from_secs(1);

/// Runs by forks of an interpreter that has its modules imported. Dropping it ends all of it.
#[derive(Debug)]
pub struct Template {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// A job, and to whom its course is told.
pub(super) struct Order {
    pub(super) job: Job,
    /// How many beds it has been given to that were lost before it began.
    pub(super) lost: usize,
    pub(super) tell: mpsc::Sender<Told>,
}

/// The course of a job.
pub(super) enum Told {
    Started(Stopper),
    Over(Box<Outcome>),
}

/// What a bed waits for.
pub(super) enum Next {
    Order(Order),
    /// There is a fresher template than the bed's.
    Stale,
    Closed,
}

/// What the threads of a template share.
pub(super) struct Shared {
    pub(super) spec: Spec,
    state: Mutex<State>,
    changed: Condvar,
    current: Mutex<Option<Arc<Generation>>>,
    /// Set while a fresh one is being started in the background.
    renewing: AtomicBool,
}

#[derive(Default)]
struct State {
    orders: VecDeque<Order>,
    closed: bool,
    /// How many beds wait for a job.
    ready: usize,
    /// There has been a bed.
    begun: bool,
    looked: Option<Instant>,
    /// Why there is no bed, if there is none.
    trouble: Option<SetUpFailure>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Template {
    /// Starts a template, and waits until it has a bed for a job.
    ///
    /// The whole program becomes a child subreaper by it (prctl(2), PR_SET_CHILD_SUBREAPER): when a template is
    /// killed its forks become ours. They would be left to a first process which may not wait for them, as in a
    /// container, and their namespaces would never end (pid_namespaces(7)).
    ///
    /// # Errors
    /// The step that failed, with advice: a module that can't be imported or leaves a thread running, a tier
    /// that can't be had.
    pub fn start(spec: Spec) -> Result<Self, SetUpFailure> {
        let root = Arc::new(prepare(&spec.run(None)).map_err(|unready| unready.failure)?);
        let possible = match root.tier {
            Tier::Full => true,
            // A root that was given has one uid, and a template needs one besides its runs'.
            Tier::Container => root.has_others(),
            Tier::Unprivileged | Tier::Landlock => false,
        };
        if !possible {
            return Err(failure(
                format!(
                    "warm runs need tier full, or container without a root that was given, and tier {} is what can be \
                     had here",
                    root.tier
                ),
                Some("run without a template: each run starts an interpreter of its own then"),
            ));
        }
        if spec.networks == Networks::Each && root.tier != Tier::Full {
            return Err(failure(
                format!(
                    "a network namespace for each run needs tier full, and here is tier {}",
                    root.tier
                ),
                Some("leave it out: at tier container runs have no network namespace"),
            ));
        }
        prctl::set_child_subreaper(true)
            .map_err(|errno| failure(format!("prctl(PR_SET_CHILD_SUBREAPER): {errno}"), None))?;
        let first = Generation::start(&spec, root)?;
        let beds = match &spec.root {
            Root::Directory(_) => 1,
            Root::ForPython(_) | Root::ForNode(_) | Root::ForCommand(_) => spec.beds.max(1),
        };
        let shared = Arc::new(Shared {
            spec,
            state: Mutex::default(),
            changed: Condvar::new(),
            current: Mutex::new(Some(first)),
            renewing: AtomicBool::new(false),
        });
        let mut template = Self {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for number in 0..beds {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("bed {number}"));
            let thread = thread
                .spawn(move || serve(&shared, number == 0))
                .map_err(system("a thread for a bed"))?;
            template.threads.push(thread);
        }
        shared.wait_until_ready()?;
        Ok(template)
    }

    /// Runs a job and returns how it ended; it waits for a bed that is free. A set-up step that fails is an
    /// outcome too: nothing ran then. `started` gets a handle by which another thread can end the run.
    pub fn run(&self, job: Job, started: impl FnOnce(Stopper)) -> Outcome {
        let (tell, told) = mpsc::channel();
        self.shared.give(Order { job, lost: 0, tell });
        self.shared.look();
        let mut started = Some(started);
        loop {
            match told.recv() {
                Ok(Told::Started(stopper)) => {
                    if let Some(started) = started.take() {
                        started(stopper);
                    }
                }
                Ok(Told::Over(outcome)) => return *outcome,
                Err(_) => return Outcome::of(failure("its thread has ended".to_owned(), None)),
            }
        }
    }

    /// How many jobs could be begun at once, without waiting.
    pub fn ready(&self) -> usize {
        held(&self.shared.state).ready
    }

    /// Why there is no bed for a job, if the last one could not be made.
    pub fn trouble(&self) -> Option<SetUpFailure> {
        held(&self.shared.state).trouble.clone()
    }

    /// The template's process, if there is one at the moment.
    pub fn process(&self) -> Option<i32> {
        let current = held(&self.shared.current);
        current.as_ref().map(|generation| generation.pid)
    }

    /// The spec that it was started with.
    pub fn spec(&self) -> &Spec {
        &self.shared.spec
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        held(&self.shared.state).closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic there has been told of by its message.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The template that is there, or a new one in place of one that has died.
    pub(super) fn generation(&self) -> Result<Arc<Generation>, SetUpFailure> {
        let mut current = held(&self.current);
        match &*current {
            Some(generation) if !generation.is_gone() => Ok(Arc::clone(generation)),
            gone => {
                let root = gone.as_ref().map(|gone| Arc::clone(&gone.root));
                *current = None;
                let fresh = Generation::start(&self.spec, self.root(root)?)?;
                *current = Some(Arc::clone(&fresh));
                Ok(fresh)
            }
        }
    }

    /// The root of the next template: that of the one before, unless it is a copy, which may be out of date.
    fn root(&self, before: Option<Arc<Prepared>>) -> Result<Arc<Prepared>, SetUpFailure> {
        match before {
            Some(before) if before.tier == Tier::Full => Ok(before),
            before => {
                drop(before);
                let fresh = prepare(&self.spec.run(None)).map_err(|unready| unready.failure)?;
                Ok(Arc::new(fresh))
            }
        }
    }

    fn give(&self, order: Order) {
        held(&self.state).orders.push_back(order);
        self.changed.notify_all();
    }

    /// Puts back a job that has not been begun.
    pub(super) fn give_back(&self, order: Order) {
        held(&self.state).orders.push_front(order);
        self.changed.notify_all();
    }

    /// Whether no bed has been ready yet.
    pub(super) fn is_fresh(&self) -> bool {
        !held(&self.state).begun
    }

    pub(super) fn is_closed(&self) -> bool {
        held(&self.state).closed
    }

    /// Waits with a bed for a job.
    pub(super) fn next(&self, bed: &Arc<Generation>) -> Next {
        let mut state = held(&self.state);
        state.trouble = None;
        state.ready += 1;
        state.begun = true;
        self.changed.notify_all();
        let next = loop {
            if state.closed {
                break Next::Closed;
            }
            if let Some(order) = state.orders.pop_front() {
                break Next::Order(order);
            }
            // One that has died can serve as a bed still: its fork is there.
            let stale = match self.current.try_lock() {
                Ok(current) => current.as_ref().is_some_and(|current| !Arc::ptr_eq(current, bed)),
                Err(_) => false,
            };
            if stale {
                break Next::Stale;
            }
            state = self
                .changed
                .wait_timeout(state, LOOK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        };
        state.ready -= 1;
        next
    }

    /// No bed can be made: a job that waits is told so.
    pub(super) fn fail(&self, failure: SetUpFailure) {
        let mut state = held(&self.state);
        state.trouble = Some(failure.clone());
        self.changed.notify_all();
        let order = match state.orders.pop_front() {
            Some(order) => Some(order),
            None if state.closed => None,
            // Not at once again: what is short may come back.
            None => {
                let waited = self.changed.wait_timeout(state, LOOK);
                waited
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
                    .orders
                    .pop_front()
            }
        };
        if let Some(order) = order {
            // Whoever has gone away need not be told.
            let _ = order.tell.send(Told::Over(Box::new(Outcome::of(failure))));
        }
    }

    fn wait_until_ready(&self) -> Result<(), SetUpFailure> {
        let mut state = held(&self.state);
        loop {
            if state.ready > 0 {
                return Ok(());
            }
            if let Some(failure) = &state.trouble {
                return Err(failure.clone());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Now and then, whether the template is worn; then a fresh one is started, and takes its place when it is
    /// ready.
    fn look(self: &Arc<Self>) {
        {
            let mut state = held(&self.state);
            if state.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
                return;
            }
            state.looked = Some(Instant::now());
        }
        let worn = match self.current.try_lock() {
            Ok(current) => current
                .as_ref()
                .is_some_and(|current| current.is_worn(&self.spec)),
            Err(_) => false,
        };
        if !worn || self.renewing.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = Arc::clone(self);
        let renew = move || {
            // One that can't be started leaves the old one in place; it is tried again at the next look.
            let before = held(&shared.current)
                .as_ref()
                .map(|current| Arc::clone(&current.root));
            let fresh = shared
                .root(before)
                .and_then(|root| Generation::start(&shared.spec, root));
            match fresh {
                Ok(fresh) => *held(&shared.current) = Some(fresh),
                Err(failure) => held(&shared.state).trouble = Some(failure),
            }
            shared.renewing.store(false, Ordering::SeqCst);
            shared.changed.notify_all();
        };
        if thread::Builder::new()
            .name("renewal".to_owned())
            .spawn(renew)
            .is_err()
        {
            self.renewing.store(false, Ordering::SeqCst);
        }
    }
}
