//! Traces become policies, with provenance.

use callgate_abi::{Action, Arch, Syscall};
use callgate_policy::{Policy, Rule, Verdict, from_traces};
use callgate_trace::Trace;

use crate::load;

/// A trace of an amd64 run that made these calls: name, number, entry, phase, whether a site is known.
pub fn trace(calls: &[(&str, u32, &str, &str, bool)]) -> Trace {
    let call = |(name, nr, abi, phase, site): &(&str, u32, &str, &str, bool)| {
        let site = if *site {
            r#", "site": {"file": "p.py", "line": 7, "function": "<module>"}"#
        } else {
            ""
        };
        format!(
            r#"{{"name": "{name}", "nr": {nr}, "abi": "{abi}", "count": 3, "errors": {{"ENOENT": 1}}, "phases": ["{phase}"]{site}}}"#
        )
    };
    let calls: Vec<String> = calls.iter().map(call).collect();
    Trace::from_json(&format!(
        r#"{{"schema": "callgate.trace/1", "arch": "amd64", "kernel": "6.1.0", "command": ["p.py"],
            "outcome": {{"status": "exited", "exit_code": 0}}, "counts": "exact", "syscalls": [{}]}}"#,
        calls.join(",")
    ))
    .unwrap()
}

fn amd64(name: &str) -> Syscall {
    Arch::X86_64.call(name).unwrap()
}

fn arm64(name: &str) -> Syscall {
    Arch::Aarch64.call(name).unwrap()
}

fn rule<'a>(policy: &'a Policy, name: &str) -> &'a Rule {
    policy
        .rules
        .iter()
        .find(|rule| rule.names.iter().any(|n| n == name))
        .unwrap()
}

#[test]
fn every_rule_says_where_it_comes_from() {
    let trace = trace(&[
        ("read", 0, "x86_64", "body", true),
        ("open", 2, "x86_64", "body", true),
        ("brk", 12, "x86_64", "startup", true),
    ]);
    let derived = from_traces(&[trace], None);
    let policy = derived.policy;
    assert_eq!(derived.notes, [] as [String; 0]);
    assert_eq!(policy.default, Action::KillProcess);
    assert_eq!(
        rule(&policy, "read").comment.as_deref(),
        Some("observed: p.py:7 in <module>")
    );
    assert_eq!(
        rule(&policy, "brk").comment.as_deref(),
        Some("observed (startup, p.py:7 in <module>)")
    );
    assert_eq!(
        rule(&policy, "rt_sigreturn").comment.as_deref(),
        Some("kernel-injected")
    );
    assert_eq!(rule(&policy, "exit").comment.as_deref(), Some("exit path"));
    assert_eq!(
        rule(&policy, "openat").comment.as_deref(),
        Some("arm64 equivalent of open")
    );
    assert!(
        rule(&policy, "clone3")
            .comment
            .as_deref()
            .unwrap()
            .contains("ENOSYS")
    );
    assert!(policy.comment.as_deref().unwrap().contains("`p.py` on amd64"));
    assert_eq!(Policy::parse(&policy.to_json().unwrap()).unwrap(), policy);
}

#[test]
fn what_was_observed_runs_and_nothing_else_does() {
    let calls = [
        ("openat", 257, "x86_64", "body", true),
        ("statx", 332, "x86_64", "body", false),
    ];
    let policy = from_traces(&[trace(&calls)], None).policy;
    let runs: Vec<String> = policy
        .allowed(Arch::X86_64)
        .iter()
        .map(|call| call.name().into_owned())
        .collect();
    assert_eq!(
        runs,
        [
            "rt_sigreturn",
            "exit",
            "restart_syscall",
            "exit_group",
            "openat",
            "statx"
        ]
    );
    assert_eq!(
        policy.verdict(amd64("faccessat2")),
        Verdict::Always(Action::Errno(38))
    );
    assert_eq!(
        policy.verdict(arm64("clone3")),
        Verdict::Always(Action::Errno(38))
    );
    assert_eq!(policy.verdict(arm64("statx")), Verdict::Always(Action::Allow));
}

#[test]
fn names_that_arm64_lacks_are_allowed_there_by_what_libc_calls_instead() {
    let calls = [
        ("open", 2, "x86_64", "body", true),
        ("creat", 85, "x86_64", "body", true),
        ("rename", 82, "x86_64", "body", true),
        ("arch_prctl", 158, "x86_64", "startup", false),
    ];
    let policy = from_traces(&[trace(&calls)], None).policy;
    for name in ["openat", "renameat", "renameat2"] {
        assert_eq!(
            policy.verdict(arm64(name)),
            Verdict::Always(Action::Allow),
            "{name}"
        );
        assert_eq!(
            policy.verdict(amd64(name)),
            Verdict::Always(Action::KillProcess),
            "{name}"
        );
    }
    assert_eq!(
        rule(&policy, "openat").comment.as_deref(),
        Some("arm64 equivalent of open, creat")
    );
}

#[test]
fn what_a_policy_cannot_allow_is_noted() {
    let calls = [
        ("exit", 1, "i386", "body", false),
        ("syscall_999", 999, "x86_64", "body", false),
    ];
    let derived = from_traces(&[trace(&calls)], None);
    assert_eq!(derived.notes.len(), 2, "{:?}", derived.notes);
    assert!(derived.notes.iter().any(|note| note.contains("i386 entry")));
    assert!(derived.notes.iter().any(|note| note.contains("number 999")));
}

#[test]
fn a_base_keeps_its_rules_and_gets_only_what_it_lacks() {
    let base = load("dify-python");
    let calls = [
        ("read", 0, "x86_64", "body", true),
        ("mkdir", 83, "x86_64", "body", true),
        ("getcwd", 79, "x86_64", "body", true),
    ];
    let policy = from_traces(&[trace(&calls)], Some(&base)).policy;
    assert_eq!(policy.rules[0], base.rules[0]);
    assert!(!policy.rules.iter().any(|r| r.names == ["read"]));
    assert_eq!(policy.verdict(amd64("mkdir")), Verdict::Always(Action::Allow));
    assert_eq!(
        policy.verdict(amd64("mkdirat")),
        Verdict::Always(Action::Errno(1))
    );
    assert_eq!(policy.verdict(arm64("mkdirat")), Verdict::Always(Action::Allow));
    assert_eq!(policy.verdict(arm64("getcwd")), Verdict::Always(Action::Allow));
    assert!(Policy::parse(&policy.to_json().unwrap()).is_ok());
}

#[test]
fn a_base_that_decides_by_arguments_is_left_as_it_is_and_reported() {
    let base = load("python");
    let derived = from_traces(&[trace(&[("clone", 56, "x86_64", "body", true)])], Some(&base));
    assert!(matches!(
        derived.policy.verdict(amd64("clone")),
        Verdict::Depends { .. }
    ));
    assert!(derived.notes[0].contains("clone"), "{:?}", derived.notes);
}

#[test]
fn of_several_traces_the_union_is_allowed() {
    let one = trace(&[("read", 0, "x86_64", "startup", false)]);
    let two = trace(&[
        ("read", 0, "x86_64", "body", true),
        ("write", 1, "x86_64", "body", true),
    ]);
    let policy = from_traces(&[one, two], None).policy;
    assert_eq!(
        rule(&policy, "read").comment.as_deref(),
        Some("observed: p.py:7 in <module>")
    );
    assert_eq!(policy.verdict(amd64("write")), Verdict::Always(Action::Allow));
}

/// The same trace as if it had been recorded on arm64.
fn on_arm64(calls: &[(&str, u32)]) -> Trace {
    let calls: Vec<_> = calls
        .iter()
        .map(|(name, nr)| (*name, *nr, "aarch64", "body", true))
        .collect();
    let mut trace = trace(&calls);
    trace.arch = Arch::Aarch64;
    trace
}

#[test]
fn of_an_arm64_trace_the_older_names_of_amd64_are_guessed_and_the_guess_is_in_the_comment() {
    let trace = on_arm64(&[("openat", 56), ("mkdirat", 34), ("unlinkat", 35)]);
    let policy = from_traces(&[trace], None).policy;
    for name in [
        "openat",
        "open",
        "creat",
        "mkdirat",
        "mkdir",
        "unlink",
        "rmdir",
        "arch_prctl",
    ] {
        assert_eq!(
            policy.verdict(amd64(name)),
            Verdict::Always(Action::Allow),
            "{name}"
        );
    }
    let guessed = rule(&policy, "mkdir").comment.as_deref().unwrap();
    assert!(
        guessed.contains("mkdirat") && guessed.contains("a guess"),
        "{guessed}"
    );
    assert_eq!(
        policy.verdict(amd64("chmod")),
        Verdict::Always(Action::KillProcess)
    );
    assert!(
        rule(&policy, "arch_prctl")
            .comment
            .as_deref()
            .unwrap()
            .contains("thread register")
    );
}

#[test]
fn a_call_that_has_nothing_on_the_other_architecture_is_noted() {
    let derived = from_traces(&[trace(&[("arch_prctl", 158, "x86_64", "startup", false)])], None);
    assert_eq!(
        derived.notes,
        ["arch_prctl: nothing on arm64; arm64 sets its thread register without a call"]
    );
}

#[test]
fn fork_becomes_clone_on_arm64_without_new_namespaces() {
    let policy = from_traces(&[trace(&[("fork", 57, "x86_64", "body", true)])], None).policy;
    let runs = |flags| policy.decide(arm64("clone"), &[flags, 0, 0, 0, 0, 0]).runs();
    assert!(runs(0x0120_0011) && !runs(0x1000_0011) && !runs(0x0002_0000));
}
