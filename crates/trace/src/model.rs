//! The parts of a trace.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Abi, Arch, KeySet, Site, Syscall};
use serde::{Deserialize, Serialize};

use crate::{Ending, FileUse, Sight};

/// Everything that was seen of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Always [`SCHEMA`](crate::SCHEMA).
    pub schema: String,
    /// The machine that it was recorded on.
    pub arch: Arch,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The command as it was run, first the program.
    pub command: Vec<String>,
    /// The interpreter, if the probe is a Python script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python: Option<Python>,
    /// How the probe ended.
    pub outcome: Ending,
    /// Whether `count` and `errors` are exact.
    pub counts: Counts,
    /// What the reader should know: what could not be read, followed or resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The system calls, ordered by ABI and number; each once.
    pub syscalls: Vec<Call>,
    /// The paths that were used, ordered.
    #[serde(default)]
    pub files: Vec<FileUse>,
}

/// The interpreter of a Python probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// `sys.executable`.
    pub executable: String,
    /// `3.11.7`.
    pub version: String,
    /// `sys.prefix`.
    pub prefix: String,
}

/// How far `count` and `errors` can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// Every call was counted.
    Exact,
    /// Calls that had been seen before may have passed uncounted.
    LowerBound,
}

/// The part of a run in which a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before the first line of the user's code: the loader, the interpreter's own start.
    Startup,
    /// From the first line of the user's code to the end.
    Body,
}

/// One system call as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The kernel's name, or `syscall_N`.
    pub name: String,
    /// The number (x32: with bit 30).
    pub nr: u32,
    /// The ABI that the number belongs to.
    pub abi: Abi,
    /// How often it was made.
    pub count: u64,
    /// How often it failed, by the name of the error; `?` where an imported recording has no name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// The phases in which it was made.
    pub phases: BTreeSet<Phase>,
    /// What made it first: the place of the body's first sight, or else of the startup's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The arguments that choose what it does, named as the kernel's headers name them.
    #[serde(default, skip_serializing_if = "KeySet::is_empty")]
    pub args: KeySet,
    /// Who made it when it, or an argument of it, was new; in order of time within a phase. Bounded as
    /// `args` is: one for the call and one for each key, in each phase.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sights: Vec<Sight>,
}

impl Call {
    /// The call itself.
    pub fn syscall(&self) -> Syscall {
        Syscall::new(self.abi, self.nr)
    }
}

impl Trace {
    /// Keeps only the calls that were made in a phase, with their sights of that phase. A note says what
    /// can't be told apart: counts, errors and arguments are of the whole run, and so are the files.
    pub fn restrict(&mut self, phase: Phase) {
        self.syscalls.retain(|call| call.phases.contains(&phase));
        let both = self.syscalls.iter().filter(|call| call.phases.len() > 1).count();
        for call in &mut self.syscalls {
            call.phases = BTreeSet::from([phase]);
            let of_phase = |sight: &Sight| sight.phase == phase;
            if let Some(first) = call.sights.iter().find(|sight| of_phase(sight)) {
                call.site = first.place();
            }
            call.sights.retain(of_phase);
        }
        let word = match phase {
            Phase::Startup => "startup",
            Phase::Body => "body",
        };
        let counts = match both {
            0 => String::new(),
            1 => {
                "; counts and arguments of the one that was made in the other phase too are of the whole run"
                    .to_owned()
            }
            _ => format!(
                "; counts and arguments of the {both} that were made in the other phase too are of the whole run"
            ),
        };
        self.notes.push(format!(
            "only the calls of the {word} phase{counts}; files are of the whole run"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restricted_trace_names_the_first_place_of_that_phase() {
        let mut trace = Trace::from_json(
            r#"{"schema": "callgate.trace/1", "arch": "amd64", "kernel": "6.1", "command": ["a"],
                "outcome": {"status": "exited", "exit_code": 0}, "counts": "exact", "syscalls": [
                {"name": "read", "nr": 0, "abi": "x86_64", "count": 5, "phases": ["startup", "body"],
                 "site": {"file": "a.py", "line": 3, "function": "f"}, "sights": [
                 {"phase": "startup", "ms": 1, "thread": {"pid": 7, "tid": 7, "main": true, "name": "a"},
                  "object": {"file": "/lib/ld.so", "offset": 16}},
                 {"phase": "body", "ms": 9, "thread": {"pid": 7, "tid": 8, "main": false, "name": "b"},
                  "site": {"file": "a.py", "line": 3, "function": "f"}}]}]}"#,
        )
        .unwrap();
        let mut body = trace.clone();
        body.restrict(Phase::Body);
        trace.restrict(Phase::Startup);
        let told = |trace: &Trace| {
            let call = &trace.syscalls[0];
            (
                call.site.clone().unwrap().to_string(),
                call.sights.len(),
                call.sights[0].ms,
            )
        };
        assert_eq!(told(&trace), ("/lib/ld.so".to_owned(), 1, 1));
        assert_eq!(told(&body), ("a.py:3 in f".to_owned(), 1, 9));
    }

    #[test]
    fn a_restricted_trace_has_the_calls_of_that_phase_and_says_whose_counts_are_the_whole_runs() {
        let mut trace = Trace::from_json(
            r#"{"schema": "callgate.trace/1", "arch": "amd64", "kernel": "6.1", "command": ["a"],
                "outcome": {"status": "exited", "exit_code": 0}, "counts": "exact", "syscalls": [
                {"name": "read", "nr": 0, "abi": "x86_64", "count": 5, "phases": ["startup", "body"]},
                {"name": "write", "nr": 1, "abi": "x86_64", "count": 1, "phases": ["body"]},
                {"name": "brk", "nr": 12, "abi": "x86_64", "count": 1, "phases": ["startup"]}]}"#,
        )
        .unwrap();
        trace.restrict(Phase::Body);
        let left: Vec<&str> = trace.syscalls.iter().map(|call| call.name.as_str()).collect();
        assert_eq!(left, ["read", "write"]);
        assert!(
            trace
                .syscalls
                .iter()
                .all(|call| call.phases == BTreeSet::from([Phase::Body]))
        );
        assert!(
            trace.notes[0].contains("the one that was made in the other phase"),
            "{:?}",
            trace.notes
        );
    }
}
