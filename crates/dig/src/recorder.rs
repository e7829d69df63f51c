//! What is known of a probe while it runs, and how each stop adds to it.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Arch, ArgKey, Syscall, flags_in_memory, keys, keys_in_memory};
use callgate_python::prelude;
use callgate_trace::{Counts, Ending, EndingKind, Phase, Python, SCHEMA, Trace};
use callgate_tracee::{Event, Moment, Reason, Stopped, Stopper, SyscallStop, TraceeError, Tracer};
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::barrier::Barriers;
use crate::births::reveal;
use crate::calls::Calls;
use crate::error::DigError;
use crate::fast::{Attempt, fstats, inject};
use crate::files::Files;
use crate::learned::Learned;
use crate::live::Live;
use crate::load::random;
use crate::near::Near;
use crate::passing::program;
use crate::prepare::Prepared;
use crate::request::Word;
use crate::sites::Sites;
use crate::status::Status;
use crate::threads::{InCall, Threads};
use crate::traits::traits;
use crate::veil::{Question, question, strict_allows};

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

    /// These threads were attached to while they ran: it is all body.
    pub(crate) fn attached(&mut self, threads: impl IntoIterator<Item = i32>) {
        self.attached = true;
        self.phase = Some(Phase::Body);
        for tid in threads {
            // No filter: it would outlive us, and answer ENOSYS to what it does not know.
            self.threads.of(tid).barred = true;
        }
    }

    /// Lets a stopped thread go for good, as if we had never been.
    pub(crate) fn let_go(&mut self, tracee: Stopped) -> Result<(), TraceeError> {
        let thread = self.threads.of(tracee.tid());
        let undone = thread.undo.take();
        let in_call = thread.in_call.take().and_then(|in_call| in_call.undo);
        for undo in [undone, in_call].into_iter().flatten() {
            alive(undo.apply(&tracee))?;
        }
        self.live.remove(tracee.tid());
        tracee.detach()
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

    /// New threads that stand still until their parents tell of them.
    pub(crate) fn kept(&mut self) -> Vec<Stopped> {
        self.threads.all_kept()
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

    fn ended(&mut self, tid: i32, ending: Ending) -> Result<(), DigError> {
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

    fn syscall(&mut self, tracee: &Stopped) -> Result<Spot, TraceeError> {
        let stop = tracee.syscall()?;
        match stop.moment {
            Moment::Entry { .. } => self.entry(tracee, &stop),
            Moment::Seccomp { data, .. } => {
                let tag = u32::from(self.tag);
                let thread = self.threads.of(tracee.tid());
                if !thread.injected || data != tag {
                    // A filter of the probe's own asks for a tracer. Without us there would be none.
                    tracee.refuse(Errno::ENOSYS as u16)?;
                } else if thread.in_call.is_none() {
                    return self.entry(tracee, &stop);
                }
                // Else it has been seen at its entry, by a thread that stops on everything.
                Ok(Spot::Elsewhere)
            }
            Moment::Exit { result, failed } => {
                self.exit(tracee, result, failed)?;
                Ok(Spot::Behind)
            }
            Moment::None => Ok(Spot::Elsewhere),
        }
    }

    /// A call is about to be made.
    fn entry(&mut self, tracee: &Stopped, stop: &SyscallStop) -> Result<Spot, TraceeError> {
        let tid = tracee.tid();
        let Some((call, args)) = stop.call() else {
            *self.unknown_abis.entry(stop.audit_arch).or_default() += 1;
            return Ok(Spot::Elsewhere);
        };
        let marker = self.script && self.phase == Some(Phase::Startup) && is_marker(call, &args);
        let traits = traits(call);
        let (paths, empty) = self.files.enter(tracee, traits.paths, &args);
        let thread = self.threads.of(tid);
        if empty && call.known_name() == Some("newfstatat") && args[3] as i32 == libc::AT_EMPTY_PATH {
            thread.add_fstat(stop.instruction, args[1]);
        }
        let filtered = thread.filtered;
        if thread.strict && !strict_allows(call) {
            tracee.kill()?;
        }
        let news = match self.phase {
            Some(phase) if !marker => self.note(tracee, stop, call, &args, phase),
            _ => false,
        };
        if !filtered {
            if news {
                self.learned.news();
            } else {
                self.learned.nothing_new();
            }
        }
        if matches!(call.known_name(), Some("sched_getaffinity" | "sched_setaffinity")) {
            self.near.release();
        }
        let undo = reveal(tracee, call, &args)?;
        let thread = self.threads.of(tid);
        let question = thread.injected.then(|| question(call, &args)).flatten();
        if let Some(question) = question {
            question.prepare(tracee, thread)?;
        }
        let wanted = news || undo.is_some() || question.is_some() || self.files.wants_result(&paths);
        if !filtered || wanted {
            thread.in_call = Some(InCall {
                call,
                marker,
                paths,
                undo,
                question,
            });
        }
        if filtered && matches!(question, Some(Question::Filter { all: true, .. })) {
            return self.unfilter_others(tid);
        }
        Ok(Spot::Elsewhere)
    }

    /// Records a call; whether anything of it is new.
    fn note(
        &mut self,
        tracee: &Stopped,
        stop: &SyscallStop,
        call: Syscall,
        args: &[u64; 6],
        phase: Phase,
    ) -> bool {
        if self.learned.knows(call, args) && flags_in_memory(call).is_none() {
            self.calls.again(call);
            return false;
        }
        let found = found_keys(tracee, call, args);
        let entered = self.calls.enter(call, &found, phase);
        if let Some(kept) = self.calls.kept(call) {
            self.learned.learn(call, &found, kept);
        }
        if let Some(news) = entered.news {
            let script = self.script.then_some(self.main);
            let sight = self.sites.sight(tracee, stop.instruction, phase, script);
            self.calls.seen_by(news, sight);
        }
        entered.unheard
    }

    /// A call has been made.
    fn exit(&mut self, tracee: &Stopped, result: i64, failed: bool) -> Result<(), TraceeError> {
        let thread = self.threads.of(tracee.tid());
        let Some(in_call) = thread.in_call.take() else {
            return Ok(());
        };
        if in_call.marker {
            tracee.set_result(prelude::Marker::ACK as i64)?;
            self.phase = Some(Phase::Body);
            // What start-up did says nothing of the body.
            self.learned.forget();
            self.learned.started();
            return Ok(());
        }
        if let Some(undo) = &in_call.undo {
            undo.apply(tracee)?;
        }
        let (mut result, mut failed) = (result, failed);
        if let Some(question) = in_call.question {
            let answer = question.answer(tracee, thread, result)?;
            if answer != result {
                (result, failed) = (answer, answer < 0);
            }
        }
        if self.phase.is_none() {
            return Ok(()); // still our own child, before the probe
        }
        if failed {
            let errno = u16::try_from(-result).unwrap_or(u16::MAX);
            self.calls.failed(in_call.call, errno);
            if in_call.call.known_name() == Some("ptrace") && errno == Errno::EPERM as u16 {
                self.notes.insert(
                    "the probe uses ptrace itself, which fails with EPERM while it is traced".to_owned(),
                );
            }
        }
        if self.files.leave(in_call.paths, !failed) {
            self.learned.started();
        }
        Ok(())
    }

    /// A thread or process was made.
    fn born(&mut self, parent: &Stopped, vforked: bool) -> Result<(), TraceeError> {
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
    fn executed(&mut self, tracee: &Stopped) -> Result<(), TraceeError> {
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

    /// Whether a thread that stops on everything should have a filter by now. Before the first line of a
    /// script the filter would learn what start-up does, and could not tell the body's calls from it.
    fn may_inject(&mut self, tid: i32) -> bool {
        if self.counts || self.phase != Some(Phase::Body) || !self.learned.is_quiet() {
            return false;
        }
        let thread = self.threads.of(tid);
        !(thread.injected || thread.barred || thread.vforked || thread.strict)
    }

    fn inject(&mut self, tracee: Stopped) -> Result<(), DigError> {
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
    fn unfilter_others(&mut self, tid: i32) -> Result<Spot, TraceeError> {
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

    pub(crate) fn into_trace(self, command: Vec<String>, python: Option<Python>) -> Result<Trace, DigError> {
        let kernel = nix::sys::utsname::uname().map_err(|errno| DigError::System { what: "uname", errno })?;
        let (files, mut notes) = self.files.into_trace();
        notes.extend(self.notes);
        for (arch, count) in self.unknown_abis {
            notes.push(format!(
                "{count} calls of an unknown architecture (AUDIT_ARCH {arch:#x}) are not listed"
            ));
        }
        notes.extend(self.sites.notes());
        if self.script && self.phase == Some(Phase::Startup) {
            notes.push("the probe ended before its first line".to_owned());
        }
        Ok(Trace {
            schema: SCHEMA.to_owned(),
            arch: Arch::NATIVE,
            kernel: kernel.release().to_string_lossy().into_owned(),
            command,
            python,
            outcome: self.ending.unwrap_or_else(|| {
                Ending::cut(if self.attached {
                    EndingKind::Detached
                } else {
                    EndingKind::Interrupted
                })
            }),
            counts: if self.injected {
                Counts::LowerBound
            } else {
                Counts::Exact
            },
            notes,
            syscalls: self.calls.into_trace(),
            files,
        })
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

/// The keys of a call, also of one that has its flags in memory.
fn found_keys(tracee: &Stopped, call: Syscall, args: &[u64; 6]) -> Vec<ArgKey> {
    let Some(place) = flags_in_memory(call) else {
        return keys(call, args);
    };
    let mut bytes = vec![0; place.fields * 8];
    let read = tracee.read(args[place.pointer], &mut bytes).unwrap_or(0);
    let fields: Vec<u64> = bytes[..read]
        .chunks_exact(8)
        .filter_map(|field| field.try_into().ok().map(u64::from_ne_bytes))
        .collect();
    keys_in_memory(call, &fields).into_iter().collect()
}

/// Whether a call is the prelude's mark of the first line.
fn is_marker(call: Syscall, args: &[u64; 6]) -> bool {
    call.arch() == Some(Arch::NATIVE) && call.known_name() == Some("lseek") && prelude::MARKER.is_marker(args)
}
