//! Probes that fail, and recordings that are cut short: the trace is written and says so, and
//! nothing of the probe is left.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{count, dig};
use crate::support::{callgate, compiled, expect, json as parsed, said, scratch};

/// The programs linger for 60 seconds: who is done by then did not wait for them.
const PROMPT: Duration = Duration::from_secs(30);

/// Runs dig to its end and until nobody holds its standard error any more, which the probe shares.
fn cut(program: &Path, which: &str) -> Value {
    let begin = Instant::now();
    let output = expect(1, dig(["--timeout", "1", "--"]).arg(program).arg(which));
    assert!(
        begin.elapsed() < PROMPT,
        "a process of the probe outlived the recording\n{}",
        said(&output)
    );
    parsed(&output)
}

#[test]
fn a_probe_that_fails_is_recorded_and_its_exit_code_is_in_the_trace() {
    let dir = scratch();
    let Some(program) = compiled("endings", dir.path()) else {
        return;
    };
    let output = expect(1, dig(["--"]).arg(&program).arg("three"));
    let trace = parsed(&output);
    assert_eq!(trace["outcome"], json!({"status": "exited", "exit_code": 3}));
    assert!(!trace["syscalls"].as_array().unwrap().is_empty());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("exited with 3"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_probe_that_a_signal_killed_is_recorded_and_the_signal_is_named() {
    let dir = scratch();
    let Some(program) = compiled("endings", dir.path()) else {
        return;
    };
    let trace = parsed(&expect(1, dig(["--"]).arg(&program).arg("segv")));
    assert_eq!(
        trace["outcome"],
        json!({"status": "signaled", "signal": "SIGSEGV"})
    );
}

#[test]
fn the_time_limit_ends_the_probe_and_its_children() {
    let dir = scratch();
    let Some(program) = compiled("endings", dir.path()) else {
        return;
    };
    let trace = cut(&program, "linger");
    assert_eq!(trace["outcome"], json!({"status": "timeout"}));
    assert_eq!(
        count(&trace, "write"),
        2,
        "both said that they are ready: {trace:#}"
    );
}

#[test]
fn the_time_limit_ends_a_child_that_outlived_the_probe() {
    let dir = scratch();
    let Some(program) = compiled("endings", dir.path()) else {
        return;
    };
    let trace = cut(&program, "leave");
    assert_eq!(trace["outcome"], json!({"status": "timeout"}));
}

/// A recording in the background, whose probe has said `ready` so many times.
///
/// If it is `warm`, the filter is in by then.
fn lingering(
    program: &Path,
    which: &str,
    warm: bool,
    times: u64,
    trace: &Path,
) -> (Child, BufReader<ChildStderr>) {
    let mut command = callgate(["dig", "-o"]);
    if warm {
        command.env("WARM", "1");
    }
    command
        .arg(trace)
        .arg("--")
        .arg(program)
        .arg(which)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    for _ in 0..times {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }
    (child, reader)
}

/// Reads until nobody holds the other end.
fn drain(mut reader: BufReader<ChildStderr>) -> String {
    let begin = Instant::now();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(
        begin.elapsed() < PROMPT,
        "a process of the probe is still there: {rest}"
    );
    rest
}

fn interrupted(which: &str, warm: bool, times: u64) {
    let dir = scratch();
    let Some(program) = compiled("endings", dir.path()) else {
        return;
    };
    let file = dir.path().join("t.json");
    let (mut child, reader) = lingering(&program, which, warm, times, &file);
    expect(
        0,
        Command::new("sh").args(["-c", "kill -INT $1", "sh", &child.id().to_string()]),
    );
    let said = drain(reader);
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    let trace: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(trace["outcome"], json!({"status": "interrupted"}), "{said}");
    let counts = if warm { "lower_bound" } else { "exact" };
    assert_eq!(trace["counts"], counts, "{said}");
    assert_eq!(
        count(&trace, "write"),
        times,
        "what was said until then is in it: {trace:#}"
    );
}

#[test]
fn an_interrupt_ends_the_probe_and_the_trace_so_far_is_written() {
    for warm in [false, true] {
        interrupted("linger", warm, 2);
    }
}

#[test]
fn an_interrupt_ends_a_child_that_outlived_the_probe() {
    for warm in [false, true] {
        interrupted("leave", warm, 1);
    }
}

#[test]
fn a_killed_dig_leaves_no_probe_behind_and_no_half_a_trace() {
    let dir = scratch();
    let Some(program) = compiled("endings", dir.path()) else {
        return;
    };
    let file = dir.path().join("t.json");
    // Also under the filter: to whom it sends, nobody listens any more.
    for (which, times, warm) in [("linger", 2, false), ("linger", 2, true), ("leave", 1, true)] {
        let (mut child, reader) = lingering(&program, which, warm, times, &file);
        child.kill().unwrap();
        child.wait().unwrap();
        drain(reader);
        assert!(!file.exists());
    }
}
