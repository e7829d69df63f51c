//! The trace file: JSON with `schema: "callgate.trace/1"`, read with its numbers checked.

use callgate_abi::{Abi, Syscall};

use crate::Trace;

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
    #[error("syscalls[{index}]: {name:?} is not {abi} number {nr} (that is {expected:?})")]
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
    #[error("syscalls[{index}]: {name:?} ({abi}) is listed twice")]
    Twice {
        /// The place of the second.
        index: usize,
        /// Its name.
        name: String,
        /// Its ABI.
        abi: Abi,
    },
}

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// [`TraceError`] with the place of the fault.
    pub fn from_json(text: &str) -> Result<Self, TraceError> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let trace: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
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
