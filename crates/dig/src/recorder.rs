//! What is known of a probe while it runs, and how each stop adds to it.

use std::collections::BTreeMap;

use callgate_abi::{Arch, Syscall};
use callgate_python::prelude;
use callgate_trace::{Counts, Ending, EndingKind, Phase, Python, SCHEMA, Trace};
use callgate_tracee::{Event, Moment, Reason, Resume, Stopped, Stopper};
use nix::sys::signal::Signal;

use crate::calls::Calls;
use crate::error::DigError;
use crate::files::{Files, Pending};
use crate::live::Live;
use crate::request::Word;
use crate::sites::Sites;

/// A call that a thread is in.
#[derive(Debug)]
struct InCall {
    call: Syscall,
    marker: bool,
    paths: Vec<Pending>,
}

/// Everything that is being recorded.
pub(crate) struct Recorder {
    main: i32,
    script: bool,
    stopper: Stopper,
    phase: Option<Phase>,
    calls: Calls,
    files: Files,
    sites: Sites,
    in_call: BTreeMap<i32, InCall>,
    live: Live,
    unknown_abis: BTreeMap<u32, u64>,
    ending: Option<Ending>,
}

impl Recorder {
    pub(crate) fn new(main: i32, script: bool, stopper: Stopper, live: Live) -> Self {
        Self {
            main,
            script,
            stopper,
            phase: None,
            calls: Calls::default(),
            files: Files::default(),
            sites: Sites::default(),
            in_call: BTreeMap::new(),
            live,
            unknown_abis: BTreeMap::new(),
            ending: None,
        }
    }

    pub(crate) fn handle(&mut self, event: Event) -> Result<(), DigError> {
        match event {
            Event::Stopped(tracee) => {
                self.live.insert(tracee.tid());
                if let Err(error) = self.look(&tracee) {
                    // A tracee that was killed while it was asked: its end comes next.
                    if !error.is_gone() {
                        return Err(error.into());
                    }
                }
                if self.stopper.word().is_some() {
                    self.live.kill();
                }
                tracee.resume(Resume::ToNextSyscall)?;
            }
            Event::Exited { tid, code } => self.ended(tid, Ending::exited(code)),
            Event::Killed { tid, signal } => {
                let name =
                    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string());
                self.ended(tid, Ending::signaled(name));
            }
        }
        Ok(())
    }

    fn ended(&mut self, tid: i32, ending: Ending) {
        self.live.remove(tid);
        self.in_call.remove(&tid);
        if tid != self.main {
            self.sites.ended(tid);
        }
        match self.stopper.word() {
            Some(word) => {
                self.live.kill();
                let timeout = word == Word::Timeout as u32;
                let kind = if timeout {
                    EndingKind::Timeout
                } else {
                    EndingKind::Interrupted
                };
                self.ending = Some(Ending::cut(kind));
            }
            None if tid == self.main => self.ending = Some(ending),
            None => {}
        }
    }

    fn look(&mut self, tracee: &Stopped) -> Result<(), callgate_tracee::TraceeError> {
        match tracee.reason() {
            Reason::Syscall => self.syscall(tracee),
            Reason::Exec => self.executed(tracee),
            _ => Ok(()),
        }
    }

    fn syscall(&mut self, tracee: &Stopped) -> Result<(), callgate_tracee::TraceeError> {
        let stop = tracee.syscall()?;
        match stop.moment {
            Moment::Entry { nr, .. } => {
                let Some((call, args)) = stop.call() else {
                    *self.unknown_abis.entry(stop.audit_arch).or_default() += 1;
                    return Ok(());
                };
                debug_assert_eq!(u64::from(call.nr()), nr & 0xffff_ffff);
                let marker = self.script && self.phase == Some(Phase::Startup) && is_marker(call, &args);
                let paths = self.files.enter(tracee, call, &args);
                if let (Some(phase), false) = (self.phase, marker) {
                    let wanted = self.calls.enter(call, phase);
                    self.calls.arguments(call, &args);
                    if wanted && phase == Phase::Body {
                        let known = self.script && tracee.tid() == self.main;
                        if let Some(site) = self.sites.read(tracee, stop.instruction, known) {
                            self.calls.set_site(call, site);
                        }
                    }
                }
                self.in_call.insert(tracee.tid(), InCall { call, marker, paths });
            }
            Moment::Exit { result, failed } => {
                let Some(InCall { call, marker, paths }) = self.in_call.remove(&tracee.tid()) else {
                    return Ok(());
                };
                if marker {
                    tracee.set_result(prelude::Marker::ACK as i64)?;
                    self.phase = Some(Phase::Body);
                    return Ok(());
                }
                if self.phase.is_none() {
                    return Ok(()); // still our own child, before the probe
                }
                if failed {
                    self.calls
                        .failed(call, u16::try_from(-result).unwrap_or(u16::MAX));
                }
                self.files.leave(paths, !failed);
            }
            Moment::Seccomp { .. } | Moment::None => {}
        }
        Ok(())
    }

    /// A process has become another program. The thread that asked for it now has its process's
    /// number, whatever it had before (ptrace(2), "execve under ptrace").
    fn executed(&mut self, tracee: &Stopped) -> Result<(), callgate_tracee::TraceeError> {
        let former = tracee.event_message()? as i32;
        if former != tracee.tid() {
            self.live.remove(former);
            self.sites.ended(former);
            if let Some(in_call) = self.in_call.remove(&former) {
                self.in_call.insert(tracee.tid(), in_call);
            }
        }
        self.sites.forget(tracee.tid());
        if self.phase.is_none() {
            // The probe begins. The call that began it is the first that it needs.
            if let Some(in_call) = self.in_call.get(&tracee.tid()) {
                self.calls.enter(in_call.call, Phase::Startup);
            }
            self.phase = Some(if self.script { Phase::Startup } else { Phase::Body });
        }
        Ok(())
    }

    pub(crate) fn into_trace(self, command: Vec<String>, python: Option<Python>) -> Result<Trace, DigError> {
        let kernel = nix::sys::utsname::uname().map_err(|errno| DigError::System { what: "uname", errno })?;
        let (files, mut notes) = self.files.into_trace();
        for (arch, count) in self.unknown_abis {
            notes.push(format!(
                "{count} calls of an unknown architecture (AUDIT_ARCH {arch:#x}) are not listed"
            ));
        }
        if let Some(trouble) = self.script.then(|| self.sites.trouble(self.main)).flatten() {
            notes.push(format!("no Python lines: {trouble}"));
        }
        if self.script && self.phase == Some(Phase::Startup) {
            notes.push("the probe ended before its first line".to_owned());
        }
        Ok(Trace {
            schema: SCHEMA.to_owned(),
            arch: Arch::NATIVE,
            kernel: kernel.release().to_string_lossy().into_owned(),
            command,
            python,
            outcome: self
                .ending
                .unwrap_or_else(|| Ending::cut(EndingKind::Interrupted)),
            counts: Counts::Exact,
            notes,
            syscalls: self.calls.into_trace(),
            files,
        })
    }
}

/// Whether a call is the prelude's mark of the first line.
fn is_marker(call: Syscall, args: &[u64; 6]) -> bool {
    call.arch() == Some(Arch::NATIVE) && call.known_name() == Some("lseek") && prelude::MARKER.is_marker(args)
}
