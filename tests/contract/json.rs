//! The JSON that is printed: its schemas and keys.

use serde_json::{Value, json};

use crate::exec::{outcome, policy, rule};
use crate::support::{callgate, expect, json as parse, names, scratch};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn an_outcome_has_every_key_of_its_schema() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
    let outcome = outcome(
        &["--policy", &policy],
        "import os\nprint('out')\nos.setpriority(0, 0, 7)\n",
    );
    let expected = [
        "schema",
        "status",
        "exit_code",
        "signal",
        "stdout",
        "stderr",
        "violation",
        "tier",
        "layers",
        "usage",
    ];
    assert_eq!(keys(&outcome), expected);
    assert_eq!(outcome["schema"], "callgate.outcome/1");
    let violation = &outcome["violation"];
    assert_eq!(
        keys(violation),
        ["syscall", "nr", "arch", "args", "pid", "tid", "site", "remedy"]
    );
    assert_eq!(violation["args"].as_array().unwrap().len(), 6);
    assert_eq!(keys(&violation["site"]), ["file", "line", "function"]);
    assert_eq!(keys(&violation["remedy"]), ["command", "dify"]);
    let usage = &outcome["usage"];
    assert_eq!(
        keys(usage),
        [
            "wall_ms",
            "cpu_ms",
            "max_rss_bytes",
            "memory_peak_bytes",
            "pids_peak"
        ]
    );
    assert!(
        usage["wall_ms"].as_u64().unwrap() > 0 && usage["cpu_ms"].as_u64().unwrap() > 0,
        "{usage}"
    );
    let rss = usage["max_rss_bytes"].as_u64().unwrap();
    assert!((4 << 20..1 << 30).contains(&rss), "{rss}");
}

#[test]
fn a_run_that_went_well_has_the_same_keys_with_nothing_in_them() {
    let outcome = outcome(&[], "print('out')\n");
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("exited"), &json!(0)),
        "{outcome:#}"
    );
    for empty in ["signal", "violation"] {
        assert!(outcome.as_object().unwrap().contains_key(empty), "{empty}");
        assert_eq!(outcome[empty], Value::Null);
    }
    assert_eq!(
        (&outcome["stdout"], &outcome["stderr"]),
        (&json!("out\n"), &json!(""))
    );
}

#[test]
fn usage_counts_what_all_processes_used() {
    let dir = scratch();
    let policy = policy(dir.path(), &json!([]));
    let outcome = outcome(
        &["--policy", &policy],
        "import os, time\n\
         if os.fork() == 0:\n    block = b'x' * (200 << 20)\n    while time.process_time() < 0.5: pass\n    os._exit(0)\n\
         os.wait()\n",
    );
    let usage = &outcome["usage"];
    assert!(usage["cpu_ms"].as_u64().unwrap() >= 500, "{outcome:#}");
    assert!(
        usage["max_rss_bytes"].as_u64().unwrap() >= 200 << 20,
        "{outcome:#}"
    );
}

#[test]
fn the_doctor_lists_what_bears_on_tracing_and_isolation() {
    let report = parse(&expect(0, &mut callgate(["doctor", "--json"])));
    assert_eq!(report["schema"], "callgate.doctor/1");
    let found = names(&report["facilities"]);
    for name in [
        "kernel",
        "ptrace",
        "seccomp actions",
        "user namespace",
        "mount namespace",
        "pid namespace",
        "network namespace",
        "landlock",
        "cgroups",
        "capabilities",
        "tier full",
        "tier container",
        "tier unprivileged",
        "python",
    ] {
        assert!(found.iter().any(|facility| facility == name), "{name}: {found:?}");
    }
    for facility in report["facilities"].as_array().unwrap() {
        let missing = facility["present"] == json!(false);
        assert!(!facility["found"].as_str().unwrap().is_empty(), "{facility}");
        assert_eq!(
            facility.get("cost").is_some(),
            missing,
            "what is missing has its cost: {facility}"
        );
    }
    let table = expect(0, &mut callgate(["doctor"]));
    let table = String::from_utf8_lossy(&table.stdout);
    assert!(
        found
            .iter()
            .all(|name| table.contains(name.split(' ').next().unwrap())),
        "{table}"
    );
}

#[test]
fn a_sight_has_the_keys_of_its_schema() {
    let dir = scratch();
    std::fs::write(dir.path().join("p.py"), "import socket\nsocket.socketpair()\n").unwrap();
    let mut command = callgate(["dig", "--json", "--stacks", "p.py"]);
    let trace = parse(&expect(0, command.current_dir(dir.path())));
    let calls = trace["syscalls"].as_array().unwrap();
    let call = calls.iter().find(|call| call["name"] == "socketpair").unwrap();
    let sight = &call["sights"][0];
    assert_eq!(
        keys(sight),
        [
            "phase", "ms", "args", "thread", "site", "object", "caller", "stack", "native"
        ]
    );
    assert_eq!(keys(&sight["args"][0]), ["index", "value", "name"]);
    assert_eq!(keys(&sight["thread"]), ["pid", "tid", "main", "name"]);
    assert_eq!(keys(&sight["site"]), ["file", "line", "function"]);
    for place in ["object", "caller"] {
        assert_eq!(keys(&sight[place]), ["file", "offset"]);
    }
    assert_eq!(keys(&sight["stack"][0]), ["file", "line", "function"]);
    assert_eq!(keys(&sight["native"][0]), ["file", "offset"]);
}
