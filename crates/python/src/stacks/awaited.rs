//! What is still missing in a process that has no Python state yet, and whether it has come: a look at that costs a
//! hundredth of a search, and a search would end there, too.
//!
//! CPython keeps its interpreters in a list that begins in `_PyRuntime`, and makes the first one half-way through its
//! start (Include/internal/pycore_runtime.h).

use std::fs;

use py_spy::python_process_info::PythonProcessInfo;
use remoteprocess::{Process, ProcessMemory};

use super::symbols::RUNTIME;

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The shared object that the interpreter is in: the program was linked with it, and it is not mapped.
    Library,
    /// An interpreter: its address is to be here.
    Interpreter(u64),
}

impl Awaited {
    /// Whether it has not come. Where that can't be told it may have: a search says more.
    pub fn is_missing(self, pid: i32) -> bool {
        match self {
            Self::Library => fs::read(format!("/proc/{pid}/maps"))
                .is_ok_and(|maps| !maps.windows(LIBRARY.len()).any(|part| part == LIBRARY)),
            Self::Interpreter(at) => {
                Process::new(pid).is_ok_and(|process| word(&process, at).is_some_and(|word| word == 0))
            }
        }
    }
}

/// How the name of libpython begins.
pub(super) const LIBRARY: &[u8] = b"libpython3.";

/// The place of the first interpreter's address in a 3.x that does not tell it, of which `minor` is x. `None` where it
/// can't be told.
pub(super) fn interpreter(info: &PythonProcessInfo, minor: u64) -> Option<Awaited> {
    let runtime = info.get_symbol(RUNTIME)?;
    runtime.checked_add(offset_of(minor)?).map(Awaited::Interpreter)
}

/// The offset of `interpreters.head` in `_PyRuntime`, on 64-bit machines.
fn offset_of(minor: u64) -> Option<u64> {
    match minor {
        9 | 10 => Some(32),
        11 | 12 => Some(40),
        _ => None,
    }
}

fn word(process: &Process, at: u64) -> Option<u64> {
    process.copy_struct(usize::try_from(at).ok()?).ok()
}
