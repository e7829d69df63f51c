//! The exit codes of `exec`.

use serde_json::{Value, json};

use crate::exec::{exec, outcome};
use crate::support::{callgate, expect, said, scratch};

#[test]
fn the_codes_own_exit_code_is_passed_on() {
    for code in [0, 1, 2, 124, 255] {
        let output = exec(&["-q"], &format!("import os\nos._exit({code})\n"));
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
    }
}

#[test]
fn a_signal_is_told_as_128_and_its_number_and_by_name() {
    for (name, number) in [("SIGKILL", 9), ("SIGSEGV", 11), ("SIGTERM", 15), ("SIGABRT", 6)] {
        let outcome = outcome(
            &[],
            &format!("import os, signal\nos.kill(os.getpid(), signal.{name})\n"),
        );
        let expected = (&json!("signaled"), &json!(128 + number), &json!(name));
        assert_eq!(
            (&outcome["status"], &outcome["exit_code"], &outcome["signal"]),
            expected,
            "{outcome:#}"
        );
        assert_eq!(outcome["violation"], Value::Null);
    }
}

#[test]
fn a_refused_call_is_159_and_a_time_limit_124() {
    let refused = outcome(&[], "import os\nos.chroot('/')\n");
    assert_eq!(
        (&refused["status"], &refused["exit_code"]),
        (&json!("violation"), &json!(159)),
        "{refused:#}"
    );
    let late = outcome(&["--timeout", "0.5"], "import time\ntime.sleep(600)\n");
    assert_eq!(
        (&late["status"], &late["exit_code"]),
        (&json!("timeout"), &json!(124)),
        "{late:#}"
    );
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_can_not_be_run_126() {
    expect(127, &mut callgate(["exec", "--", "no-such-command"]));
    let dir = scratch();
    let file = dir.path().join("file");
    std::fs::write(&file, "text\n").unwrap();
    expect(126, &mut callgate(["exec", "--", file.to_str().unwrap()]));
}

#[test]
fn it_is_passed_on_where_nobody_takes_what_is_said_of_the_run() {
    let deaf = || {
        let (writer, reader) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(reader);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        [
            std::process::Stdio::from(std::os::fd::OwnedFd::from(writer)),
            std::process::Stdio::from(full),
        ]
    };
    for stderr in deaf() {
        let output = callgate(["exec", "-c", "print('done')\nraise SystemExit(3)"])
            .stderr(stderr)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", said(&output));
        assert_eq!(output.stdout, b"done\n");
    }
    // What was recorded is written all the same.
    let dir = scratch();
    for stderr in deaf() {
        let trace = dir.path().join("t.json");
        let output = callgate(["dig", "-o", trace.to_str().unwrap(), "--", "/bin/true"])
            .stderr(stderr)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        std::fs::remove_file(&trace).unwrap();
    }
}
