//! The findings of the shipped policies, one by one, so that a change in either is seen.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, Severity};
use callgate_policy::lint::{KINDS, lint};
use callgate_policy::{Policy, Rule};

use crate::load;

/// `warning missing-call restart_syscall`, without the notes.
fn warnings(name: &str) -> Vec<String> {
    lint(&load(name), &Arch::ALL)
        .iter()
        .filter(|finding| finding.severity > Severity::Note)
        .map(|finding| {
            let call = finding.call.as_deref().unwrap_or("-");
            format!("{} {} {call}", finding.severity, finding.kind)
        })
        .collect()
}

#[test]
fn the_findings_of_the_shipped_policies_are_these() {
    let restart = "warning missing-call restart_syscall";
    let terminal = "warning terminal-input ioctl";
    let socket = "warning socket-family socket";
    let clone3 = "warning no-fallback clone3";
    for ours in ["node", "node-network", "python", "python-network"] {
        assert_eq!(warnings(ours), [] as [&str; 0], "{ours}");
    }
    assert_eq!(warnings("dify-python"), [restart, terminal]);
    assert_eq!(warnings("dify-python-network"), [restart, socket, terminal]);
    assert_eq!(warnings("dify-nodejs"), [restart, clone3, terminal]);
    assert_eq!(
        warnings("dify-nodejs-network"),
        [restart, clone3, socket, terminal]
    );
}

/// What Docker leaves open on purpose: a container's root may chroot and debug its own processes, clocks need
/// capabilities that it lacks, and every family of sockets but two is there. The policy is for comparison.
#[test]
fn the_findings_of_docker_s_profile_are_what_docker_decided() {
    let expected = [
        "error open-call chroot",
        "error open-call process_vm_readv",
        "error open-call process_vm_writev",
        "error open-call ptrace",
        "warning open-call adjtimex",
        "warning open-call clock_adjtime",
        "warning open-call fanotify_mark",
        "warning open-call modify_ldt",
        "warning open-call vmsplice",
        "warning socket-family socket",
        "warning terminal-input ioctl",
    ];
    let found: BTreeSet<String> = warnings("docker-default").into_iter().collect();
    assert_eq!(found, expected.map(str::to_owned).into());
    assert!(load("docker-default").comment.unwrap().contains("no sandbox"));
}

#[test]
fn the_notes_of_the_shipped_policies_are_these() {
    let notes = |name| {
        let found = lint(&load(name), &Arch::ALL);
        let notes: Vec<_> = found
            .into_iter()
            .filter(|finding| finding.severity == Severity::Note)
            .collect();
        let kinds: BTreeSet<&str> = notes.iter().map(|finding| finding.kind).collect();
        (notes.len(), kinds.into_iter().collect::<Vec<_>>())
    };
    // What compiles code at run time (V8; numba, cffi's callbacks) needs memory that is both.
    for ours in ["node", "node-network", "python", "python-network"] {
        assert_eq!(notes(ours), (2, vec!["write-execute"]), "{ours}");
    }
    assert_eq!(notes("dify-python"), (6, vec!["no-fallback", "write-execute"]));
    assert_eq!(
        notes("dify-python-network"),
        (8, vec!["no-fallback", "shadowed-rule", "write-execute"])
    );
}

#[test]
fn every_kind_of_finding_has_a_policy_that_shows_it() {
    let all: Vec<String> = Arch::X86_64
        .calls()
        .map(|call| call.name().into_owned())
        .collect();
    let policies = [
        Policy::new(Action::Allow),
        Policy {
            rules: vec![Rule::new(Action::Allow, all)],
            ..Policy::new(Action::KillProcess)
        },
        Policy {
            rules: vec![
                Rule::new(Action::Errno(1), ["clone3"]),
                Rule::new(Action::Allow, ["open", "read", "_llseek"]),
                Rule::new(Action::Allow, ["read"]),
            ],
            ..Policy::new(Action::KillProcess)
        },
    ];
    let found = policies.iter().flat_map(|policy| lint(policy, &Arch::ALL));
    let found: BTreeSet<&str> = found.map(|finding| finding.kind).collect();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), KINDS.map(|(kind, _)| kind));
}

#[test]
fn every_call_that_opens_a_sandbox_is_an_error_with_its_reason_on_the_architectures_that_have_it() {
    // With the flaws that are certain.
    let opens = [
        ("ptrace", Some("CVE-2019-13272")),
        ("bpf", Some("CVE-2021-3490")),
        ("io_uring_setup", Some("CVE-2022-2602")),
        ("io_uring_enter", Some("CVE-2022-2602")),
        ("io_uring_register", Some("CVE-2022-2602")),
        ("userfaultfd", None),
        ("keyctl", Some("CVE-2016-0728")),
        ("add_key", Some("CVE-2016-0728")),
        ("request_key", Some("CVE-2016-0728")),
        ("mount", None),
        ("umount2", None),
        ("pivot_root", None),
        ("move_mount", None),
        ("open_tree", None),
        ("fsopen", Some("CVE-2022-0185")),
        ("fsconfig", Some("CVE-2022-0185")),
        ("fsmount", None),
        ("fspick", None),
        ("mount_setattr", None),
        ("unshare", Some("CVE-2022-0185")),
        ("setns", None),
        ("process_vm_readv", None),
        ("process_vm_writev", None),
        ("open_by_handle_at", Some("CVE-2014-3519")),
        ("perf_event_open", Some("CVE-2013-2094")),
        ("kexec_load", None),
        ("kexec_file_load", None),
        ("init_module", None),
        ("finit_module", None),
        ("delete_module", None),
    ];
    for (name, cve) in opens {
        let policy = Policy {
            rules: vec![Rule::new(Action::Allow, [name])],
            ..Policy::new(Action::KillProcess)
        };
        let found = lint(&policy, &Arch::ALL);
        let found = found
            .iter()
            .find(|finding| finding.call.as_deref() == Some(name))
            .unwrap();
        assert_eq!(
            (found.severity, found.kind, found.cve),
            (Severity::Error, "open-call", cve),
            "{name}"
        );
        assert!(found.reason.len() > 20 && found.rule == Some(0), "{found:?}");
        assert_eq!(found.arches, Arch::ALL, "{name}");
    }
    for name in ["clone", "clone3"] {
        let policy = Policy {
            rules: vec![Rule::new(Action::Allow, [name])],
            ..Policy::new(Action::KillProcess)
        };
        let found = lint(&policy, &Arch::ALL);
        let namespaces = |finding: &&_| -> bool {
            let finding: &callgate_policy::lint::Finding = finding;
            finding.kind == "namespace-flags" && finding.severity == Severity::Warning
        };
        assert_eq!(found.iter().filter(namespaces).count(), 1, "{name}");
    }
}

#[test]
fn each_call_that_every_program_needs_is_missed_by_its_name() {
    let needed = ["exit", "exit_group", "restart_syscall", "rt_sigreturn"];
    for missing in needed {
        let policy = Policy {
            rules: vec![Rule::new(
                Action::Allow,
                needed.into_iter().filter(|name| *name != missing),
            )],
            ..Policy::new(Action::KillProcess)
        };
        let found = lint(&policy, &Arch::ALL);
        let found: Vec<_> = found
            .iter()
            .filter(|finding| finding.kind == "missing-call")
            .collect();
        assert_eq!(found.len(), 1, "{missing}: {found:?}");
        assert_eq!(found[0].call.as_deref(), Some(missing));
    }
}

#[test]
fn a_name_that_no_target_knows_and_a_duplicate_are_notes() {
    let policy = Policy {
        rules: vec![
            Rule::new(Action::Allow, ["_llseek", "read"]),
            Rule::new(Action::Allow, ["read"]),
        ],
        ..Policy::new(Action::KillProcess)
    };
    let found = lint(&policy, &Arch::ALL);
    let has = |kind: &str, words: &str| {
        found
            .iter()
            .any(|finding| finding.kind == kind && finding.reason.contains(words))
    };
    assert!(has("reading", "neither amd64 nor arm64 has _llseek"), "{found:?}");
    assert!(has("shadowed-rule", "changes nothing"), "{found:?}");
}
