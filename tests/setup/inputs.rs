//! What is asked for can't be had: policies, interpreters, programs, roots.

use std::os::unix::fs::PermissionsExt;

use super::{CANARY, callgate, nothing_ran};
use crate::exec::{exec, feed};
use crate::support::{said, scratch};

#[test]
fn a_policy_that_can_not_be_read_or_understood_is_bad_input() {
    let dir = scratch();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cases = [
        ("/nonexistent/policy.json".to_owned(), "/nonexistent/policy.json"),
        ("no-such-policy".to_owned(), "dify-python"),
        (dir.path().to_str().unwrap().to_owned(), "directory"),
        (file("broken.json", "{\n  \"defaultAction\": \n"), "line"),
        (file("empty.json", "{}"), "defaultAction"),
        (
            file(
                "unknown.json",
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["opne"], "action": "SCMP_ACT_ERRNO"}]}"#,
            ),
            "opne",
        ),
        (
            file("action.json", r#"{"defaultAction": "SCMP_ACT_SHRUG"}"#),
            "SCMP_ACT_SHRUG",
        ),
    ];
    for (policy, word) in cases {
        let output = exec(&["--policy", &policy], &format!("print('{CANARY}')"));
        nothing_ran(&output, 2, &["error:", word]);
    }
}

#[test]
fn an_interpreter_that_is_missing_or_is_none_is_bad_input() {
    for python in ["/nonexistent/python3", "/bin/true", "/etc/hostname"] {
        let output = exec(&["--python", python], &format!("print('{CANARY}')"));
        nothing_ran(&output, 2, &["error:", python]);
    }
}

#[test]
fn a_script_that_can_not_be_read_is_bad_input() {
    for script in ["/nonexistent.py", "/"] {
        let output = callgate(["exec", script]).output().unwrap();
        nothing_ran(&output, 2, &["error:", script]);
    }
}

#[test]
fn a_directory_that_is_no_root_of_ours_is_refused() {
    let dir = scratch();
    let at = dir.path().to_str().unwrap();
    let code = format!("print('{CANARY}')");
    for root in [at, "/", "/nonexistent"] {
        let output = exec(&["--root", root], &code);
        let code = output.status.code();
        assert!(matches!(code, Some(2 | 125)), "{}", said(&output));
        nothing_ran(&output, code.unwrap(), &[root]);
        let command = callgate(["exec", "--root", root, "--", "/bin/echo", CANARY])
            .output()
            .unwrap();
        let code = command.status.code();
        assert!(matches!(code, Some(2 | 125)), "{}", said(&command));
        nothing_ran(&command, code.unwrap(), &[root]);
    }
}

#[test]
fn commands_that_are_not_there_or_can_not_be_run_have_codes_of_their_own() {
    let missing = callgate(["exec", "--", "no-such-command"]).output().unwrap();
    nothing_ran(&missing, 127, &["no-such-command"]);
    let missing = callgate(["exec", "--", "/nonexistent/command"]).output().unwrap();
    nothing_ran(&missing, 127, &["/nonexistent/command"]);
    let dir = scratch();
    let plain = dir.path().join("plain");
    std::fs::write(&plain, format!("#!/bin/echo {CANARY}\n")).unwrap();
    std::fs::set_permissions(&plain, PermissionsExt::from_mode(0o644)).unwrap();
    let refused = callgate(["exec", "--", plain.to_str().unwrap()])
        .output()
        .unwrap();
    nothing_ran(&refused, 126, &["plain"]);
    let nonsense = dir.path().join("nonsense");
    std::fs::write(&nonsense, "not a program\n").unwrap();
    std::fs::set_permissions(&nonsense, PermissionsExt::from_mode(0o755)).unwrap();
    let refused = callgate(["exec", "--", nonsense.to_str().unwrap()])
        .output()
        .unwrap();
    nothing_ran(&refused, 126, &["nonsense"]);
}

#[test]
fn words_that_the_kernel_can_not_take_are_errors() {
    let output = exec(&["--env", "NOVALUE"], &format!("print('{CANARY}')"));
    nothing_ran(&output, 2, &["NOVALUE", "NAME=VALUE"]);
    for flag in [
        ["--timeout", "0"],
        ["--timeout", "soon"],
        ["--tier", "best"],
        ["--lock", "never"],
    ] {
        let output = feed(
            &mut callgate(["exec"].iter().chain(&flag).chain(&["-"])),
            CANARY.as_bytes(),
        );
        nothing_ran(&output, 2, &[flag[0], flag[1]]);
    }
}
