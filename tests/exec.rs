//! `exec`: what the code sees and can't reach, refused calls, limits, ends, tiers.
//!
//! - [`streams`]: input, output, arguments, capture;
//! - [`contents`]: what stands in a root besides the program, and what of the host's trees does not;
//! - [`inputs`], [`outputs`]: files that are brought into the work directory and out of it;
//! - [`traps`]: symlinks of others that would have us remove what is elsewhere;
//! - [`handed_down`]: what is not: the supervisor's keys, ignored signals, directories as streams;
//! - [`network`]: what is reached without and with `--net host`;
//! - [`sight`]: what of the host can be seen, reached or changed;
//! - [`violations`]: refused calls, by every action and from every kind of thread and process;
//! - [`explain`]: refused calls that get an errno, told by `--explain`;
//! - [`learn`]: what the policy refuses allowed and recorded by `--learn`;
//! - [`missing`]: what the code misses by its own words, and the option that brings it in;
//! - [`lock`]: from when the policy is in force;
//! - [`lifetime`]: time limits, killed supervisors, what is left behind;
//! - [`limits`]: what a run may use, how it is told that it used it up, and what it is without a cgroup;
//! - [`cgroups`]: whose cgroup a run has, and how it comes into it;
//! - [`inherited`]: limits that callgate was started with;
//! - [`abuse`]: hostile programs, each with its safe outcome, at every tier ([`places`]);
//! - [`leaks`]: many runs in a row and side by side leave nothing, and what a killed one left is swept;
//! - [`leftovers`]: what an earlier run left is in nobody's way;
//! - [`node`]: JavaScript, in every form, under the shipped policy `node`;
//! - [`python`]: the standard library under the shipped policy `python`;
//! - [`together`]: runs side by side at tier container;
//! - [`timings`]: where the time of a run went;
//! - [`tiers`]: the isolation layers, by privilege; [`landlock`]: the tier without namespaces.

mod abuse;
mod cgroups;
mod contents;
mod explain;
mod handed_down;
mod inherited;
mod inputs;
mod landlock;
pub mod leaks;
mod learn;
mod leftovers;
mod lifetime;
mod limits;
mod lock;
mod missing;
mod network;
mod node;
mod outputs;
pub mod places;
mod python;
mod sight;
mod streams;
mod tiers;
mod timings;
mod together;
mod traps;
mod violations;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::{callgate, expect, json as parse, said, scratch};

/// Feeds a command's standard input and waits for its end.
pub fn feed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // A command that does not read its input is no failure.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    })
}

/// The interpreter behind `python3`, which may be a script that looks for it for a while.
pub fn interpreter() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        let asked = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    })
}

/// `callgate exec FLAGS… -` with this code.
pub fn exec(flags: &[&str], code: &str) -> Output {
    let chosen = flags.iter().any(|flag| ["--python", "--root"].contains(flag));
    let python: &[&str] = if chosen { &[] } else { &["--python", interpreter()] };
    feed(
        &mut callgate(["exec"].iter().chain(python).chain(flags).chain(&["-"])),
        code.as_bytes(),
    )
}

/// Builds a root in which a Python starts and imports a little, with these options besides: some 80 files, so
/// that it is there at once, where one for a whole interpreter has thousands.
pub fn small_root(at: &Path, options: &[&str]) -> String {
    static TRACE: OnceLock<Vec<u8>> = OnceLock::new();
    let dir = scratch();
    let trace = dir.path().join("trace.json");
    let bytes = TRACE.get_or_init(|| {
        let script = dir.path().join("imports.py");
        std::fs::write(&script, "import json, os, socket\n").unwrap();
        let mut dig = callgate(["dig", "--python", "/usr/bin/python3", "-o"]);
        expect(0, dig.arg(&trace).arg(&script));
        std::fs::read(&trace).unwrap()
    });
    std::fs::write(&trace, bytes).unwrap();
    let mut build = callgate(["root", "build", "--from"]);
    expect(0, build.arg(&trace).arg(at).args(options));
    at.to_str().unwrap().to_owned()
}

/// The outcome of `callgate exec --json FLAGS… -` with this code; its `exit_code` is the command's own.
pub fn outcome(flags: &[&str], code: &str) -> Value {
    let flags: Vec<&str> = ["--json"].iter().chain(flags).copied().collect();
    outcome_of(&exec(&flags, code))
}

/// Standard output as an outcome; its `exit_code` is the command's own.
pub fn outcome_of(output: &Output) -> Value {
    let outcome = parse(output);
    assert_eq!(
        outcome["exit_code"],
        json!(output.status.code()),
        "{}",
        said(output)
    );
    outcome
}

/// What the code printed, as JSON.
pub fn printed(outcome: &Value) -> Value {
    let text = outcome["stdout"].as_str().unwrap();
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {outcome:#}"))
}

/// A policy that allows everything but what these rules say.
pub fn policy(dir: &Path, rules: &Value) -> String {
    let path = dir.join("policy.json");
    let text = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": rules,
    });
    std::fs::write(&path, text.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A rule with this action.
pub fn rule(action: &str, names: &[&str]) -> Value {
    json!({"names": names, "action": format!("SCMP_ACT_{action}")})
}

/// A word that occurs nowhere else, and is not the beginning of another.
pub fn unique(what: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{what}-{}-{}x",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::SeqCst)
    )
}

/// The processes that have this word as a variable's value (a run gets it by `--env MARK=word`).
pub fn marked(word: &str) -> Vec<String> {
    let value = format!("={word}");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let environ = std::fs::read(format!("/proc/{name}/environ")).unwrap_or_default();
        if environ
            .split(|byte| *byte == 0)
            .any(|variable| variable.ends_with(value.as_bytes()))
        {
            let status = std::fs::read_to_string(format!("/proc/{name}/status")).unwrap_or_default();
            found.push(status.lines().take(3).collect::<Vec<_>>().join(" "));
        }
    }
    found
}
