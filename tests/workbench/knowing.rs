//! numbers, explain, lint: what is known of calls and of policies.

use serde_json::Value;

use crate::support::{callgate, expect, json, names, scratch};
use crate::workbench::{fails, policy, run, word};

#[test]
fn numbers_converts_names_and_numbers_and_refuses_what_is_neither() {
    let numbers = |words: &[&str]| {
        let mut command = callgate(["policy", "numbers", "--json"]);
        let mut answer = json(&expect(0, command.args(words)));
        assert_eq!(answer["schema"], "callgate.numbers/1");
        answer["calls"].take()
    };
    let rows = numbers(&["openat", "open"]);
    assert_eq!(names(&rows), ["openat", "open"]);
    assert_eq!(rows[0]["numbers"], serde_json::json!({"amd64": 257, "arm64": 56}));
    assert_eq!(rows[1]["equivalents"]["arm64"], serde_json::json!(["openat 56"]));
    assert_eq!(names(&numbers(&["0,1", "--arch", "amd64"])), ["read", "write"]);
    assert_eq!(names(&numbers(&["0"])), ["read", "io_setup"]);
    assert!(numbers(&[]).as_array().unwrap().len() > 370);
    assert!(run(0, &["policy", "numbers", "clone3"]).contains("435"));
    assert!(fails(2, &["policy", "numbers", "opennat"]).contains("\"openat\""));
    assert!(fails(2, &["policy", "numbers", "999"]).contains("no call 999"));
}

#[test]
fn explain_tells_what_a_call_does_and_what_every_shipped_policy_does_with_it() {
    let text = run(0, &["policy", "explain", "clone3"]);
    for part in [
        "amd64 435, arm64 435",
        "since Linux 5.3",
        "siblings",
        "dify-python: kill",
        "python: errno(ENOSYS)",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let open = run(0, &["policy", "explain", "2", "--arch", "amd64"]);
    assert!(open.contains("not on arm64: libc calls openat"), "{open}");
    let found = json(&expect(
        0,
        &mut callgate(["policy", "explain", "ptrace", "--json"]),
    ));
    assert_eq!(found["schema"], "callgate.explained/1");
    let call = &found["calls"][0];
    assert_eq!(call["risk"]["severity"], "error");
    assert_eq!(call["group"], "inspection");
    assert_eq!(call["shipped"]["dify-python"]["arm64"], "kill");
    assert!(fails(2, &["policy", "explain", "ptrce"]).contains("\"ptrace\""));
    assert!(fails(2, &["policy", "explain", "_llseek"]).contains("amd64 or arm64"));
}

#[test]
fn lint_finds_what_opens_the_sandbox_and_its_exit_code_is_for_ci() {
    let dir = scratch();
    let open = policy(
        dir.path(),
        "open.json",
        r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["bpf", "socket"], "action": "SCMP_ACT_ALLOW"}"#,
    );
    let found = json(&expect(
        1,
        &mut callgate(["policy", "lint", word(&open), "--json"]),
    ));
    assert_eq!(found["schema"], "callgate.lint/1");
    let bpf = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["call"] == "bpf")
        .unwrap();
    assert_eq!(
        (&bpf["severity"], &bpf["kind"], &bpf["rule"], &bpf["cve"]),
        (
            &Value::from("error"),
            &Value::from("open-call"),
            &Value::from(1),
            &Value::from("CVE-2021-3490")
        )
    );
    assert_eq!(bpf["line"], 1);
    let sarif = json(&expect(
        1,
        &mut callgate(["policy", "lint", word(&open), "--sarif"]),
    ));
    assert_eq!(sarif["version"], "2.1.0");
    let log = &sarif["runs"][0];
    let rules = log["tool"]["driver"]["rules"].as_array().unwrap();
    let results = log["results"].as_array().unwrap();
    assert_eq!(results.len(), found["findings"].as_array().unwrap().len());
    for (result, finding) in results.iter().zip(found["findings"].as_array().unwrap()) {
        assert_eq!(
            (&result["ruleId"], &result["level"]),
            (&finding["kind"], &finding["severity"])
        );
        assert_eq!(
            rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"],
            result["ruleId"]
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], word(&open));
        assert_eq!(place["region"]["startLine"], 1);
    }
    let text = run(1, &["policy", "lint", word(&open)]);
    assert!(
        text.contains("error[open-call] bpf") && text.contains("warning[socket-family] socket"),
        "{text}"
    );
    assert!(run(0, &["policy", "lint", "python"]).contains("0 errors, 0 warnings"));
    fails(2, &["policy", "lint", "no-such-policy"]);
    let all = dir.path().join("all.json");
    std::fs::write(&all, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    assert!(run(1, &["policy", "lint", word(&all)]).contains("(0-500) is no sandbox"));
}
