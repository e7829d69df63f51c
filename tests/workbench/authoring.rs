//! diff of policies, new, deny, merge, intersect, emit: what is written decides what it should.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{callgate, expect, json, names, said, scratch};
use crate::workbench::{ALLOW_READ, fails, policy, run, word};

#[test]
fn diff_of_two_policies_is_about_decisions_and_not_about_rules() {
    let dir = scratch();
    let one = policy(
        dir.path(),
        "one.json",
        r#"{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"}, {"names": ["clone3"], "action": "SCMP_ACT_ERRNO"}"#,
    );
    let other = policy(
        dir.path(),
        "other.json",
        r#"{"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "comment": "x"},
           {"names": ["write"], "action": "SCMP_ACT_ALLOW"}, {"names": ["read"], "action": "SCMP_ACT_ALLOW"}"#,
    );
    let same = run(0, &["policy", "diff", word(&one), "--against", word(&other)]);
    assert!(
        same.contains("amd64: the same decisions") && same.contains("arm64: the same decisions"),
        "{same}"
    );
    let limited = policy(
        dir.path(),
        "limited.json",
        r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 4096, "op": "SCMP_CMP_LE"}]},
           {"names": ["write"], "action": "SCMP_ACT_ALLOW"}, {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}"#,
    );
    let text = run(
        1,
        &[
            "policy",
            "diff",
            word(&one),
            "--against",
            word(&limited),
            "--arch",
            "amd64",
        ],
    );
    assert!(
        text.contains("2 calls are decided differently") && text.contains("0x1001"),
        "{text}"
    );
    let args = [
        "policy",
        "diff",
        word(&one),
        "--against",
        word(&limited),
        "--json",
    ];
    let found = json(&expect(1, &mut callgate(args)));
    assert_eq!(names(&found["amd64"]["different"]), ["read", "clone3"]);
    assert_eq!(names(&found["arm64"]["allowed"]), ["read", "write"]);
    assert_eq!(found["amd64"]["different"][0]["action"], "conditional");
    assert!(found["amd64"]["missing"].is_array());
    let shipped = ["policy", "diff", "dify-python", "--against", "dify-python"];
    run(0, &shipped);
    let args = [
        "policy",
        "diff",
        "dify-python",
        "--against",
        "dify-python-network",
        "--json",
    ];
    let found = json(&expect(1, &mut callgate(args)));
    assert!(names(&found["amd64"]["unobserved"]).contains(&"socket".to_owned()));
}

/// A trace of a Python run: `brk` at start-up, `openat` and `newfstatat` in the body.
fn trace(dir: &Path) -> PathBuf {
    let path = dir.join("run.trace.json");
    let call = |name: &str, nr: u32, phase: &str| {
        format!(r#"{{"name": "{name}", "nr": {nr}, "abi": "x86_64", "count": 1, "phases": ["{phase}"]}}"#)
    };
    let calls = [
        call("brk", 12, "startup"),
        call("openat", 257, "body"),
        call("newfstatat", 262, "body"),
    ];
    let text = format!(
        r#"{{"schema": "callgate.trace/1", "arch": "amd64", "kernel": "6.1.0", "command": ["p.py"],
            "outcome": {{"status": "exited", "exit_code": 0}}, "counts": "exact", "syscalls": [{}]}}"#,
        calls.join(",")
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// What a policy that was written to standard output does with a name: its action and its comment.
fn says(policy: &Value, name: &str) -> Option<(String, String)> {
    let names_it = |rule: &&Value| rule["names"].as_array().unwrap().iter().any(|n| n == name);
    let rule = policy["syscalls"].as_array().unwrap().iter().find(names_it)?;
    let word = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
    Some((word("action"), word("comment")))
}

#[test]
fn new_adds_what_other_runs_make_and_keeps_to_the_body_and_the_default_if_asked() {
    let dir = scratch();
    let file = trace(dir.path());
    let made = |options: &[&str]| {
        let args = [&["policy", "new", word(&file)], options].concat();
        json(&expect(0, &mut callgate(args)))
    };
    let allow = |why: &str| Some(("SCMP_ACT_ALLOW".to_owned(), why.to_owned()));
    let plain = made(&[]);
    assert_eq!(says(&plain, "brk"), allow("observed (startup)"));
    assert_eq!(
        (says(&plain, "openat2").unwrap().0, says(&plain, "tgkill")),
        ("SCMP_ACT_ERRNO".to_owned(), None)
    );
    assert_eq!(plain["defaultAction"], "SCMP_ACT_KILL_PROCESS");
    let portable = made(&["--portable"]);
    assert_eq!(says(&portable, "openat2"), allow("libc sibling of openat"));
    assert_eq!(says(&portable, "statx"), allow("libc sibling of newfstatat"));
    assert_eq!(says(&portable, "tgkill"), allow("abort path"));
    assert_eq!(says(&portable, "clone3").unwrap().0, "SCMP_ACT_ERRNO");
    let body = made(&["--phase", "body", "--default", "trap"]);
    assert_eq!(
        (says(&body, "brk"), says(&body, "openat")),
        (None, allow("observed"))
    );
    assert_eq!(body["defaultAction"], "SCMP_ACT_TRAP");
    let errno = made(&["--default", "errno"]);
    assert_eq!(
        (&errno["defaultAction"], &errno["defaultErrnoRet"]),
        (&"SCMP_ACT_ERRNO".into(), &1.into())
    );
    fails(
        2,
        &[
            "policy",
            "new",
            word(&file),
            "--default",
            "log",
            "--base",
            "python",
        ],
    );
    let text = std::fs::read_to_string(&file).unwrap().replace("body", "startup");
    std::fs::write(&file, text).unwrap();
    assert!(fails(2, &["policy", "new", word(&file), "--phase", "body"]).contains("no calls of the body"));
}

#[test]
fn deny_refuses_whatever_the_rules_say_and_tells_of_siblings() {
    let dir = scratch();
    let file = dir.path().join("p.json");
    let deny = [
        "policy",
        "deny",
        "python",
        "openat",
        "statx",
        "--errno",
        "ENOSYS",
        "-o",
        word(&file),
    ];
    let output = expect(0, &mut callgate(deny));
    let told = said(&output);
    assert!(
        told.contains("openat is refused, but creat, open") && told.contains("still run"),
        "{told}"
    );
    let args = ["policy", "diff", word(&file), "--against", "python", "--json"];
    let found = json(&expect(1, &mut callgate(args)));
    assert_eq!(names(&found["amd64"]["different"]), ["openat", "statx"]);
    assert!(
        found["arm64"]["different"][0]["note"]
            .as_str()
            .unwrap()
            .contains("errno(ENOSYS)")
    );
    assert!(fails(2, &["policy", "deny", "python", "raed"]).contains("\"read\""));
    assert!(fails(2, &["policy", "deny", "python", "read", "--errno", "ENOPE"]).contains("ENOPE"));
}

#[test]
fn merge_and_intersect_decide_as_either_and_as_both() {
    let dir = scratch();
    let merged = dir.path().join("merged.json");
    let both = dir.path().join("both.json");
    let (a, b) = ("dify-python", "dify-python-network");
    run(0, &["policy", "merge", a, b, "-o", word(&merged)]);
    run(0, &["policy", "intersect", a, b, "-o", word(&both)]);
    // The network list contains the other.
    run(0, &["policy", "diff", word(&merged), "--against", b]);
    run(0, &["policy", "diff", word(&both), "--against", a]);
    run(0, &["policy", "verify", word(&merged)]);
    // One allows clone by its flags and kills otherwise, the other refuses it with an errno.
    let text = fails(2, &["policy", "merge", "python", a]);
    assert!(text.contains("clone on amd64"), "{text}");
    fails(2, &["policy", "merge", a]);
}

#[test]
fn emit_writes_lists_and_seccompilers_json_and_what_is_lost_is_an_error_unless_accepted() {
    let dir = scratch();
    let file = policy(dir.path(), "small.json", ALLOW_READ);
    let emit = |format| {
        run(
            0,
            &[
                "policy",
                "emit",
                word(&file),
                "--format",
                format,
                "--arch",
                "arm64",
            ],
        )
    };
    assert_eq!(emit("names"), "read\nexit_group\n");
    assert_eq!(emit("numbers"), "63, 94\n");
    let filter: Value = serde_json::from_str(&emit("seccompiler")).unwrap();
    assert_eq!(filter["main"]["match_action"], "allow");
    assert_eq!(filter["main"]["filter"].as_array().unwrap().len(), 2);
    for format in ["names", "numbers", "seccompiler"] {
        let text = fails(2, &["policy", "emit", "python", "--format", format]);
        assert!(
            text.contains("clone3: errno(ENOSYS)") && text.contains("--lossy"),
            "{text}"
        );
        let output = expect(
            0,
            &mut callgate(["policy", "emit", "python", "--format", format, "--lossy"]),
        );
        assert!(said(&output).contains("not in this format: ") && !output.stdout.is_empty());
    }
}
