//! Where a trace goes, how it looks to a person, and what bad input is told.

use std::fs;

use serde_json::Value;

use crate::support::{callgate, expect, json, said, scratch};

#[test]
fn json_and_a_dash_both_print_the_trace_and_nothing_else() {
    for args in [
        &["dig", "--json", "--", "/bin/true"][..],
        &["dig", "-o", "-", "--", "/bin/true"],
    ] {
        let trace = json(&expect(0, &mut callgate(args)));
        assert_eq!(trace["schema"], "callgate.trace/1", "{args:?}");
        assert_eq!(trace["command"], serde_json::json!(["/bin/true"]));
    }
}

#[test]
fn a_trace_file_is_the_same_trace_and_the_table_is_still_printed() {
    let dir = scratch();
    let file = dir.path().join("t.json");
    let output = expect(0, callgate(["dig", "-o"]).arg(&file).args(["--", "/bin/true"]));
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(
        table.contains("execve") && table.contains("exited with 0"),
        "{}",
        said(&output)
    );
    let trace: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(trace["schema"], "callgate.trace/1");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
}

#[test]
fn the_probe_s_output_does_not_mix_with_the_trace() {
    let output = expect(
        0,
        &mut callgate(["dig", "--json", "--", "/bin/echo", "hello there"]),
    );
    json(&output);
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("hello there"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_table_fits_the_width_and_has_no_escape_sequences_without_a_terminal() {
    let dir = scratch();
    let script = dir
        .path()
        .join("a-script-with-a-name-that-is-as-long-as-names-of-scripts-can-get-at-times.py");
    fs::write(&script, "import os\nos.getppid()\n").unwrap();
    let mut command = callgate(["dig"]);
    command
        .arg(&script)
        .env("COLUMNS", "80")
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR");
    let output = expect(0, &mut command);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.lines().count() > 20);
    for line in text.lines() {
        // One column a character: names of calls and paths here, and the table's own lines.
        assert!(
            line.chars().count() <= 80,
            "{} columns: {line}",
            line.chars().count()
        );
    }
    assert!(!text.contains('\u{1b}') && !String::from_utf8_lossy(&output.stderr).contains('\u{1b}'));
}

#[test]
fn bad_input_is_code_2_and_says_what_is_wrong_with_what() {
    let dir = scratch();
    fs::write(dir.path().join("plain"), "").unwrap();
    let cases: [(&[&str], &[&str]); 8] = [
        (&["dig", "missing.py"], &["missing.py", "No such file"]),
        (&["dig", "."], &["can't read .", "directory"]),
        (
            &["dig", "--", "no-such-command"],
            &["command not found: no-such-command", "PATH"],
        ),
        (&["dig", "--", "./plain"], &["plain", "EACCES"]),
        (&["dig", "--", "/nothing/here"], &["/nothing/here"]),
        (
            &["dig", "--python", "/nothing/python", "plain"],
            &["/nothing/python", "interpreter"],
        ),
        (
            &["dig", "--timeout", "0", "--", "/bin/true"],
            &["--timeout", "more than 0"],
        ),
        (&["dig"], &["PROBE.py", "Usage"]),
    ];
    for (args, words) in cases {
        let output = expect(2, callgate(args).current_dir(dir.path()));
        let told = String::from_utf8_lossy(&output.stderr);
        for word in words {
            assert!(told.contains(word), "{args:?} should say {word:?}: {told}");
        }
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_trace_that_cannot_be_written_is_an_error_and_names_the_file() {
    let dir = scratch();
    let output = expect(
        2,
        callgate(["dig", "-o", "not/there.json", "--", "/bin/true"]).current_dir(dir.path()),
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("not/there.json"),
        "{}",
        said(&output)
    );
}
