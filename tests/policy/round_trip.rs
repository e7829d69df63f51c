//! The way of an operator: a call is missing in the policy, the run says which and how to allow it, and
//! doing what it says makes the probe run.

use std::path::Path;
use std::process::Command;

use super::{REFUSED, numpy, policy};
use crate::support::{CALLGATE, callgate, expect, json, probe, scratch};

#[test]
fn the_remedy_for_a_refused_call_makes_numpy_run_again() {
    let dir = scratch();
    let dir = dir.path();
    if !numpy(dir) {
        return;
    }
    expect(0, &mut policy(dir, ["new", "numpy.json", "-o", "p.json"]));
    expect(
        0,
        &mut policy(dir, ["remove", "p.json", "sched_getaffinity", "-o", "p.json"]),
    );
    let exec = |extra: &[&str]| {
        let mut command = callgate(["exec", "--policy", "p.json"]);
        command.args(extra).arg(probe("with_numpy.py")).current_dir(dir);
        command
    };
    let outcome = json(&expect(REFUSED, &mut exec(&["--json"])));
    assert_eq!(outcome["status"], "violation", "{outcome:#}");
    let violation = &outcome["violation"];
    assert_eq!(violation["syscall"], "sched_getaffinity");
    assert!(
        violation["site"]["file"].as_str().unwrap().contains("/numpy/"),
        "{violation:#}"
    );
    assert!(violation["site"]["line"].as_u64().unwrap() > 0);
    let remedy = violation["remedy"]["command"].as_str().unwrap();
    assert_eq!(remedy, "callgate policy allow p.json sched_getaffinity -o p.json");
    if cfg!(target_arch = "x86_64") {
        assert!(
            violation["remedy"]["dify"].as_str().unwrap().contains(" 204"),
            "{violation:#}"
        );
    }
    let told = String::from_utf8(expect(REFUSED, &mut exec(&[])).stderr).unwrap();
    assert!(
        told.contains(remedy) && told.contains("sched_getaffinity"),
        "{told}"
    );

    // To the letter, by a shell that finds callgate on its PATH.
    let path = format!(
        "{}:/usr/bin:/bin",
        Path::new(CALLGATE).parent().unwrap().display()
    );
    expect(
        0,
        Command::new("sh")
            .args(["-c", remedy])
            .env("PATH", path)
            .current_dir(dir),
    );
    let outcome = json(&expect(0, &mut exec(&["--json"])));
    assert!(
        outcome["stdout"].as_str().unwrap().contains("ok: numpy works"),
        "{outcome:#}"
    );
    assert!(outcome["violation"].is_null(), "{outcome:#}");
}
