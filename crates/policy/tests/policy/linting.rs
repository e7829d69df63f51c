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
    assert_eq!(warnings("python"), [] as [&str; 0]);
    assert_eq!(warnings("dify-python"), [restart, terminal]);
    assert_eq!(warnings("dify-python-network"), [restart, socket, terminal]);
    assert_eq!(warnings("dify-nodejs"), [restart, clone3, terminal]);
    assert_eq!(
        warnings("dify-nodejs-network"),
        [restart, clone3, socket, terminal]
    );
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
    assert_eq!(notes("python"), (2, vec!["write-execute"]));
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
