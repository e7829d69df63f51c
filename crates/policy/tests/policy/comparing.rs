//! The diff: what a policy does to what was observed.

use callgate_abi::Arch;
use callgate_policy::{DiffEntry, Observed, diff};

use crate::deriving::trace;
use crate::load;

fn names(entries: &[DiffEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

fn observed() -> Observed {
    Observed::from(&trace(&[
        ("read", 0, "x86_64", "body", true),
        ("open", 2, "x86_64", "body", true),
        ("stat", 4, "x86_64", "body", true),
        ("mkdir", 83, "x86_64", "body", true),
        ("arch_prctl", 158, "x86_64", "startup", false),
        ("openat", 257, "x86_64", "body", true),
        ("syscall_999", 999, "x86_64", "body", false),
        ("exit", 1, "i386", "body", false),
    ]))
}

#[test]
fn each_observed_call_is_in_the_list_of_its_fate_and_allowed_but_unseen_ones_in_theirs() {
    let found = diff(&observed(), &load("dify-python"), Arch::X86_64);
    assert_eq!(
        names(&found.missing),
        ["open", "stat", "arch_prctl", "syscall_999", "exit"]
    );
    assert_eq!(names(&found.refused), ["mkdir"]);
    assert_eq!(names(&found.allowed), ["read", "openat"]);
    assert_eq!(found.unobserved.len(), 46 - 2);
    assert_eq!(found.missing[4].abi, Some(callgate_abi::Abi::I386));
    assert_eq!(found.refused[0].action, "errno(EPERM)");
    let json = serde_json::to_value(&found).unwrap();
    for (list, name, nr) in [
        ("missing", "open", 2),
        ("refused", "mkdir", 83),
        ("allowed", "read", 0),
    ] {
        let entry = &json[list][0];
        assert_eq!(
            (entry["name"].as_str(), entry["nr"].as_u64()),
            (Some(name), Some(nr))
        );
        assert_eq!(
            (entry["count"].as_u64(), entry["errors"]["ENOENT"].as_u64()),
            (Some(3), Some(1))
        );
        assert_eq!(entry["site"]["line"].as_u64(), Some(7));
        assert_eq!(entry["predicted"].as_bool(), Some(false));
    }
    assert!(json["unobserved"].is_array());
}

#[test]
fn on_the_other_architecture_the_equivalents_are_predicted_and_nothing_disappears() {
    let found = diff(&observed(), &load("dify-python"), Arch::Aarch64);
    assert_eq!(names(&found.missing), ["newfstatat"]);
    assert_eq!(names(&found.refused), ["mkdirat"]);
    assert_eq!(names(&found.allowed), ["openat", "read"]);
    let openat = &found.allowed[0];
    assert_eq!(
        (openat.nr, openat.note.as_deref(), openat.count),
        (56, Some("for open"), Some(6))
    );
    assert!(
        found
            .allowed
            .iter()
            .chain(&found.missing)
            .all(|entry| entry.predicted)
    );
    for lost in ["arch_prctl", "syscall_999", "exit (i386)"] {
        assert!(
            found.notes.iter().any(|note| note.contains(lost)),
            "{lost}: {:?}",
            found.notes
        );
    }
}

#[test]
fn a_call_that_depends_on_its_arguments_is_called_conditional_with_the_conditions() {
    let seen = Observed::from(&trace(&[("clone", 56, "x86_64", "body", true)]));
    let found = diff(&seen, &load("python"), Arch::X86_64);
    assert_eq!(names(&found.allowed), ["clone"]);
    assert_eq!(found.allowed[0].action, "conditional");
    let note = found.allowed[0].note.as_deref().unwrap();
    assert!(
        note.contains("depends on arguments: allow if arg0 & 0x7e830000 == 0x10000; errno(EPERM) if"),
        "{note}"
    );
}

#[test]
fn a_policy_compared_with_itself_misses_nothing_and_has_nothing_unobserved() {
    for name in callgate_policy::shipped::names() {
        for arch in Arch::ALL {
            let policy = load(name);
            let found = diff(&Observed::allowed_by(&policy, arch), &policy, arch);
            assert!(
                found.missing.is_empty() && found.refused.is_empty() && found.unobserved.is_empty(),
                "{name}"
            );
            assert_eq!(found.allowed.len(), policy.allowed(arch).len());
        }
    }
}
