//! How the tests call the binary, and what they need of the machine.

pub mod sys;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub use callgate_testing::{available, not_run, root, tool};
use serde_json::Value;

/// The binary under test.
pub const CALLGATE: &str = env!("CARGO_BIN_EXE_callgate");

/// A call of the binary, in a directory that is not the repository's, without colours.
pub fn callgate<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(CALLGATE);
    command
        .args(args)
        .current_dir(std::env::temp_dir())
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100");
    command
}

/// Runs what is added to it, a program and its arguments, where no cgroup can be written to.
pub fn without_cgroups() -> Command {
    let line = "mount -t tmpfs tmpfs /sys/fs/cgroup && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", line, "sh"]);
    command
}

/// The repository's top level.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// A file in `probes/`.
pub fn probe(name: &str) -> PathBuf {
    repository().join("probes").join(name)
}

/// Every file in `probes/`, by name.
pub fn probes() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(repository().join("probes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some(OsStr::new("py")))
        .collect();
    all.sort();
    assert!(all.len() >= 8, "{all:?}");
    all
}

/// The text of every Rust file below a directory, fuzzing aside.
pub fn sources(dir: &Path) -> String {
    let mut text = String::new();
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name() != Some(OsStr::new("target")) {
                left.push(path);
            } else if path.extension() == Some(OsStr::new("rs")) {
                text.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    text
}

/// A fresh directory.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What was printed, and how it ended, as one text for assertions.
pub fn said(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs it; fails unless it ends with this exit code.
pub fn expect(code: i32, command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}\n{}", said(&output));
    output
}

/// Standard output as JSON.
pub fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}\n{}", said(output)))
}

/// The names of a list of objects with `name`.
pub fn names(list: &Value) -> Vec<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

/// A program in `tests/programs/`, compiled into this directory; `None` where there is no C compiler.
/// It is static, so that it runs in any root.
pub fn compiled(name: &str, into: &Path) -> Option<PathBuf> {
    if !available("cc", tool("cc")) {
        return None;
    }
    let source = repository().join("tests/programs").join(name).with_extension("c");
    let program = into.join(name);
    expect(
        0,
        Command::new("cc")
            .args(["-static", "-pthread", "-O1", "-Wall", "-o"])
            .arg(&program)
            .arg(source),
    );
    Some(program)
}
