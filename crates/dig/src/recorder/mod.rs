//! What is known of a probe while it runs, and how each stop adds to it.

mod attached;
mod call;
mod filter;
mod kin;
mod result;

use std::collections::{BTreeMap, BTreeSet};

use callgate_trace::{Ending, Phase};
use callgate_tracee::{Event, Reason, Resume, Stopped, Stopper, TraceeError, Tracer};
use nix::sys::signal::Signal;

use crate::barrier::Barriers;
use crate::calls::Calls;
use crate::error::DigError;
use crate::files::Files;
use crate::learned::Learned;
use crate::live::Live;
use crate::load::random;
use crate::near::Near;
use crate::prepare::Prepared;
use crate::sites::Sites;
use crate::threads::Threads;

/// Everything that is being recorded.
pub(crate) struct Recorder {
    main: i32,
    script: bool,
    /// Stop on every call, to the end.
    counts: bool,
    stopper: Stopper,
    phase: Option<Phase>,
    calls: Calls,
    files: Files,
    sites: Sites,
    threads: Threads,
    barriers: Barriers,
    learned: Learned,
    near: Near,
    /// Comes with the stops of our filters. Another for each recording, so that no filter of a probe has it
    /// but by a rare chance.
    tag: u16,
    injected: bool,
    live: Live,
    unknown_abis: BTreeMap<u32, u64>,
    notes: BTreeSet<String>,
    ending: Option<Ending>,
    /// The processes are not ours: they go on when the recording ends.
    attached: bool,
}

impl Recorder {
    pub(crate) fn new(
        main: i32,
        probe: &Prepared,
        counts: bool,
        stopper: Stopper,
        live: Live,
        near: Near,
        sites: Sites,
    ) -> Self {
        Self {
            main,
            script: probe.script,
            counts,
            stopper,
            phase: None,
            calls: Calls::default(),
            files: Files::new(&probe.named),
            sites,
            threads: Threads::new(main),
            barriers: Barriers::default(),
            learned: Learned::default(),
            near,
            tag: tag(),
            injected: false,
            live,
            unknown_abis: BTreeMap::new(),
            notes: BTreeSet::new(),
            ending: None,
            attached: false,
        }
    }

    /// Interrupts one of the probe's threads, whichever it be.
    pub(crate) fn interrupt_one(&self) -> Result<(), TraceeError> {
        let threads = self.live.tids();
        if self.phase.is_none() || threads.is_empty() {
            return Ok(());
        }
        Tracer::interrupt(threads[(random() % threads.len() as u64) as usize])
    }

    /// What the reader should know.
    pub(crate) fn tell(&mut self, note: String) {
        self.notes.insert(note);
    }

    pub(crate) fn handle(&mut self, event: Event) -> Result<(), DigError> {
        match event {
            Event::Stopped(tracee) => self.stopped(tracee)?,
            Event::Exited { tid, code } => self.ended(tid, Ending::exited(code))?,
            Event::Killed { tid, signal } => {
                let name =
                    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string());
                self.ended(tid, Ending::signaled(name))?;
            }
        }
        if self.stopper.word().is_some() {
            self.live.kill();
        }
        Ok(())
    }

    fn stopped(&mut self, tracee: Stopped) -> Result<(), DigError> {
        let tid = tracee.tid();
        if !self.threads.knows(tid) {
            self.live.insert(tid);
            if tracee.reason() != Reason::Exec {
                // It is new, and was quicker than its parent.
                self.threads.keep(tracee);
                return Ok(());
            }
        }
        if self.phase.is_some() {
            self.near.stopped(tid);
        } else if tracee.reason() == Reason::Signal(libc::SIGSTOP) {
            // Our own child has done its steps (Step::Halt). What they were is not recorded.
            return Ok(tracee.resume_with(Resume::ToNextSyscall, 0)?);
        }
        match self.look(&tracee) {
            Ok(Spot::Behind) if self.may_inject(tid) => match tracee.can_inject() {
                Ok(true) => return self.inject(tracee),
                Ok(false) => {}
                Err(error) => alive(Err(error))?,
            },
            Ok(Spot::Waits) => {
                self.barriers.hold(tracee);
                return Ok(self.go_on(tid)?);
            }
            Ok(_) => {}
            // A tracee that was killed while it was asked: its end comes next.
            Err(error) => alive(Err(error))?,
        }
        let how = self.threads.of(tid).how();
        tracee.resume(how)?;
        Ok(self.go_on(tid)?)
    }

    /// Lets those go on that waited for this thread.
    fn go_on(&mut self, stopped: i32) -> Result<(), TraceeError> {
        for tracee in self.barriers.reached(stopped) {
            let how = self.threads.of(tracee.tid()).how();
            tracee.resume(how)?;
        }
        Ok(())
    }

    fn look(&mut self, tracee: &Stopped) -> Result<Spot, TraceeError> {
        match tracee.reason() {
            Reason::Syscall | Reason::Seccomp => return self.syscall(tracee),
            Reason::Exec => self.executed(tracee)?,
            Reason::Fork | Reason::Clone => self.born(tracee, false)?,
            Reason::Vfork => self.born(tracee, true)?,
            Reason::Attached => {
                if let Some(undo) = self.threads.of(tracee.tid()).undo.take() {
                    undo.apply(tracee)?;
                }
            }
            _ => {}
        }
        Ok(Spot::Elsewhere)
    }
}

/// Where a tracee stopped, as far as it matters to how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// Behind a call.
    Behind,
    /// Before a call that must wait for others.
    Waits,
    /// Anywhere else.
    Elsewhere,
}

/// A number that nobody knows.
fn tag() -> u16 {
    random() as u16
}

/// A tracee that was killed while it was asked is no error: its end comes next.
fn alive(result: Result<(), TraceeError>) -> Result<(), TraceeError> {
    match result {
        Err(error) if error.is_gone() => Ok(()),
        other => other,
    }
}
