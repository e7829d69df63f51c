//! When a process gets the filter, and when it can't be relied on any more.

use std::collections::BTreeSet;

use callgate_trace::Phase;
use callgate_tracee::{Stopped, TraceeError, Tracer};

use super::{Recorder, Spot, alive};
use crate::error::DigError;
use crate::fast::{Attempt, fstats, inject};
use crate::passing::program;
use crate::status::Status;

impl Recorder {
    /// Whether a thread that stops on everything should have a filter by now. Before the first line of a
    /// script the filter would learn what start-up does, and could not tell the body's calls from it.
    pub(super) fn may_inject(&mut self, tid: i32) -> bool {
        if self.counts || self.phase != Some(Phase::Body) || !self.learned.is_quiet() {
            return false;
        }
        let thread = self.threads.of(tid);
        !(thread.injected || thread.barred || thread.vforked || thread.strict)
    }

    pub(super) fn inject(&mut self, tracee: Stopped) -> Result<(), DigError> {
        let tid = tracee.tid();
        let filter = program(&self.learned, &fstats(self.threads.of(tid), tid), self.tag);
        let (tracee, attempt) = match inject(tracee, &filter) {
            Ok(done) => done,
            Err(error) => return Ok(alive(Err(error))?),
        };
        match attempt {
            Attempt::Injected {
                threads,
                no_new_privs,
            } => {
                self.injected = true;
                for tid in threads {
                    // Those that are not known yet will have it of their parents.
                    if self.threads.knows(tid) {
                        let thread = self.threads.of(tid);
                        (thread.injected, thread.filtered) = (true, true);
                        thread.no_new_privs |= no_new_privs;
                    }
                }
            }
            Attempt::Refused { why, no_new_privs } => {
                let thread = self.threads.of(tid);
                thread.barred = true;
                thread.no_new_privs |= no_new_privs;
                self.notes.insert(format!(
                    "a process was stopped on every call, which is slow: {why}"
                ));
            }
        }
        let how = self.threads.of(tid).how();
        tracee.resume(how)?;
        Ok(self.go_on(tid)?)
    }

    /// All threads of a process will be under a filter of its own: none may go on that relies on ours.
    pub(super) fn unfilter_others(&mut self, tid: i32) -> Result<Spot, TraceeError> {
        let Some(status) = Status::of(tid) else {
            return Ok(Spot::Elsewhere);
        };
        let others = crate::status::threads(status.process);
        let mut awaited = BTreeSet::new();
        for other in others.into_iter().filter(|other| *other != tid) {
            if self.threads.knows(other) {
                self.threads.of(other).filtered = false;
                self.threads.of(other).own_filter = true;
                if !self.barriers.holds(other) {
                    Tracer::interrupt(other)?;
                    awaited.insert(other);
                }
            }
        }
        if awaited.is_empty() {
            return Ok(Spot::Elsewhere);
        }
        self.barriers.expect(tid, awaited);
        Ok(Spot::Waits)
    }
}
