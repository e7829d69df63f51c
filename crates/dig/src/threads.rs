//! What is known of each thread: the call that it is in, and how it is held.

use std::collections::BTreeMap;

use callgate_abi::Syscall;
use callgate_tracee::{Resume, Stopped};

use crate::births::Undo;
use crate::files::Pending;
use crate::veil::Question;

/// A call that a thread is in and whose result is wanted.
#[derive(Debug)]
pub(crate) struct InCall {
    pub(crate) call: Syscall,
    pub(crate) marker: bool,
    pub(crate) paths: Vec<Pending>,
    pub(crate) undo: Option<Undo>,
    pub(crate) question: Option<Question>,
}

/// One thread.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    pub(crate) in_call: Option<InCall>,
    /// A filter of ours is in force.
    pub(crate) injected: bool,
    /// That filter decides where it stops. Without, it stops on every call.
    pub(crate) filtered: bool,
    /// No filter may be loaded into it.
    pub(crate) barred: bool,
    /// It has loaded a filter of its own after ours.
    pub(crate) own_filter: bool,
    /// It asked for strict mode, which the kernel refused because of our filter: we keep it.
    pub(crate) strict: bool,
    /// `no_new_privs` was set by us and not by it.
    pub(crate) no_new_privs: bool,
    /// It runs in its parent's memory until it executes a program.
    pub(crate) vforked: bool,
    /// What was changed for the time of its birth.
    pub(crate) undo: Option<Undo>,
    /// Where it asked for the status of a descriptor by an empty path: after which instruction, and the
    /// path's address.
    pub(crate) fstats: Vec<(u64, u64)>,
}

impl Thread {
    /// How many places of [`Thread::fstats`] are kept.
    const MOST_FSTATS: usize = 4;

    /// How it goes on from a stop.
    pub(crate) fn how(&self) -> Resume {
        if self.filtered && self.in_call.is_none() {
            Resume::Freely
        } else {
            Resume::ToNextSyscall
        }
    }

    /// What a new thread or process has of the one that made it.
    pub(crate) fn child(&self) -> Self {
        Self {
            injected: self.injected,
            filtered: self.filtered,
            barred: self.barred,
            own_filter: self.own_filter,
            no_new_privs: self.no_new_privs,
            undo: self.in_call.as_ref().and_then(|in_call| in_call.undo.clone()),
            fstats: self.fstats.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn add_fstat(&mut self, instruction: u64, path: u64) {
        let place = (instruction, path);
        if self.fstats.len() < Self::MOST_FSTATS && !self.fstats.contains(&place) {
            self.fstats.push(place);
        }
    }
}

/// All threads, by number.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Looked up several times at each stop, and few: without a hash it is quicker.
    all: BTreeMap<i32, Thread>,
    /// New threads that stopped before their parent told of them: what they are is not known yet.
    early: BTreeMap<i32, Stopped>,
}

impl Threads {
    pub(crate) fn new(main: i32) -> Self {
        Self {
            all: BTreeMap::from([(main, Thread::default())]),
            early: BTreeMap::new(),
        }
    }

    pub(crate) fn knows(&self, tid: i32) -> bool {
        self.all.contains_key(&tid)
    }

    /// A thread; one that was never heard of is as one that stops on everything.
    pub(crate) fn of(&mut self, tid: i32) -> &mut Thread {
        self.all.entry(tid).or_default()
    }

    pub(crate) fn insert(&mut self, tid: i32, thread: Thread) {
        self.all.insert(tid, thread);
    }

    pub(crate) fn remove(&mut self, tid: i32) -> Option<Thread> {
        self.all.remove(&tid)
    }

    /// Keeps a new thread until its parent tells of it.
    pub(crate) fn keep(&mut self, tracee: Stopped) {
        self.early.insert(tracee.tid(), tracee);
    }

    /// The thread with this number, if it was kept.
    pub(crate) fn kept(&mut self, tid: i32) -> Option<Stopped> {
        self.early.remove(&tid)
    }

    /// All that were kept: a parent that was killed tells nothing.
    pub(crate) fn all_kept(&mut self) -> Vec<Stopped> {
        std::mem::take(&mut self.early).into_values().collect()
    }
}
