//! `fit --minimise` against removing one number at a time over 500 numbers, as dify-sandbox's syscall_dig does.
//!
//! The peer's way is done here with callgate's own runs: each number in turn is refused and all others are
//! allowed. 500 runs take minutes, so that by default 50 of them, evenly spread, are made and the rest is reckoned,
//! which the report says; `cargo bench -- one-by-one` makes all.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{CALLGATE, stop};

/// The numbers that syscall_dig goes through.
const NUMBERS: usize = 500;
/// How many of them are tried, unless all are asked for.
const SAMPLE: usize = 50;

/// Runs both, if what is wanted has one of their names, or nothing in particular is wanted.
pub(super) fn run(wanted: &[String], probe: &str, dir: &Path) {
    let asked = |name: &str| wanted.iter().any(|word| name.contains(word.as_str()));
    let all = asked("one-by-one");
    if !wanted.is_empty() && !all && !asked("minimise: the numpy probe") {
        return;
    }
    println!("\nminimise: the numpy probe (once)");
    let (runs, time, native) = minimised(probe, dir);
    line("fit --minimise", runs, time, native);
    let tried = if all { NUMBERS } else { SAMPLE };
    let begun = Instant::now();
    for index in 0..tried {
        one(index * (NUMBERS / tried), probe, dir);
    }
    let measured = begun.elapsed();
    line("one number at a time", tried, measured, native);
    if !all {
        let whole = measured * (NUMBERS / tried) as u32;
        line("  reckoned for all", NUMBERS, whole, native);
    }
}

fn line(name: &str, runs: usize, time: Duration, one: Duration) {
    println!(
        "  {name:<22} {runs:>4} runs {:>9.1} s  {:>7.1} × a run with nothing refused",
        time.as_secs_f64(),
        time.as_secs_f64() / one.as_secs_f64()
    );
}

/// Runs, time of the search, time of one run with nothing refused.
fn minimised(probe: &str, dir: &Path) -> (usize, Duration, Duration) {
    let output = Command::new(CALLGATE)
        .args(["fit", "--minimise", "--json", "--out-dir"])
        .arg(dir)
        .arg(probe)
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap_or_else(|error| stop(&format!("fit: {error}")));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let number = |key: &str| match report[key].as_u64() {
        Some(number) => number,
        None => stop(&format!(
            "fit --minimise: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    };
    let millis = |key: &str| Duration::from_millis(number(key));
    (
        number("total_runs") as usize,
        millis("wall_ms"),
        millis("baseline_ms"),
    )
}

/// One run with one number refused and all else allowed; how it ends is its own affair.
fn one(number: usize, probe: &str, dir: &Path) {
    let known = callgate_abi::Syscall::new(callgate_abi::Arch::NATIVE.abi(), number as u32).known_name();
    let rules = known.map(|name| json!({"names": [name], "action": "SCMP_ACT_KILL_PROCESS"}));
    let policy = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules.as_slice()});
    let file = dir.join("one.json");
    if let Err(error) = std::fs::write(&file, policy.to_string()) {
        stop(&format!("{}: {error}", file.display()));
    }
    let status = Command::new(CALLGATE)
        .args(["exec", "--quiet", "--timeout", "10", "--policy"])
        .arg(&file)
        .arg(probe)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(2 | 125)) | Err(_) => stop(&format!("exec with number {number} refused could not be set up")),
        Ok(_) => {}
    }
}
