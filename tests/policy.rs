//! Policies: compared, made, changed, written in other formats, and enforced by other tools.
//!
//! - [`comparing`]: `policy diff`;
//! - [`deciding`]: `policy diff` against arguments, and the change that it proposes, tried;
//! - [`arguments`]: `new --args`, `allow --when`, `translate`, and what edits keep;
//! - [`making`]: `policy new`, `allow`, `remove`, `show`, `list`, and what they keep;
//! - [`refusals`]: bad input, and files that can't be written;
//! - [`containers`]: the emitted OCI file under crun and runc;
//! - [`formats`]: other tools' formats, under nsjail, systemd-analyze and a C program, and back again;
//! - [`bubblewrap`]: the emitted BPF under `bwrap --seccomp`;
//! - [`unknown`]: numbers above the newest known call;
//! - [`round_trip`]: a call is taken out, refused, allowed by the remedy, and the probe runs again.

mod arguments;
mod bubblewrap;
mod comparing;
mod containers;
mod deciding;
mod formats;
mod making;
mod refusals;
mod round_trip;
mod unknown;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::{callgate, compiled, expect, not_run, probe, said};

/// `callgate policy` with these arguments, in a directory.
fn policy<A: AsRef<OsStr>>(dir: &Path, args: impl IntoIterator<Item = A>) -> std::process::Command {
    let mut command = callgate(["policy"]);
    command.args(args).current_dir(dir);
    command
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Records a script that does this, besides what Python's start takes; the trace is `NAME.json`.
fn trace(dir: &Path, name: &str, body: &str) {
    let script = dir.join(name).with_extension("py");
    std::fs::write(&script, body).unwrap();
    let mut command = callgate(["dig", "-o"]);
    expect(0, command.arg(dir.join(name).with_extension("json")).arg(script));
}

/// Records the numpy probe; the trace is `numpy.json`. `false` where its environment can't be made.
fn numpy(dir: &Path) -> bool {
    let output = callgate(["dig", "-o"])
        .arg(dir.join("numpy.json"))
        .arg(probe("with_numpy.py"))
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => true,
        Some(2) => {
            not_run(
                "network",
                &format!("numpy's environment can't be prepared: {}", said(&output)),
            );
            false
        }
        _ => panic!("{}", said(&output)),
    }
}

/// A root with one static program, `/asks`, and its policy `asks.policy.json`.
fn asking(dir: &Path) -> Option<PathBuf> {
    let root = dir.join("root");
    for name in ["dev", "proc", "tmp"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    let program = compiled("asks", &root)?;
    expect(
        0,
        callgate(["dig", "-o"])
            .arg(dir.join("asks.json"))
            .arg("--")
            .arg(program),
    );
    expect(
        0,
        &mut policy(dir, ["new", "asks.json", "-o", "asks.policy.json"]),
    );
    Some(root)
}

/// The exit code of what was killed by SIGSYS.
const REFUSED: i32 = 128 + 31;

/// The program in `programs/asks.c` was allowed what it asked for.
fn answered(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text, "asking\nanswered\n", "{}", said(output));
    assert_eq!(output.status.code(), Some(0), "{}", said(output));
}
