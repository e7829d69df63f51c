//! Other tools' recordings: strace logs and tables, audit records, lists of numbers or names → a trace.
//!
//! The parsers read text and do no I/O. What they can't read is an error that names the line and the mend;
//! what a recording can't know (counts, phases, sites, files) is left out and said in the trace's notes.
//!
//! ```
//! use callgate_abi::Arch;
//! use callgate_trace::import::Import;
//!
//! let mut import = Import::new(Some(Arch::X86_64));
//! import.add("list.txt", "openat\nread\n", None)?;
//! let trace = import.finish()?;
//! assert_eq!(trace.syscalls[0].name, "read");
//! assert!(trace.notes[0].contains("list.txt"));
//! # Ok::<(), callgate_trace::import::ImportError>(())
//! ```
//!
//! Limits: strace shows the parts of i386's `socketcall` and `ipc` under names that i386 also has as calls
//! of their own; they are imported as the latter.

mod audit;
mod detect;
mod error;
mod lists;
mod strace;
mod summary;

use std::collections::BTreeMap;

use callgate_abi::{Abi, Arch, KeySet, Syscall};

pub use detect::Format;
pub use error::{ImportError, Problem};

use crate::{Call, Counts, Ending, EndingKind, Phase, SCHEMA, Trace};

/// The name of an error that the recording counts without naming it.
pub(crate) const UNNAMED: &str = "?";

/// A recording of another tool on its way to a trace; it may lie in several files (`strace -ff`).
#[derive(Clone, Debug)]
pub struct Import {
    asked: Option<Arch>,
    arch: Option<Arch>,
    calls: BTreeMap<Syscall, Seen>,
    command: Option<Vec<String>>,
    ending: Option<Ending>,
    counts: Counts,
    notes: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    count: u64,
    errors: BTreeMap<String, u64>,
}

impl Import {
    /// An import of recordings that were made on `arch`. `None` is this program's own architecture, unless
    /// the recording says which (audit records do).
    pub fn new(arch: Option<Arch>) -> Self {
        Self {
            asked: arch,
            arch: None,
            calls: BTreeMap::new(),
            command: None,
            ending: None,
            counts: Counts::Exact,
            notes: Vec::new(),
        }
    }

    /// Reads one file's text; `None` finds its format out. `name` is what notes call it.
    /// Returns the format that was read.
    ///
    /// # Errors
    /// [`ImportError`] with the line that can't be read. What was read until then is not taken back: give
    /// the import up.
    pub fn add(&mut self, name: &str, text: &str, format: Option<Format>) -> Result<Format, ImportError> {
        let format = match format {
            Some(format) => format,
            None => detect::detect(text)?,
        };
        self.notes.push(format!("imported from {name} ({format})"));
        let before = self.total();
        match format {
            Format::Strace => strace::read(self, text)?,
            Format::StraceSummary => summary::read(self, text)?,
            Format::Numbers => lists::numbers(self, text)?,
            Format::Audit => audit::read(self, text)?,
            Format::Names => lists::names(self, text)?,
        }
        if self.total() == before {
            self.notes.push(format!("{name} holds no system call"));
        }
        Ok(format)
    }

    /// The trace of all that was added. Everything counts as the body phase: no recording tells the phases.
    ///
    /// # Errors
    /// [`ImportError::Nothing`] if there was no call in it.
    pub fn finish(self) -> Result<Trace, ImportError> {
        if self.calls.is_empty() {
            return Err(ImportError::Nothing);
        }
        let call = |(call, seen): (Syscall, Seen)| Call {
            name: call.name().into_owned(),
            nr: call.nr(),
            abi: call.abi(),
            count: seen.count,
            errors: seen.errors,
            phases: [Phase::Body].into(),
            site: None,
            args: KeySet::default(),
            sights: Vec::new(),
        };
        Ok(Trace {
            schema: SCHEMA.to_owned(),
            arch: self.arch.or(self.asked).unwrap_or(Arch::NATIVE),
            kernel: "unknown".to_owned(),
            command: self.command.unwrap_or_default(),
            python: None,
            outcome: self.ending.unwrap_or(Ending::cut(EndingKind::Unknown)),
            counts: self.counts,
            notes: self.notes,
            syscalls: self.calls.into_iter().map(call).collect(),
            files: Vec::new(),
        })
    }

    fn total(&self) -> u64 {
        self.calls
            .values()
            .fold(0, |sum, seen| sum.saturating_add(seen.count))
    }

    /// The architecture of a recording that doesn't name it.
    fn arch(&mut self) -> Arch {
        *self.arch.get_or_insert(self.asked.unwrap_or(Arch::NATIVE))
    }

    /// Checks a recording that names its ABI: all of a trace is of one machine.
    fn on(&mut self, abi: Abi) -> Result<(), Problem> {
        let found = match abi {
            Abi::X86_64 | Abi::I386 | Abi::X32 => Arch::X86_64,
            Abi::Aarch64 | Abi::Arm => Arch::Aarch64,
        };
        let expected = *self.arch.get_or_insert(self.asked.unwrap_or(found));
        if found == expected {
            return Ok(());
        }
        Err(Problem::Arch { found, expected })
    }

    fn call(&mut self, call: Syscall, times: u64) {
        let seen = self.calls.entry(call).or_default();
        seen.count = seen.count.saturating_add(times);
    }

    fn failed(&mut self, call: Syscall, error: &str, times: u64) {
        let seen = self.calls.entry(call).or_default();
        let sum = seen.errors.entry(error.to_owned()).or_default();
        *sum = sum.saturating_add(times);
    }

    /// The counts are not all that was made, for this reason.
    fn lower_bound(&mut self, why: &str) {
        self.counts = Counts::LowerBound;
        self.notes.push(format!("counts are lower bounds: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn import(text: &str, format: Option<Format>) -> Result<Trace, ImportError> {
        let mut import = Import::new(Some(Arch::X86_64));
        import.add("it", text, format)?;
        import.finish()
    }

    #[test]
    fn several_files_make_one_trace() {
        let mut import = Import::new(Some(Arch::X86_64));
        import.add("a", "read\nread\n", None).unwrap();
        import.add("b", "0 999", None).unwrap();
        let trace = import.finish().unwrap();
        let found: Vec<(&str, u64)> = trace
            .syscalls
            .iter()
            .map(|c| (c.name.as_str(), c.count))
            .collect();
        assert_eq!(found, [("read", 3), ("syscall_999", 1)]);
        assert_eq!(trace.outcome.status, EndingKind::Unknown);
        assert_eq!(Trace::from_json(&trace.to_json().unwrap()).unwrap(), trace);
    }

    #[test]
    fn a_recording_without_a_call_is_an_error_and_an_empty_file_among_others_a_note() {
        let told = import("# nothing\n", Some(Format::Names)).unwrap_err();
        assert!(matches!(told, ImportError::Nothing), "{told}");
        let mut two = Import::new(None);
        two.add("full", "read", None).unwrap();
        two.add("hollow", "", Some(Format::Names)).unwrap();
        assert!(
            two.finish()
                .unwrap()
                .notes
                .contains(&"hollow holds no system call".to_owned())
        );
    }

    /// Pieces of all formats, so that random texts get past the first character.
    const PIECES: [&str; 40] = [
        "12 ",
        "[pid 7] ",
        "openat(",
        "read(3, \"",
        "\\\"",
        "\"",
        ") = ",
        "-1 ENOENT (x)",
        "?",
        "0x1f",
        "<... ",
        "read resumed>",
        " <unfinished ...>",
        "<detached ...>",
        "+++ exited with 0 +++",
        "+++ superseded by execve in pid 7 +++",
        "--- SIGCHLD {} ---",
        "[ Process PID=7 runs in 32 bit mode. ]",
        "execve(\"/a\", [\"a\"...], 0) = 0",
        "\n",
        "\n",
        "\n",
        "% time     seconds  usecs/call     calls    errors syscall",
        "------ -----------",
        " 1.0 0.1 3 4 5 read",
        "total",
        "System call usage summary for 32 bit mode:",
        "type=1326 ",
        "arch=c000003e ",
        "syscall=59 ",
        "exe=2F62",
        "comm=\"a\" ",
        "audit(1.2:3): ",
        "0, 1;",
        "99999999999",
        "0x",
        "read",
        "opennat",
        "#",
        "\u{e9}",
    ];

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>(), pieces in proptest::collection::vec(0..PIECES.len(), 0..24)) {
            let woven: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
            for text in [text, woven] {
                for format in Format::ALL.into_iter().map(Some).chain([None]) {
                    // Whatever is accepted is a trace that can be read again.
                    if let Ok(trace) = import(&text, format) {
                        prop_assert_eq!(&Trace::from_json(&trace.to_json().unwrap()).unwrap(), &trace);
                    }
                }
            }
        }
    }
}
