//! Threads and processes that are made, become another program, and end.

use callgate_trace::{Ending, EndingKind, Phase};
use callgate_tracee::{Stopped, TraceeError};

use super::{Recorder, alive};
use crate::error::DigError;
use crate::request::Word;
use crate::status::Status;

impl Recorder {
    pub(super) fn ended(&mut self, tid: i32, ending: Ending) -> Result<(), DigError> {
        self.live.remove(tid);
        self.threads.remove(tid);
        self.near.ended(tid);
        self.go_on(tid)?;
        for early in self.threads.all_kept() {
            // Its parent may have been this one. It stops on every call; if its parent does tell of it, it
            // will be known for what it is.
            let status = Status::of(early.tid());
            let thread = self.threads.of(early.tid());
            thread.barred = true;
            // A filter of ours that it was born with asks for us all the same.
            thread.injected = self.injected && status.is_some_and(|status| status.seccomp == 2);
            self.stopped(early)?;
        }
        if tid != self.main {
            self.sites.ended(tid);
        }
        match self.stopper.word() {
            Some(word) => {
                let timeout = word == Word::Timeout as u32;
                let kind = if self.attached {
                    EndingKind::Detached
                } else if timeout {
                    EndingKind::Timeout
                } else {
                    EndingKind::Interrupted
                };
                self.ending = Some(Ending::cut(kind));
            }
            None if tid == self.main => self.ending = Some(ending),
            None => {}
        }
        Ok(())
    }

    /// A thread or process was made.
    pub(super) fn born(&mut self, parent: &Stopped, vforked: bool) -> Result<(), TraceeError> {
        let child = parent.event_message()? as i32;
        let mut thread = self.threads.of(parent.tid()).child();
        thread.vforked = vforked;
        if thread.filtered {
            // A process that was made just before the filter came to its parent has none.
            let status = Status::of(child);
            let filtered = status.is_some_and(|status| status.seccomp == 2);
            thread.filtered = filtered;
            thread.injected = filtered;
        }
        if self.threads.knows(child) {
            // It goes on already, stopping on every call: its parent's end was mistaken for this one's.
            thread.in_call = self.threads.of(child).in_call.take();
        }
        self.threads.insert(child, thread);
        self.live.insert(child);
        self.near.born(parent.tid(), child);
        if let Some(early) = self.threads.kept(child) {
            let first = self.look(&early);
            alive(first.map(drop))?;
            let how = self.threads.of(child).how();
            early.resume(how)?;
        }
        Ok(())
    }

    /// A process has become another program. The thread that asked for it now has its process's
    /// number, whatever it had before (ptrace(2), "execve under ptrace").
    pub(super) fn executed(&mut self, tracee: &Stopped) -> Result<(), TraceeError> {
        let former = tracee.event_message()? as i32;
        let tid = tracee.tid();
        if former != tid {
            self.live.remove(former);
            self.sites.ended(former);
            self.near.renamed(former, tid);
            if let Some(thread) = self.threads.remove(former) {
                self.threads.insert(tid, thread);
            }
        }
        self.sites.forget(tid);
        let thread = self.threads.of(tid);
        thread.vforked = false;
        thread.fstats.clear();
        if self.phase.is_none() {
            // The probe begins. The call that began it is the first that it needs.
            if let Some(in_call) = &thread.in_call {
                self.calls.enter(in_call.call, &[], Phase::Startup);
            }
            self.sites.begin();
            self.phase = Some(if self.script { Phase::Startup } else { Phase::Body });
            self.learned.forget();
        }
        Ok(())
    }
}
