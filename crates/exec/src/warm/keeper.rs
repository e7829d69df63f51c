//! The thread that starts a template and is its tracer until it ends: counts its imports, sees that each leaves nothing
//! behind, and takes its capabilities out of effect.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::sync::mpsc;

use callgate_launch::{Launch, Step};
use callgate_python::prelude::Marker;
use callgate_tracee::{Event, Injector, Moment, Options, Reason, Resume, Stopped, Stopper, TraceeError};
use nix::sys::wait::waitpid;

use super::generation::{BESIDE, failure};
use super::seat::make;
use crate::attend::tracing;
use crate::landlock;
use crate::lock::{MARKER_DATA, Sign};
use crate::outcome::SetUpFailure;
use crate::run::launch_failed;
use crate::seize::seize;
use crate::supervise::{WatchError, is_exit, is_marker};
use crate::violation::process_of;

/// What the keeper says.
pub(super) enum Told {
    Started(i32, Stopper),
    Ready,
    Failed(SetUpFailure),
}

/// Starts the template, watches it, and sees its end.
pub(super) struct Keeper {
    pub(super) modules: Vec<String>,
    /// What it writes.
    pub(super) said: File,
    pub(super) tell: mpsc::Sender<Told>,
    pub(super) ready: bool,
    pub(super) markers: usize,
    pub(super) at_marker: bool,
    /// Threads and processes of its start-up that have not ended.
    pub(super) others: BTreeSet<i32>,
    /// What the filter around it asks with.
    pub(super) guard: Option<u16>,
    pub(super) last_capability: u64,
    pub(super) at_exec: bool,
    /// Where there is a guard: its capabilities are not in effect any more.
    pub(super) powerless: bool,
    /// Until it is in force there.
    pub(super) _landlock: Option<landlock::Layer>,
}

impl Keeper {
    pub(super) fn keep(mut self, launch: Launch, control: OwnedFd) -> Result<(), SetUpFailure> {
        let mut process = launch.start().map_err(launch_failed)?;
        let pid = process.pid();
        let seized = seize(pid.as_raw(), Options::FILTERED).map_err(|error| tracing(&error));
        let handle =
            Stopper::new(pid.as_raw()).map_err(|errno| failure(format!("pidfd_open: {errno}"), None));
        let (mut tracer, handle) = match seized.and_then(|tracer| Ok((tracer, handle?))) {
            Ok(both) => both,
            Err(failure) => {
                // It waits for a word from us, and ends without one.
                drop(process);
                let _ = waitpid(pid, None);
                return Err(failure);
            }
        };
        let _ = self.tell.send(Told::Started(pid.as_raw(), handle.clone()));
        let _ = process.go();
        drop(control);
        let mut trouble = None;
        while let Some(event) = tracer.wait().map_err(|error| tracing(&error))? {
            match event {
                Event::Stopped(tracee) => {
                    if let Err(failure) = self.stopped(tracee, pid.as_raw()) {
                        handle.stop(1);
                        trouble.get_or_insert(failure);
                    }
                }
                // With it ends all that it has left, as this thread is their tracer.
                Event::Exited { tid, .. } | Event::Killed { tid, .. } if tid == pid.as_raw() => break,
                Event::Exited { tid, .. } | Event::Killed { tid, .. } => {
                    self.others.remove(&tid);
                }
            }
        }
        if self.ready {
            return Ok(());
        }
        if let Some(failure) = trouble {
            return Err(failure);
        }
        if let Ok(Some(failed)) = process.reports().map(|reports| reports.failure) {
            return Err(crate::setup::explain(&failed));
        }
        Err(self.not_ready())
    }

    fn stopped(&mut self, tracee: Stopped, template: i32) -> Result<(), SetUpFailure> {
        let done = self.step(tracee, template);
        match done {
            Ok(checked) => checked,
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(tracing(&error)),
        }
    }

    fn step(&mut self, tracee: Stopped, template: i32) -> Result<Result<(), SetUpFailure>, TraceeError> {
        if tracee.tid() != template {
            self.others.insert(tracee.tid());
        }
        // Who was born may show itself only after its parent has come to the next marker.
        if matches!(tracee.reason(), Reason::Fork | Reason::Vfork | Reason::Clone) {
            self.others.insert(tracee.event_message()? as i32);
        }
        if self.refused(&tracee)? {
            return tracee.resume(Resume::Freely).map(Ok);
        }
        if self.guard.is_some() && tracee.tid() == template && !self.powerless {
            return self.disarm(tracee);
        }
        if tracee.tid() != template || self.ready {
            return tracee.resume(Resume::Freely).map(Ok);
        }
        if tracee.reason() == Reason::Seccomp
            && is_marker(&tracee, &Sign::PYTHON, |data| data == MARKER_DATA)?
        {
            self.at_marker = true;
        } else if tracee.reason() == Reason::Syscall && self.at_marker && is_exit(&tracee)? {
            self.at_marker = false;
            if let Err(failure) = self.check(template) {
                tracee.resume(Resume::Freely)?;
                return Ok(Err(failure));
            }
            self.markers += 1;
            if self.markers > self.modules.len() {
                // Its forks are others' business.
                tracee.set_options(Options::GUARD)?;
                self.ready = true;
                let _ = self.tell.send(Told::Ready);
            }
            tracee.set_result(Marker::ACK as i64)?;
        }
        let how = match self.at_marker {
            true => Resume::ToNextSyscall,
            false => Resume::Freely,
        };
        tracee.resume(how).map(Ok)
    }

    /// Refuses what the filter around it asks about; but a process that shares its memory is a tracee like all, and
    /// has ended when the template is ready.
    fn refused(&self, tracee: &Stopped) -> Result<bool, TraceeError> {
        if tracee.reason() != Reason::Seccomp || self.guard.is_none() {
            return Ok(false);
        }
        let stop = tracee.syscall()?;
        let Moment::Seccomp { data, .. } = stop.moment else {
            return Ok(false);
        };
        if Some(data) != self.guard.map(u32::from) {
            return Ok(false);
        }
        let name = stop.call().and_then(|(call, _)| call.known_name());
        if !matches!(name, Some("vfork" | "clone")) {
            tracee.refuse(libc::EPERM as u16)?;
        }
        Ok(true)
    }

    /// On its way to its first instruction: takes its capabilities out of effect when it has been executed.
    fn disarm(&mut self, tracee: Stopped) -> Result<Result<(), SetUpFailure>, TraceeError> {
        if tracee.reason() == Reason::Exec {
            self.at_exec = true;
        }
        if !self.at_exec {
            return tracee.resume(Resume::Freely).map(Ok);
        }
        // The exec's own return has to come before a call can be injected.
        if tracee.reason() != Reason::Syscall || !is_exit(&tracee)? {
            return tracee.resume(Resume::ToNextSyscall).map(Ok);
        }
        let mut injector = Injector::new(tracee, true)?;
        let none = [Step::Capabilities {
            effective: 0,
            permitted: BESIDE,
        }];
        match make(&mut injector, &none, self.last_capability) {
            Ok(()) => self.powerless = true,
            Err(WatchError::Tracee(error)) => return Err(error),
            Err(error) => return Ok(Err(failure(error.to_string(), None))),
        }
        injector.resume(None, Resume::Freely).map(Ok)
    }

    /// A fork has one thread, and no process but itself is in it.
    fn check(&self, template: i32) -> Result<(), SetUpFailure> {
        let what = match self.modules.get(self.markers) {
            Some(module) => format!("importing {module}"),
            None => "the interpreter's start-up".to_owned(),
        };
        let mut names: Vec<String> = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{template}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            names.push(name.trim().to_owned());
        }
        if names.len() != 1 {
            return Err(failure(
                format!(
                    "{what} left {} threads running, which forks would lack ({})",
                    names.len(),
                    names.join(", ")
                ),
                Some(
                    "leave it out of what is imported ahead, or keep it from starting threads by a variable",
                ),
            ));
        }
        let stray = |tid: &&i32| process_of(**tid).is_some_and(|pid| pid != template);
        match self.others.iter().find(stray) {
            Some(tid) => Err(failure(
                format!("{what} left process {tid} running"),
                Some("leave it out of what is imported ahead"),
            )),
            None => Ok(()),
        }
    }

    /// Why it ended before it was ready: the last line that it wrote.
    fn not_ready(&mut self) -> SetUpFailure {
        let mut text = Vec::new();
        let read = self.said.rewind().and_then(|()| self.said.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text).into_owned();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let why = match (read, last) {
            (Ok(_), Some(line)) => line.to_owned(),
            _ => "it ended without a word".to_owned(),
        };
        match self.modules.get(self.markers) {
            Some(module) => failure(
                format!("importing {module}: {why}"),
                Some("what is imported ahead must be installed for the interpreter, and in its root"),
            ),
            None => failure(
                why,
                Some("`callgate root check` lists shared objects that are missing in the root"),
            ),
        }
    }
}
