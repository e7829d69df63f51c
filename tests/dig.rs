//! Recordings: what `callgate dig` sees, and how it says it.
//!
//! - [`oracle`]: the same calls as `strace -f`, on every probe;
//! - [`programs`]: threads, children, other doors into the kernel, signals;
//! - [`alike`]: when two recordings are the same;
//! - [`fast`]: what was seen passes unstopped, and nothing else, and the probe does not notice;
//! - [`endings`]: probes that fail, and recordings that are cut short;
//! - [`affinity`]: the CPU that a thread is bound to meanwhile does not show;
//! - [`fallback`]: where the fast way can't be had, or would change what set-user-ID programs are;
//! - [`phases`]: start-up and body, and the line that made a call;
//! - [`files`]: the paths that a probe used;
//! - [`attach`]: `--pid`, a process that runs already;
//! - [`sights`]: who made a call, each time that something of it was new;
//! - [`numpy`]: who asked, in a library whose import goes through the import system;
//! - [`shown`]: where the trace goes, how it looks, and what bad input is told.

mod affinity;
mod alike;
mod attach;
mod endings;
mod fallback;
mod fast;
mod files;
mod numpy;
mod oracle;
mod phases;
mod programs;
mod shown;
mod sights;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{callgate, expect, json};

/// `callgate dig --json` with these arguments.
fn dig<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = callgate(["dig", "--json"]);
    command.args(args);
    command
}

/// The trace of a probe that goes well.
fn trace<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Value {
    json(&expect(0, &mut dig(args)))
}

/// The trace of a compiled program.
fn trace_of(program: &Path, args: &[&str]) -> Value {
    trace(
        [OsStr::new("--"), program.as_os_str()]
            .into_iter()
            .chain(args.iter().map(OsStr::new)),
    )
}

/// The trace of a Python script without dependencies, and where the script was.
fn trace_of_script(dir: &Path, text: &str) -> (Value, PathBuf) {
    let script = dir.join("script.py");
    std::fs::write(&script, text).unwrap();
    (trace([&script]), script)
}

/// The call of that name through the machine's own entry, if it is in the trace.
fn call<'a>(trace: &'a Value, name: &str) -> Option<&'a Value> {
    let native = match trace["arch"].as_str().unwrap() {
        "amd64" => "x86_64",
        _ => "aarch64",
    };
    trace["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["name"] == name && call["abi"] == native)
}

/// How often a call was made.
fn count(trace: &Value, name: &str) -> u64 {
    call(trace, name).map_or(0, |call| call["count"].as_u64().unwrap())
}
