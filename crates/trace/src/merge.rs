//! Several traces united: what was seen in any of them, and which calls were not seen in all.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Arch, Syscall};

use crate::{Call, Counts, FileUse, Trace, sight};

/// The union of one or more traces. A [`Trace`] alone is one run; `Merged` also knows how many runs it
/// stands for and in how many each call was seen.
///
/// Which calls a run makes is partly chance (memory layout, load, which thread was first): a call that
/// was not in every run is a sign that further runs may show further calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The union, as a trace of its own.
    pub trace: Trace,
    /// How many runs it unites.
    pub runs: u32,
    /// In how many of them each call was seen.
    pub(crate) seen_in: BTreeMap<Syscall, u32>,
}

/// Why traces can't be united.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is nothing to unite.
    #[error("no trace to merge: name one at least")]
    Nothing,
    /// They come from different machines: their numbers mean different calls.
    #[error(
        "trace {index} was recorded on {other}, the first on {first}: merge the traces of each architecture by \
         themselves (`callgate policy new` takes both)"
    )]
    Arch {
        /// The place of the one that differs, from 1.
        index: usize,
        /// The architecture of the first.
        first: Arch,
        /// The architecture of the one that differs.
        other: Arch,
    },
    /// They stand for more runs than can be counted.
    #[error("these traces stand for more than {} runs", u32::MAX)]
    TooMany,
}

impl From<Trace> for Merged {
    fn from(trace: Trace) -> Self {
        let seen_in = trace.syscalls.iter().map(|call| (call.syscall(), 1)).collect();
        Self {
            trace,
            runs: 1,
            seen_in,
        }
    }
}

impl Trace {
    /// Unites traces; see [`Merged::unite`].
    ///
    /// # Errors
    /// [`MergeError`] if there are none, or they are of different architectures.
    pub fn merge(traces: impl IntoIterator<Item = Self>) -> Result<Merged, MergeError> {
        Merged::unite(traces.into_iter().map(Merged::from))
    }
}

impl Merged {
    /// Unites traces and earlier unions.
    ///
    /// Counts and errors are added (and are lower bounds if one of them is), phases and files united,
    /// the first known site of each call is kept. The end is the first that was not a success, or else the
    /// first. Where kernel, command or interpreter differ, the first stands and a note says so.
    ///
    /// # Errors
    /// [`MergeError`] if there are none, or they are of different architectures.
    pub fn unite(all: impl IntoIterator<Item = Self>) -> Result<Self, MergeError> {
        let mut all = all.into_iter();
        let mut union = all.next().ok_or(MergeError::Nothing)?;
        let mut differing = Differing::default();
        for (index, next) in all.enumerate() {
            if next.trace.arch != union.trace.arch {
                return Err(MergeError::Arch {
                    index: index + 2,
                    first: union.trace.arch,
                    other: next.trace.arch,
                });
            }
            differing.compare(&union.trace, &next.trace);
            union.add(next)?;
        }
        for note in differing.notes() {
            add_note(&mut union.trace.notes, note);
        }
        Ok(union)
    }

    /// In how many runs a call was seen.
    pub fn seen_in(&self, call: Syscall) -> u32 {
        self.seen_in.get(&call).copied().unwrap_or(0)
    }

    /// The calls that were not seen in every run, with the number of runs that they were seen in.
    pub fn not_in_every_run(&self) -> impl Iterator<Item = (&Call, u32)> {
        self.trace
            .syscalls
            .iter()
            .map(|call| (call, self.seen_in(call.syscall())))
            .filter(|(_, seen_in)| *seen_in < self.runs)
    }

    fn add(&mut self, next: Self) -> Result<(), MergeError> {
        self.runs = self.runs.checked_add(next.runs).ok_or(MergeError::TooMany)?;
        for (call, seen_in) in next.seen_in {
            *self.seen_in.entry(call).or_default() += seen_in;
        }
        let (trace, next) = (&mut self.trace, next.trace);
        if trace.outcome.succeeded() {
            trace.outcome = next.outcome;
        }
        if next.counts == Counts::LowerBound {
            trace.counts = Counts::LowerBound;
        }
        for note in next.notes {
            add_note(&mut trace.notes, note);
        }
        add_calls(&mut trace.syscalls, next.syscalls);
        add_files(&mut trace.files, next.files);
        Ok(())
    }
}

fn add_note(notes: &mut Vec<String>, note: String) {
    if !notes.contains(&note) {
        notes.push(note);
    }
}

fn add_calls(calls: &mut Vec<Call>, more: Vec<Call>) {
    let mut by_call: BTreeMap<Syscall, Call> = calls.drain(..).map(|call| (call.syscall(), call)).collect();
    for call in more {
        match by_call.get_mut(&call.syscall()) {
            None => {
                by_call.insert(call.syscall(), call);
            }
            Some(known) => {
                known.count = known.count.saturating_add(call.count);
                for (errno, times) in call.errors {
                    let sum = known.errors.entry(errno).or_default();
                    *sum = sum.saturating_add(times);
                }
                known.phases.extend(call.phases);
                known.args.unite(call.args);
                known.site = known.site.take().or(call.site);
                sight::unite(&mut known.sights, call.sights, &known.args);
            }
        }
    }
    calls.extend(by_call.into_values());
}

fn add_files(files: &mut Vec<FileUse>, more: Vec<FileUse>) {
    let mut by_path: BTreeMap<String, FileUse> =
        files.drain(..).map(|file| (file.path.clone(), file)).collect();
    for file in more {
        match by_path.get_mut(&file.path) {
            None => {
                by_path.insert(file.path.clone(), file);
            }
            Some(known) => {
                known.how.extend(file.how);
                known.found |= file.found;
            }
        }
    }
    files.extend(by_path.into_values());
}

/// What a union can hold only one of.
#[derive(Default)]
struct Differing {
    kernels: BTreeSet<String>,
    commands: BTreeSet<String>,
    pythons: BTreeSet<String>,
}

impl Differing {
    fn compare(&mut self, first: &Trace, next: &Trace) {
        if next.kernel != first.kernel {
            self.kernels.insert(next.kernel.clone());
        }
        if next.command != first.command {
            self.commands.insert(format!("`{}`", next.command.join(" ")));
        }
        if next.python != first.python {
            self.pythons.insert(match &next.python {
                Some(python) => format!("{} ({})", python.executable, python.version),
                None => "none".to_owned(),
            });
        }
    }

    fn notes(self) -> impl Iterator<Item = String> {
        let note = |what: &str, words: BTreeSet<String>| {
            let list: Vec<String> = words.into_iter().collect();
            (!list.is_empty()).then(|| format!("also recorded with another {what}: {}", list.join(", ")))
        };
        [
            note("kernel", self.kernels),
            note("command", self.commands),
            note("interpreter", self.pythons),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, EndingKind, Phase};

    fn trace(text: &str) -> Trace {
        let head = r#"{"schema": "callgate.trace/1", "arch": "amd64", "kernel": "6.1", "command": ["a"],
                       "outcome": {"status": "exited", "exit_code": 0}, "counts": "exact", "#;
        Trace::from_json(&format!("{head}{text}}}")).unwrap()
    }

    fn one() -> Trace {
        trace(
            r#""notes": ["same"], "files": [{"path": "/b", "how": ["stat"], "found": false}], "syscalls": [
               {"name": "read", "nr": 0, "abi": "x86_64", "count": 2, "errors": {"EAGAIN": 1}, "phases": ["startup"]},
               {"name": "getpid", "nr": 39, "abi": "x86_64", "count": 1, "phases": ["body"],
                "site": {"file": "a.py", "line": 1, "function": "f"}}]"#,
        )
    }

    fn two() -> Trace {
        trace(
            r#""notes": ["same"], "files": [{"path": "/a", "how": ["read"], "found": true},
                                            {"path": "/b", "how": ["read"], "found": true}], "syscalls": [
               {"name": "read", "nr": 0, "abi": "x86_64", "count": 3, "errors": {"EAGAIN": 1, "EINTR": 1},
                "phases": ["body"], "site": {"file": "b.py", "line": 2, "function": "g"}},
               {"name": "write", "nr": 1, "abi": "x86_64", "count": 1, "phases": ["body"]}]"#,
        )
    }

    #[test]
    fn counts_and_errors_are_added_phases_and_files_united_and_the_first_site_kept() {
        let merged = Trace::merge([one(), two()]).unwrap();
        let names: Vec<&str> = merged.trace.syscalls.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["read", "write", "getpid"]);
        let read = &merged.trace.syscalls[0];
        assert_eq!(read.count, 5);
        assert_eq!((read.errors["EAGAIN"], read.errors["EINTR"]), (2, 1));
        assert_eq!(read.phases, [Phase::Startup, Phase::Body].into());
        assert_eq!(read.site.as_ref().unwrap().file, "b.py");
        let files: Vec<(&str, usize, bool)> = merged
            .trace
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.how.len(), file.found))
            .collect();
        assert_eq!(files, [("/a", 1, true), ("/b", 2, true)]);
        assert_eq!(merged.trace.notes, ["same"]);
        assert_eq!(merged.trace.counts, Counts::Exact);
    }

    #[test]
    fn it_knows_which_calls_were_not_in_every_run_also_over_several_merges() {
        let pair = Trace::merge([one(), two()]).unwrap();
        let all = Merged::unite([pair, Merged::from(one())]).unwrap();
        assert_eq!(all.runs, 3);
        let seldom: Vec<(&str, u32)> = all
            .not_in_every_run()
            .map(|(call, seen_in)| (call.name.as_str(), seen_in))
            .collect();
        assert_eq!(seldom, [("write", 1), ("getpid", 2)]);
    }

    #[test]
    fn one_trace_merged_is_itself() {
        let merged = Trace::merge([one()]).unwrap();
        assert_eq!((&merged.trace, merged.runs), (&one(), 1));
        assert_eq!(merged.not_in_every_run().count(), 0);
    }

    #[test]
    fn a_failure_a_lower_bound_and_another_command_are_not_lost() {
        let mut other = two();
        other.outcome = Ending::cut(EndingKind::Timeout);
        other.counts = Counts::LowerBound;
        other.command = vec!["b".into()];
        let merged = Trace::merge([one(), other, one()]).unwrap().trace;
        assert_eq!(merged.outcome.status, EndingKind::Timeout);
        assert_eq!(merged.counts, Counts::LowerBound);
        assert_eq!(merged.command, ["a"]);
        assert!(
            merged
                .notes
                .contains(&"also recorded with another command: `b`".to_owned())
        );
    }

    #[test]
    fn what_can_not_be_united_is_refused_with_its_place() {
        assert_eq!(Trace::merge([]), Err(MergeError::Nothing));
        let mut arm = two();
        arm.arch = Arch::Aarch64;
        let told = Trace::merge([one(), arm]).unwrap_err().to_string();
        assert!(told.contains("trace 2") && told.contains("arm64"), "{told}");
        let many = Merged {
            runs: u32::MAX,
            ..Merged::from(one())
        };
        assert_eq!(
            Merged::unite([many, Merged::from(one())]),
            Err(MergeError::TooMany)
        );
    }
}
