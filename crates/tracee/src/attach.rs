//! Attaching to a process that runs already, with its threads and descendants, and letting it go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use nix::errno::Errno;
use nix::unistd::gettid;

use crate::error::TraceeError;
use crate::tracer::{Options, Tracer};

/// What was attached to.
#[derive(Debug)]
pub struct Attached {
    /// The tracer of all of them.
    pub tracer: Tracer,
    /// Every thread. Those that they make from now on are attached by the kernel, and not listed.
    pub threads: BTreeSet<i32>,
    /// Threads of descendants that the kernel refused.
    pub refused: Vec<TraceeError>,
}

impl Tracer {
    /// Attaches to a running process, all its threads, and its existing descendants with theirs. Nothing is
    /// stopped yet: [`Tracer::interrupt`] does that, and until then a thread makes no system-call stops.
    /// If the tracer dies, by SIGKILL too, the kernel lets all go on.
    ///
    /// # Errors
    /// [`TraceeError::Seize`] if a thread of the process itself is refused. Those that were attached before
    /// are let go by the kernel when the calling thread ends.
    pub fn attach(pid: i32) -> Result<Attached, TraceeError> {
        let mut attached = Attached {
            tracer: Self::seize(pid, Options::ATTACH)?,
            threads: BTreeSet::from([pid]),
            refused: Vec::new(),
        };
        let mut tried = BTreeSet::from([pid]);
        // New ones come from threads that are not attached yet, so a pass that finds none is the last.
        loop {
            let before = tried.len();
            for process in family(pid) {
                for tid in threads(process) {
                    if tried.insert(tid) {
                        attached.add(pid, process, tid)?;
                    }
                }
            }
            if tried.len() == before {
                return Ok(attached);
            }
        }
    }
}

impl Attached {
    fn add(&mut self, main: i32, process: i32, tid: i32) -> Result<(), TraceeError> {
        match self.tracer.seize_also(tid) {
            Ok(()) => {
                self.threads.insert(tid);
            }
            Err(Errno::ESRCH) => {}
            // The kernel was quicker: its maker is attached.
            Err(Errno::EPERM) if tracer_of(tid) == Some(gettid().as_raw()) => {}
            // Ended, and not waited for yet.
            Err(Errno::EPERM) if has_ended(tid) => {}
            Err(errno) => {
                let error = TraceeError::Seize { tid, errno };
                if process == main {
                    return Err(error);
                }
                self.refused.push(error);
            }
        }
        Ok(())
    }
}

/// Who traces a thread: the number of that tracer's thread.
pub fn tracer_of(tid: i32) -> Option<i32> {
    let tracer = field(tid, "TracerPid:")?.parse().ok()?;
    (tracer != 0).then_some(tracer)
}

fn has_ended(tid: i32) -> bool {
    field(tid, "State:").is_none_or(|state| state.starts_with(['Z', 'X']))
}

fn field(tid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

fn numbers(directory: &str) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn threads(process: i32) -> Vec<i32> {
    numbers(&format!("/proc/{process}/task"))
}

/// A process and all its descendants, as far as their parents live (proc_pid_stat(5): the fourth field).
fn family(pid: i32) -> BTreeSet<i32> {
    let parent = |process: i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may hold anything, parentheses too.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    let parents: BTreeMap<i32, i32> = numbers("/proc")
        .into_iter()
        .filter_map(|process| Some((process, parent(process)?)))
        .collect();
    let mut family = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(process, parent)| family.contains(parent) && !family.contains(process))
            .map(|(process, _)| *process)
            .collect();
        if more.is_empty() {
            return family;
        }
        family.extend(more);
    }
}
