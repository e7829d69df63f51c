//! The Python stacks of the probe's processes, and why those that can't be read can't.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use callgate_abi::Site;
use callgate_python::stacks::{Glance, Opening, StackError, Stacks};

/// How often we try to find the interpreter of one process: while it starts it can't be read yet, and we
/// only ask where something is new.
const TRIES: u32 = 256;

/// How many reasons are told.
const MOST_REASONS: usize = 4;

/// What is known of one process's interpreter.
struct Process {
    opening: Opening,
    stacks: Option<Stacks>,
    failures: u32,
    last_error: Option<String>,
    read: bool,
}

/// The readers of all processes, made when first needed.
#[derive(Default)]
pub(crate) struct Interpreters {
    processes: HashMap<i32, Process>,
    /// Why a process that is over was never read.
    unread: BTreeMap<i32, String>,
    read_any: bool,
}

impl Interpreters {
    /// The stack of a stopped thread, innermost frame first. `None` if it runs no Python, or can't be read
    /// now: a frame that is being built can't, and whatever is new next will try again.
    pub(crate) fn frames(&mut self, pid: i32, tid: i32) -> Option<Vec<Site>> {
        self.read(pid, |stacks| stacks.frames(tid))
    }

    /// The same, and only what is seen of it at a glance.
    pub(crate) fn glance(&mut self, pid: i32, tid: i32) -> Option<Glance> {
        self.read(pid, |stacks| stacks.glance(tid))
    }

    fn read<T>(
        &mut self,
        pid: i32,
        read: impl FnOnce(&mut Stacks) -> Result<Option<T>, StackError>,
    ) -> Option<T> {
        let process = self.process(pid);
        if process.stacks.is_none() {
            if process.failures >= TRIES {
                return None;
            }
            match process.opening.open() {
                Ok(stacks) => process.stacks = Some(stacks),
                Err(error @ StackError::NotYet { .. }) => {
                    process.last_error = Some(error.to_string());
                    return None;
                }
                Err(error) => {
                    process.failures += 1;
                    process.last_error = Some(error.to_string());
                    return None;
                }
            }
        }
        match read(process.stacks.as_mut()?) {
            Ok(seen) => {
                process.read = true;
                self.read_any |= seen.is_some();
                seen
            }
            Err(error) => {
                process.last_error = Some(error.to_string());
                None
            }
        }
    }

    fn process(&mut self, pid: i32) -> &mut Process {
        self.processes.entry(pid).or_insert_with(|| Process {
            opening: Opening::new(pid),
            stacks: None,
            failures: 0,
            last_error: None,
            read: false,
        })
    }

    /// A process has become another program, or has ended.
    pub(crate) fn forget(&mut self, pid: i32) {
        if let Some(process) = self.processes.remove(&pid) {
            if let Some(reason) = process.reason() {
                self.unread.insert(pid, reason);
            }
        }
    }

    /// Whether a Python stack was read of any process.
    pub(crate) fn read_any(&self) -> bool {
        self.read_any
    }

    /// What the reader should know: which interpreters were never read, and why.
    pub(crate) fn notes(mut self) -> Vec<String> {
        let pids: Vec<i32> = self.processes.keys().copied().collect();
        for pid in pids {
            self.forget(pid);
        }
        // A process and its children have one reason.
        let mut alike: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for (pid, reason) in self.unread {
            let what = reason.replace(&format!("process {pid}"), "process");
            alike.entry(what).or_insert((reason, 0)).1 += 1;
        }
        let more: usize = alike.values().skip(MOST_REASONS).map(|(_, count)| count).sum();
        let mut notes: Vec<String> = alike
            .into_values()
            .take(MOST_REASONS)
            .map(|(reason, count)| match count {
                1 => format!("no Python lines: {reason}"),
                _ => format!("no Python lines: {reason} (so it is with {count} processes)"),
            })
            .collect();
        if more > 0 {
            notes.push(format!("no Python lines of {more} further processes"));
        }
        notes
    }
}

impl Process {
    fn reason(self) -> Option<String> {
        if self.read { None } else { self.last_error }
    }
}

/// Whether a process's program calls itself Python.
pub(crate) fn is_python(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .ok()
        .as_deref()
        .and_then(Path::file_name)
        .is_some_and(|name| name.to_string_lossy().starts_with("python"))
}
