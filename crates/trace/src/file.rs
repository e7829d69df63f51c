//! The trace file: JSON with `schema: "callgate.trace/1"`, read with its numbers checked.
//!
//! A merged trace is the same file with `runs` at its top and `seen_in` in its calls; each is left out
//! where it is 1, so that a reader of single traces reads both.

use callgate_abi::{Abi, Syscall};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Merged, Trace};

/// The value of `schema` in every trace of this format.
pub const SCHEMA: &str = "callgate.trace/1";

/// Why a text is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It is not JSON, or not of a trace's shape.
    #[error("not a trace: at {path}: {source} (a trace is what `callgate dig -o FILE` writes)")]
    Malformed {
        /// The JSON path of the fault: `syscalls[3].nr`.
        path: String,
        /// What is wrong there, with line and column.
        source: serde_json::Error,
    },
    /// It is a trace of another format.
    #[error("schema is {found:?}, this program reads {SCHEMA:?}: record it again with `callgate dig`")]
    Schema {
        /// What stands in the file.
        found: String,
    },
    /// A name and a number that don't belong together.
    #[error(
        "syscalls[{index}]: {name:?} is not {abi} number {nr} (that is {expected:?}): correct one of them"
    )]
    NameAndNumber {
        /// The place in the list.
        index: usize,
        /// The name in the file.
        name: String,
        /// The number in the file.
        nr: u32,
        /// The ABI in the file.
        abi: Abi,
        /// The name that belongs to the number.
        expected: String,
    },
    /// A call that is listed twice.
    #[error("syscalls[{index}]: {name:?} ({abi}) is listed twice: take one of them out")]
    Twice {
        /// The place of the second.
        index: usize,
        /// Its name.
        name: String,
        /// Its ABI.
        abi: Abi,
    },
    /// A number of runs that can't be.
    #[error("{place} is {found}: expected 1 to {most}")]
    Runs {
        /// `runs`, or `syscalls[3].seen_in`.
        place: String,
        /// What stands there.
        found: u32,
        /// The most that could.
        most: u32,
    },
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// [`TraceError`] with the place of the fault.
    pub fn from_json(text: &str) -> Result<Self, TraceError> {
        let trace: Self = deserialize(text)?;
        if trace.schema != SCHEMA {
            return Err(TraceError::Schema { found: trace.schema });
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, call) in trace.syscalls.iter().enumerate() {
            let expected = call.syscall().name();
            // A newer table may know a number that an older one wrote as `syscall_N`.
            let by_number = Syscall::named(call.abi, &call.name).ok() == Some(call.syscall());
            if call.name != expected && !by_number {
                return Err(TraceError::NameAndNumber {
                    index,
                    name: call.name.clone(),
                    nr: call.nr,
                    abi: call.abi,
                    expected: expected.into_owned(),
                });
            }
            if !seen.insert(call.syscall()) {
                return Err(TraceError::Twice {
                    index,
                    name: call.name.clone(),
                    abi: call.abi,
                });
            }
        }
        Ok(trace)
    }

    /// The trace as its file: indented JSON with a newline at the end.
    ///
    /// # Errors
    /// None in practice: every part of a trace can be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// What a merged trace has besides a trace.
#[derive(Deserialize)]
struct Runs {
    #[serde(default = "one")]
    runs: u32,
    syscalls: Vec<SeenIn>,
}

#[derive(Deserialize)]
struct SeenIn {
    #[serde(default = "one")]
    seen_in: u32,
}

fn one() -> u32 {
    1
}

impl Merged {
    /// Reads a trace, merged or not.
    ///
    /// # Errors
    /// [`TraceError`] with the place of the fault.
    pub fn from_json(text: &str) -> Result<Self, TraceError> {
        let trace = Trace::from_json(text)?;
        let Runs { runs, syscalls } = deserialize(text)?;
        let within = |place: &dyn Fn() -> String, found: u32, most: u32| {
            if (1..=most).contains(&found) {
                return Ok(());
            }
            Err(TraceError::Runs {
                place: place(),
                found,
                most,
            })
        };
        within(&|| "runs".to_owned(), runs, u32::MAX)?;
        let mut merged = Self::from(trace);
        merged.runs = runs;
        for (index, (call, SeenIn { seen_in })) in merged.trace.syscalls.iter().zip(syscalls).enumerate() {
            within(&|| format!("syscalls[{index}].seen_in"), seen_in, runs)?;
            merged.seen_in.insert(call.syscall(), seen_in);
        }
        Ok(merged)
    }

    /// The merged trace as its file: indented JSON with a newline at the end.
    ///
    /// # Errors
    /// None in practice: every part of a trace can be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        if self.runs == 1 {
            // As most are, and without a detour by a tree of values, which takes three times as long.
            return self.trace.to_json();
        }
        let mut top = Map::new();
        if let Value::Object(parts) = serde_json::to_value(&self.trace)? {
            for (name, mut part) in parts {
                if name == "syscalls" {
                    self.write_seen_in(&mut part);
                }
                let after_counts = name == "counts";
                top.insert(name, part);
                if after_counts {
                    top.insert("runs".to_owned(), self.runs.into());
                }
            }
        }
        let mut text = serde_json::to_string_pretty(&top)?;
        text.push('\n');
        Ok(text)
    }

    fn write_seen_in(&self, calls: &mut Value) {
        let written = calls.as_array_mut().into_iter().flatten();
        for (call, written) in self.trace.syscalls.iter().zip(written) {
            let seen_in = self.seen_in(call.syscall());
            if let (Value::Object(written), true) = (written, seen_in != 1) {
                written.insert("seen_in".to_owned(), seen_in.into());
            }
        }
    }
}

/// Reads JSON of a trace's shape; a fault is told with its place.
fn deserialize<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, TraceError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = match error.path().to_string() {
            root if root == "." => "the top".to_owned(),
            path => path,
        };
        TraceError::Malformed {
            path,
            source: error.into_inner(),
        }
    })?;
    reader.end().map_err(|source| TraceError::Malformed {
        path: "the end".into(),
        source,
    })?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = r#"{
        "schema": "callgate.trace/1", "arch": "amd64", "kernel": "6.1.0", "command": ["true"],
        "outcome": {"status": "exited", "exit_code": 0}, "counts": "exact",
        "syscalls": [
            {"name": "read", "nr": 0, "abi": "x86_64", "count": 2, "errors": {"EAGAIN": 1}, "phases": ["startup", "body"],
             "site": {"file": "a.py", "line": 3, "function": "<module>"}},
            {"name": "syscall_999", "nr": 999, "abi": "x86_64", "count": 1, "phases": ["body"]}
        ],
        "files": [{"path": "/etc/passwd", "how": ["read", "stat"], "found": true}]
    }"#;

    #[test]
    fn a_trace_survives_being_written_and_read() {
        let trace = Trace::from_json(SMALL).unwrap();
        assert_eq!(Trace::from_json(&trace.to_json().unwrap()).unwrap(), trace);
        assert_eq!(trace.syscalls[1].name, "syscall_999");
    }

    #[test]
    fn a_merged_trace_survives_too_and_is_a_trace_to_who_knows_of_no_runs() {
        let one = Trace::from_json(SMALL).unwrap();
        let mut less = one.clone();
        less.syscalls.pop();
        let merged = Trace::merge([one.clone(), less]).unwrap();
        let text = merged.to_json().unwrap();
        assert!(
            text.contains("\"runs\": 2") && text.matches("seen_in").count() == 1,
            "{text}"
        );
        assert_eq!(Merged::from_json(&text).unwrap(), merged);
        assert_eq!(Trace::from_json(&text).unwrap(), merged.trace);

        let single = Merged::from(one.clone());
        assert_eq!(single.to_json().unwrap(), one.to_json().unwrap());
        assert_eq!(Merged::from_json(SMALL).unwrap(), single);
    }

    #[test]
    fn runs_that_can_not_be_are_named_with_their_place() {
        let fault = |from: &str, to: &str| {
            Merged::from_json(&SMALL.replace(from, to))
                .unwrap_err()
                .to_string()
        };
        let runs = |value: &str| fault("\"counts\"", &format!("\"runs\": {value}, \"counts\""));
        assert!(runs("0").contains("runs is 0"));
        assert!(runs("-1").contains("at runs: invalid value"));
        let told = fault("\"nr\": 999", "\"nr\": 999, \"seen_in\": 2");
        assert!(
            told.contains("syscalls[1].seen_in is 2: expected 1 to 1"),
            "{told}"
        );
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        let fault = |from: &str, to: &str| {
            Trace::from_json(&SMALL.replace(from, to))
                .unwrap_err()
                .to_string()
        };
        assert!(fault("\"count\": 2", "\"count\": \"two\"").contains("syscalls[0].count"));
        assert!(fault("trace/1", "trace/9").contains("callgate.trace/9"));
        assert!(fault("\"nr\": 0", "\"nr\": 1").contains("that is \"write\""));
        assert!(
            fault(
                "\"name\": \"syscall_999\", \"nr\": 999",
                "\"name\": \"read\", \"nr\": 0"
            )
            .contains("twice")
        );
        assert!(
            Trace::from_json("")
                .unwrap_err()
                .to_string()
                .contains("callgate dig")
        );
    }
}
