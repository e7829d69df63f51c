//! Recordings that are there already: shown again, united, and imported from other tools.
//! Samples of other tools' recordings are in `tests/recordings/`.

mod imported;
mod shown;
mod united;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{CALLGATE, available, callgate, expect, json, names, repository, said, scratch, tool};

fn sample(name: &str) -> PathBuf {
    repository().join("tests/recordings").join(name)
}

/// Records `/bin/ls /` or a script into a file.
fn recorded(dir: &Path, name: &str, args: &[&str]) -> PathBuf {
    let file = dir.join(name);
    expect(0, callgate(["dig", "-o"]).arg(&file).args(args).current_dir(dir));
    file
}

/// `callgate dig import --json` for amd64, which the samples are of.
fn imported(args: &[&Path]) -> Value {
    json(&expect(
        0,
        callgate(["dig", "import", "--arch", "amd64", "--json"]).args(args),
    ))
}

/// What standard error says of input that is refused.
fn refused(command: &mut Command) -> String {
    let output = expect(2, command);
    assert!(output.stdout.is_empty(), "{}", said(&output));
    String::from_utf8(output.stderr).unwrap()
}

fn set(trace: &Value) -> BTreeSet<String> {
    names(&trace["syscalls"]).into_iter().collect()
}

/// Name → how often it was made, and how often it failed with whatever error.
fn counts(trace: &Value) -> BTreeMap<String, (u64, u64)> {
    let calls = trace["syscalls"].as_array().unwrap().iter();
    calls
        .map(|call| {
            let errors = call["errors"].as_object();
            let failed = errors.map_or(0, |errors| errors.values().map(|n| n.as_u64().unwrap()).sum());
            let made = call["count"].as_u64().unwrap();
            (call["name"].as_str().unwrap().to_owned(), (made, failed))
        })
        .collect()
}
