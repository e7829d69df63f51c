//! `--timings`: where a run's time went.

use serde_json::Value;

use super::{exec, outcome};
use crate::support::said;

/// The stages of the outcome's `timings`, in microseconds, without their total.
fn stages(outcome: &Value) -> Vec<(String, u64)> {
    let timings = outcome["timings"]
        .as_object()
        .unwrap_or_else(|| panic!("{outcome:#}"));
    timings
        .iter()
        .filter(|(key, _)| *key != "total_us")
        .map(|(key, us)| (key.clone(), us.as_u64().unwrap()))
        .collect()
}

#[test]
fn the_stages_of_a_run_make_up_its_whole_time() {
    let outcome = outcome(&["--timings"], "import time\ntime.sleep(0.2)\n");
    let stages = stages(&outcome);
    let us = |key: &str| {
        let found = stages.iter().find(|(stage, _)| stage == key);
        found.unwrap_or_else(|| panic!("{key}: {outcome:#}")).1
    };
    for key in [
        "ready_us",
        "plan_us",
        "prepare_us",
        "clone_us",
        "root_us",
        "enter_us",
        "startup_us",
        "lock_us",
        "teardown_us",
        "conclude_us",
    ] {
        us(key);
    }
    assert!(us("code_us") >= 200_000, "{outcome:#}");
    let total = outcome["timings"]["total_us"].as_u64().unwrap();
    assert_eq!(stages.iter().map(|(_, us)| us).sum::<u64>(), total);
    // Wall time is of the set-up's beginning to the end, to a millisecond.
    let within: u64 = [
        "clone_us",
        "root_us",
        "enter_us",
        "startup_us",
        "lock_us",
        "code_us",
        "teardown_us",
    ]
    .map(us)
    .iter()
    .sum();
    let wall = outcome["usage"]["wall_ms"].as_u64().unwrap();
    assert!(
        within / 1000 <= wall + 1 && wall <= total / 1000 + 1,
        "{outcome:#}"
    );
}

#[test]
fn a_command_that_is_locked_at_its_exec_has_no_start_up_of_its_own() {
    let output = crate::support::callgate(["exec", "--timings", "--json", "--", "/bin/true"])
        .output()
        .unwrap();
    let outcome = super::outcome_of(&output);
    let stages = stages(&outcome);
    let has = |key: &str| stages.iter().any(|(stage, _)| stage == key);
    assert!(
        has("lock_us") && has("code_us") && !has("startup_us"),
        "{outcome:#}"
    );
}

#[test]
fn people_get_a_table_and_nobody_is_told_who_did_not_ask() {
    let output = exec(&["--quiet", "--timings"], "print(1)");
    assert_eq!(output.stdout, b"1\n", "{}", said(&output));
    let table = String::from_utf8_lossy(&output.stderr).into_owned();
    for word in ["stage", "ms", "root", "startup", "teardown", "total"] {
        assert!(table.contains(word), "{word}: {table}");
    }
    assert_eq!(outcome(&[], "print(1)").get("timings"), None);
}

#[test]
fn a_run_whose_set_up_fails_tells_no_stages_that_it_did_not_have() {
    let output = exec(&["--timings", "--json", "--add", "/no/such/file"], "print(1)");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(output.stdout.is_empty());
}
