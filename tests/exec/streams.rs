//! Input, output and arguments reach the code and come back; captured output is bounded.

use serde_json::json;

use super::{exec, feed, outcome};
use crate::support::{callgate, said, scratch};

#[test]
fn standard_streams_and_arguments_pass_through() {
    let dir = scratch();
    let script = dir.path().join("upper.py");
    std::fs::write(
        &script,
        "import sys\n\
         print(sys.stdin.read().upper(), sys.argv[1:])\n\
         print('aside', file=sys.stderr)\n\
         sys.exit(7)\n",
    )
    .unwrap();
    let mut command = callgate(["exec", script.to_str().unwrap(), "--", "a b", "--json", ""]);
    let output = feed(&mut command, b"whisper");
    assert_eq!(output.status.code(), Some(7), "{}", said(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "WHISPER ['a b', '--json', '']\n"
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("aside\n"), "{stderr}");
    // The report is not the code's output.
    assert!(stderr.contains("exited with 7"), "{stderr}");
}

#[test]
fn a_quiet_run_that_went_well_says_nothing() {
    let output = exec(&["--quiet"], "print(1)");
    assert_eq!(
        (output.stdout.as_slice(), output.stderr.as_slice()),
        (&b"1\n"[..], &b""[..])
    );
}

#[test]
fn code_from_standard_input_is_not_its_own_input() {
    let mut command = callgate(["exec", "--json", "-", "--", "x"]);
    let output = feed(&mut command, b"import sys; print([sys.argv, sys.stdin.read()])");
    let outcome = super::outcome_of(&output);
    assert_eq!(outcome["stdout"], "[['<stdin>', 'x'], '']\n", "{outcome:#}");
    assert_eq!(outcome["exit_code"], 0);
}

#[test]
fn captured_output_is_whole() {
    let outcome = outcome(
        &[],
        "import sys\nsys.stdout.write('o' * 3_000_000)\nsys.stderr.write('e' * 2_000_000)\n",
    );
    assert_eq!(outcome["stdout"].as_str().unwrap(), "o".repeat(3_000_000));
    assert_eq!(outcome["stderr"].as_str().unwrap(), "e".repeat(2_000_000));
    assert_eq!(outcome.get("truncated"), None);
}

#[test]
fn a_flood_is_cut_and_flagged_and_holds_nobody_up() {
    let outcome = outcome(
        &["--timeout", "60"],
        "import os\n\
         for _ in range(20):\n    os.write(1, b'o' * (1 << 20))\n\
         os.write(2, b'short')\n",
    );
    assert_eq!(outcome["status"], "exited", "{}", outcome["status"]);
    assert_eq!(outcome["truncated"], json!(["stdout"]));
    let kept = outcome["stdout"].as_str().unwrap().len();
    assert!((1 << 20..20 << 20).contains(&kept), "{kept}");
    assert_eq!(outcome["stderr"], "short");
}
