//! Who made a call: thread, native object and Python line, read when something is new and not else.

use std::collections::HashMap;
use std::time::Instant;

use callgate_abi::Site;
use callgate_python::stacks::site;
use callgate_trace::{Phase, Sight, Thread};
use callgate_tracee::Stopped;

use crate::interpreters::{Interpreters, is_python};
use crate::maps::Maps;
use crate::native::Native;

/// What is known of the probe's threads and processes.
pub(crate) struct Sites {
    interpreters: Interpreters,
    maps: Maps,
    native: Native,
    groups: HashMap<i32, i32>,
    began: Instant,
    stacks: bool,
    /// A Python program's own code was seen at work.
    at_work: bool,
}

impl Sites {
    /// With `stacks`, whole stacks are kept, of Python and of native code.
    pub(crate) fn new(stacks: bool) -> Self {
        Self {
            interpreters: Interpreters::default(),
            maps: Maps::default(),
            native: Native::new(),
            groups: HashMap::new(),
            began: Instant::now(),
            stacks,
            at_work: false,
        }
    }

    /// The probe begins now.
    pub(crate) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Who is in a stopped thread. `script` is the process that runs a script, if the probe is one: its
    /// start-up has no lines that anybody wrote, and its outermost frames are the prelude's.
    pub(crate) fn sight(
        &mut self,
        tracee: &Stopped,
        instruction: u64,
        phase: Phase,
        script: Option<i32>,
    ) -> Sight {
        let tid = tracee.tid();
        let pid = self.group(tid).unwrap_or(tid);
        let mut sight = Sight {
            phase,
            ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            args: Vec::new(),
            thread: Thread {
                pid,
                tid,
                main: pid == tid,
                name: comm(tid),
            },
            site: None,
            object: self.maps.object(pid, instruction),
            caller: self.native.caller(tracee, pid, &mut self.maps),
            stack: Vec::new(),
            stack_omitted: 0,
            native: match self.stacks {
                true => self.native.stack(tracee, pid, &mut self.maps),
                false => Vec::new(),
            },
        };
        let startup = script.is_some() && phase == Phase::Startup;
        if !startup && (script == Some(pid) || is_python(pid) || self.maps.have_python(pid)) {
            if self.stacks {
                if let Some(frames) = self.interpreters.frames(pid, tid) {
                    self.at_work |= frames.last().is_some_and(|frame| is_program(&frame.file));
                    sight.site = site(&frames).cloned();
                    (sight.stack, sight.stack_omitted) = bounded(frames, script.is_some());
                }
            } else if let Some(glance) = self.interpreters.glance(pid, tid) {
                self.at_work |= glance.outermost.as_deref().is_some_and(is_program);
                sight.site = glance.site;
            }
        }
        sight
    }

    /// Whether the main module of a Python program was seen at work.
    pub(crate) fn at_work(&self) -> bool {
        self.at_work
    }

    /// A process has become another program: what was known of it is void.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.interpreters.forget(pid);
        self.maps.forget(pid);
        self.native.forget(pid);
    }

    /// A thread has ended; its number may come again.
    pub(crate) fn ended(&mut self, tid: i32) {
        self.groups.remove(&tid);
        self.forget(tid);
    }

    fn group(&mut self, tid: i32) -> Option<i32> {
        if let Some(pid) = self.groups.get(&tid) {
            return Some(*pid);
        }
        let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
        let pid = status
            .lines()
            .find_map(|line| line.strip_prefix("Tgid:"))?
            .trim()
            .parse()
            .ok()?;
        self.groups.insert(tid, pid);
        Some(pid)
    }

    /// What the reader should know: which Python stacks could not be read, and why.
    pub(crate) fn notes(self) -> Vec<String> {
        let none = self.stacks && !self.interpreters.read_any();
        let mut notes = self.interpreters.notes();
        if none && notes.is_empty() {
            notes.push("no Python stacks: no Python ran in the phase that has them".to_owned());
        }
        notes
    }
}

/// Whether the outermost frame of a stack is a program's, by its file. While the interpreter starts it is one of its own frozen
/// modules: `getpath`, and the import system, by which everything else is loaded then.
fn is_program(outermost: &str) -> bool {
    !outermost.starts_with("<frozen ")
}

/// The frames that are kept, and how many are not.
fn bounded(mut frames: Vec<Site>, script: bool) -> (Vec<Site>, u32) {
    if script {
        // The prelude is what runs the script, and comes by `-c`.
        while frames.last().is_some_and(|frame| frame.file == "<string>") {
            frames.pop();
        }
    }
    let omitted = frames.len().saturating_sub(Sight::MOST_FRAMES);
    frames.truncate(Sight::MOST_FRAMES);
    (frames, u32::try_from(omitted).unwrap_or(u32::MAX))
}

/// A thread's name; empty where it is gone.
fn comm(tid: i32) -> String {
    let name = std::fs::read(format!("/proc/{tid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_stack_keeps_its_inner_frames_and_says_how_many_are_missing() {
        let frame = |file: &str, line| Site {
            file: file.into(),
            line,
            function: "f".into(),
        };
        let mut frames: Vec<Site> = (1..=70).map(|line| frame("a.py", line)).collect();
        frames.push(frame("<string>", 1));
        let (kept, omitted) = bounded(frames.clone(), true);
        assert_eq!((kept.len(), kept[0].line, omitted), (Sight::MOST_FRAMES, 1, 6));
        let (kept, omitted) = bounded(frames.split_off(69), false);
        assert_eq!((kept.len(), kept[1].file.as_str(), omitted), (2, "<string>", 0));
    }
}
