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
