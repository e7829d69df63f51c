//! Who made a call: the Python line, or else the mapped object that entered the kernel.

use std::collections::HashMap;
use std::path::Path;

use callgate_abi::Site;
use callgate_python::stacks::{Stacks, site};
use callgate_tracee::Stopped;

/// How often we try to read the interpreter of one process: while it starts it can't be read yet, and
/// we only ask at the first sight of a call.
const TRIES: u32 = 64;

/// What is known of one process's interpreter.
#[derive(Default)]
struct Process {
    stacks: Option<Stacks>,
    failures: u32,
    last_error: Option<String>,
}

/// The readers of all processes, made when first needed.
#[derive(Default)]
pub(crate) struct Sites {
    processes: HashMap<i32, Process>,
    groups: HashMap<i32, i32>,
}

impl Sites {
    /// The place in the program that a stopped thread is at. `python` says that the process is known
    /// to run Python code by now.
    pub(crate) fn read(&mut self, tracee: &Stopped, instruction: u64, python: bool) -> Option<Site> {
        let pid = self.group(tracee.tid())?;
        if python || is_python(pid) {
            if let Some(site) = self.python(pid, tracee.tid()) {
                return Some(site);
            }
        }
        mapped_object(pid, instruction)
    }

    /// A process has become another program: what was known of it is void.
    pub(crate) fn forget(&mut self, pid: i32) {
        self.processes.remove(&pid);
    }

    /// A thread has ended; its number may come again.
    pub(crate) fn ended(&mut self, tid: i32) {
        self.groups.remove(&tid);
        self.processes.remove(&tid);
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

    fn python(&mut self, pid: i32, tid: i32) -> Option<Site> {
        let process = self.processes.entry(pid).or_default();
        if process.stacks.is_none() {
            if process.failures >= TRIES {
                return None;
            }
            match Stacks::open(pid) {
                Ok(stacks) => process.stacks = Some(stacks),
                Err(error) => {
                    process.failures += 1;
                    process.last_error = Some(error.to_string());
                    return None;
                }
            }
        }
        // A frame that is being built can't be read; the next new call will try again.
        let frames = process.stacks.as_mut()?.frames(tid).ok()??;
        site(&frames).cloned()
    }

    /// Why the interpreter of a process could never be read.
    pub(crate) fn trouble(&self, pid: i32) -> Option<&str> {
        let process = self.processes.get(&pid)?;
        if process.stacks.is_some() {
            None
        } else {
            process.last_error.as_deref()
        }
    }
}

/// Whether a process's program calls itself Python.
fn is_python(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .ok()
        .as_deref()
        .and_then(Path::file_name)
        .is_some_and(|name| name.to_string_lossy().starts_with("python"))
}

/// The file that is mapped where an instruction lies.
fn mapped_object(pid: i32, instruction: u64) -> Option<Site> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        if !(from..to).contains(&instruction) {
            return None;
        }
        let file = &rest[rest.find('/')?..];
        Some(Site {
            file: file.to_owned(),
            line: 0,
            function: String::new(),
        })
    })
}
