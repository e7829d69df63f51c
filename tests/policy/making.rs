//! `policy new`, `allow`, `remove`, `show`, `list`, `emit`: what goes in, what stays, what is said.

use std::path::Path;

use serde_json::Value;

use super::{policy, read, trace};
use crate::support::{expect, json, said, scratch};

/// The comment of the rule that allows a call.
fn comment(policy: &Value, name: &str) -> Option<String> {
    let rules = policy["syscalls"].as_array().unwrap();
    let rule = rules.iter().find(|rule| {
        rule["action"] == "SCMP_ACT_ALLOW" && rule["names"].as_array().unwrap().iter().any(|n| n == name)
    })?;
    Some(rule["comment"].as_str().unwrap_or_default().to_owned())
}

fn two_traces(dir: &Path) {
    trace(dir, "one", "import os\nos.getsid(0)\n");
    trace(dir, "two", "import os\n\nos.getppid()\n");
}

#[test]
fn a_policy_of_two_traces_allows_what_either_needs() {
    let dir = scratch();
    two_traces(dir.path());
    expect(
        0,
        &mut policy(dir.path(), ["new", "one.json", "-o", "one.policy.json"]),
    );
    expect(
        1,
        &mut policy(dir.path(), ["diff", "two.json", "--against", "one.policy.json"]),
    );
    expect(
        0,
        &mut policy(dir.path(), ["new", "one.json", "two.json", "-o", "both.json"]),
    );
    for name in ["one.json", "two.json"] {
        expect(
            0,
            &mut policy(dir.path(), ["diff", name, "--against", "both.json"]),
        );
    }
}

#[test]
fn a_base_stays_and_is_only_added_to() {
    let dir = scratch();
    two_traces(dir.path());
    let base = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "syscalls":
        [{"names": ["read", "kcmp"], "action": "SCMP_ACT_ALLOW", "comment": "mine"}]}"#;
    std::fs::write(dir.path().join("base.json"), base).unwrap();
    expect(
        0,
        &mut policy(
            dir.path(),
            ["new", "one.json", "--base", "base.json", "-o", "p.json"],
        ),
    );
    let made = read(&dir.path().join("p.json"));
    assert_eq!(
        (&made["defaultAction"], &made["defaultErrnoRet"]),
        (&"SCMP_ACT_ERRNO".into(), &1.into())
    );
    assert_eq!(comment(&made, "kcmp").unwrap(), "mine");
    assert_eq!(
        comment(&made, "read").unwrap(),
        "mine",
        "what the base allows is not added again"
    );
    assert!(comment(&made, "getsid").unwrap().contains("one.py:2"));
    expect(
        0,
        &mut policy(
            dir.path(),
            ["new", "one.json", "--base", "python", "-o", "q.json"],
        ),
    );
    expect(
        0,
        &mut policy(dir.path(), ["diff", "one.json", "--against", "q.json"]),
    );
}

#[test]
fn every_rule_says_where_it_comes_from_and_keeps_saying_so() {
    let dir = scratch();
    two_traces(dir.path());
    expect(0, &mut policy(dir.path(), ["new", "two.json", "-o", "p.json"]));
    let made = read(&dir.path().join("p.json"));
    for rule in made["syscalls"].as_array().unwrap() {
        assert!(
            rule["comment"]
                .as_str()
                .is_some_and(|comment| !comment.is_empty()),
            "{rule}"
        );
    }
    assert!(
        comment(&made, "getppid").unwrap().starts_with("observed: "),
        "{made:#}"
    );
    assert!(
        comment(&made, "getppid")
            .unwrap()
            .contains("two.py:3 in <module>"),
        "{made:#}"
    );
    assert!(comment(&made, "execve").unwrap().contains("startup"));
    assert!(
        comment(&made, "restart_syscall")
            .unwrap()
            .contains("kernel-injected")
    );

    expect(
        0,
        &mut policy(dir.path(), ["allow", "p.json", "kcmp", "getsid", "-o", "p.json"]),
    );
    let allowed = read(&dir.path().join("p.json"));
    assert!(comment(&allowed, "kcmp").unwrap().contains("by hand"));
    assert_eq!(comment(&allowed, "getppid"), comment(&made, "getppid"));
    assert_eq!(allowed["comment"], made["comment"]);

    expect(
        0,
        &mut policy(dir.path(), ["remove", "p.json", "kcmp", "getsid", "-o", "p.json"]),
    );
    assert_eq!(
        read(&dir.path().join("p.json")),
        made,
        "allowing and removing leaves what was there"
    );
}

#[test]
fn removing_what_is_in_no_rule_is_said() {
    let dir = scratch();
    let output = expect(
        0,
        &mut policy(dir.path(), ["remove", "python", "kcmp", "-o", "p.json"]),
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("kcmp is in no rule"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_policy_of_a_probe_that_failed_is_made_with_a_warning() {
    let dir = scratch();
    let mut dig = crate::support::callgate(["dig", "-o", "t.json", "--", "/bin/sh", "-c", "exit 3"]);
    expect(1, dig.current_dir(dir.path()));
    let output = expect(0, &mut policy(dir.path(), ["new", "t.json", "-o", "p.json"]));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("exited with 3"),
        "{}",
        said(&output)
    );
}

#[test]
fn shipped_policies_are_listed_and_shown_as_files_that_read_back_the_same() {
    let dir = scratch();
    let list = String::from_utf8(expect(0, &mut policy(dir.path(), ["list"])).stdout).unwrap();
    for name in [
        "python",
        "python-network",
        "docker-default",
        "dify-python",
        "dify-python-network",
        "dify-nodejs",
        "dify-nodejs-network",
    ] {
        assert!(
            list.lines()
                .any(|line| line.split_whitespace().next() == Some(name)),
            "{name} is not in\n{list}"
        );
        let shown = expect(0, &mut policy(dir.path(), ["show", name])).stdout;
        std::fs::write(dir.path().join("shown.json"), &shown).unwrap();
        let again = expect(0, &mut policy(dir.path(), ["show", "shown.json"])).stdout;
        assert_eq!(
            String::from_utf8(again).unwrap(),
            String::from_utf8(shown).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn emitted_formats_are_of_one_architecture_and_in_their_tools_own_terms() {
    let dir = scratch();
    trace(dir.path(), "t", "import os\nos.getsid(0)\n");
    expect(0, &mut policy(dir.path(), ["new", "t.json", "-o", "p.json"]));
    for (arch, word, getsid) in [
        ("amd64", "SCMP_ARCH_X86_64", 124),
        ("arm64", "SCMP_ARCH_AARCH64", 156),
    ] {
        let oci = json(&expect(
            0,
            &mut policy(dir.path(), ["emit", "p.json", "--format", "oci", "--arch", arch]),
        ));
        assert_eq!(oci["architectures"], serde_json::json!([word]));
        assert!(comment(&oci, "getsid").is_some(), "{arch}");
        let rules = oci["syscalls"].as_array().unwrap();
        assert!(
            rules.iter().all(|rule| rule.get("includes").is_none()),
            "crun and runc ignore includes"
        );

        let dify = expect(
            0,
            &mut policy(
                dir.path(),
                ["emit", "p.json", "--format", "dify", "--arch", arch, "--lossy"],
            ),
        );
        let dify = String::from_utf8(dify.stdout).unwrap();
        let list = dify
            .split_once("allowed_syscalls: [")
            .unwrap()
            .1
            .split_once(']')
            .unwrap()
            .0;
        let numbers: Vec<u32> = list.split(',').map(|nr| nr.trim().parse().unwrap()).collect();
        assert!(numbers.contains(&getsid), "{arch}: {dify}");

        let bpf = expect(
            0,
            &mut policy(dir.path(), ["emit", "p.json", "--format", "bpf", "--arch", arch]),
        )
        .stdout;
        assert!(
            bpf.len() > 8 && bpf.len() % 8 == 0 && bpf.len() / 8 <= 4096,
            "{} bytes",
            bpf.len()
        );
    }
}
