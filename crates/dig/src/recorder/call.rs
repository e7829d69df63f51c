//! A stop at a system call: what the call is, and what it came to.

use callgate_abi::{Arch, ArgKey, Syscall, flags_in_memory, keys, keys_in_memory};
use callgate_python::prelude;
use callgate_trace::Phase;
use callgate_tracee::{Moment, Stopped, SyscallStop, TraceeError};
use nix::errno::Errno;

use super::{Recorder, Spot};
use crate::births::reveal;
use crate::threads::InCall;
use crate::traits::traits;
use crate::veil::{Question, question, strict_allows};

impl Recorder {
    pub(super) fn syscall(&mut self, tracee: &Stopped) -> Result<Spot, TraceeError> {
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
        if empty && traits.stats && args[3] as i32 == libc::AT_EMPTY_PATH {
            thread.add_fstat(stop.instruction, args[1]);
        }
        let filtered = thread.filtered;
        if thread.strict && !strict_allows(call) {
            tracee.kill()?;
        }
        let news = match self.phase {
            Some(phase) if !marker => self.note(tracee, stop, (call, &args), traits.in_memory, phase),
            _ => false,
        };
        if !filtered {
            if news {
                self.learned.news();
            } else {
                self.learned.nothing_new();
            }
        }
        if traits.binds {
            self.near.release();
        }
        let undo = match traits.bears {
            true => reveal(tracee, call, &args)?,
            false => None,
        };
        let thread = self.threads.of(tid);
        let question = (traits.asks && thread.injected)
            .then(|| question(call, &args))
            .flatten();
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
        (call, args): (Syscall, &[u64; 6]),
        in_memory: bool,
        phase: Phase,
    ) -> bool {
        if !in_memory && self.learned.knows(call, args) {
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
            if self.sites.at_work() {
                self.learned.started();
            }
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
