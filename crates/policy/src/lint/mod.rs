//! What is wrong or dangerous in a policy, with the reason and the mend.

mod breaks;
mod opens;
mod shadow;

use callgate_abi::{Action, Arch, Severity, Syscall};
use serde::Serialize;

use crate::Policy;

/// One thing to know about a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which kind: one of [`KINDS`].
    pub kind: &'static str,
    /// The call that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The place of the rule in the file (`syscalls[N]`), from 0; none if it is the default action or a
    /// rule that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// The architectures on which it is so.
    pub arches: Vec<Arch>,
    /// Why it matters.
    pub reason: String,
    /// A flaw that was used through the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cve: Option<&'static str>,
    /// What to do about it.
    pub mend: String,
}

/// Every kind of finding, and what it says.
pub const KINDS: [(&str, &str); 12] = [
    (
        "absent-call",
        "a name that an architecture lacks, and what libc calls there is closed",
    ),
    ("allow-all", "nearly every call of the architecture runs: 0-500"),
    ("allow-default", "what no rule names runs"),
    (
        "missing-call",
        "a call that every program needs sooner or later is refused",
    ),
    ("namespace-flags", "clone runs with flags that make namespaces"),
    (
        "no-fallback",
        "the answer to a newer call keeps libc from falling back to an older one",
    ),
    ("open-call", "a call runs that opens the sandbox"),
    ("reading", "the policy is read otherwise elsewhere"),
    ("shadowed-rule", "a rule, or names in it, without effect"),
    (
        "socket-family",
        "socket runs for families that reach into the kernel",
    ),
    ("terminal-input", "ioctl can put input into a terminal"),
    ("write-execute", "memory can be writable and executable at once"),
];

/// Looks for what is dangerous or broken in a policy, on each of the architectures. The worst comes first.
pub fn lint(policy: &Policy, arches: &[Arch]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let by_arch = arches.iter().flat_map(|arch| {
        let look = Look { policy, arch: *arch };
        let mut found = opens::find(look);
        found.extend(breaks::find(look));
        found
    });
    for found in by_arch {
        let same = |known: &&mut Finding| {
            Finding {
                arches: Vec::new(),
                ..(**known).clone()
            } == Finding {
                arches: Vec::new(),
                ..found.clone()
            }
        };
        match findings.iter_mut().find(same) {
            Some(known) => known.arches.extend(found.arches),
            None => findings.push(found),
        }
    }
    findings.extend(shadow::find(policy, arches));
    findings.extend(policy.notes().into_iter().map(|note| Finding {
        severity: Severity::Note,
        kind: "reading",
        call: None,
        rule: None,
        arches: arches.to_vec(),
        reason: note,
        cve: None,
        mend: "mind it when the file is given to other tools".into(),
    }));
    findings
        .sort_by(|a, b| (b.severity, a.kind, &a.call, a.rule).cmp(&(a.severity, b.kind, &b.call, b.rule)));
    findings
}

/// A policy on one architecture.
#[derive(Clone, Copy)]
struct Look<'a> {
    policy: &'a Policy,
    arch: Arch,
}

impl Look<'_> {
    /// What the call of that name gets with these first arguments; none if the architecture lacks it.
    fn decide<const N: usize>(self, name: &str, first: [u64; N]) -> Option<Action> {
        let call = self.arch.call(name).ok()?;
        let mut args = [0; 6];
        args[..N].copy_from_slice(&first);
        Some(self.policy.decide(call, &args))
    }

    /// Whether the call of that name runs for some arguments at least.
    fn may_run(self, name: &str) -> bool {
        self.arch
            .call(name)
            .is_ok_and(|call| self.policy.verdict(call).may_run())
    }

    /// A finding about this call; the rule is the first that lets it run.
    fn about(self, severity: Severity, kind: &'static str, call: Syscall) -> Finding {
        let name = call.name();
        let lets_run = |rule: &crate::Rule| rule.action.runs() && rule.names.iter().any(|n| *n == name);
        let rule = self.policy.rules_for(self.arch).find(|(_, rule)| lets_run(rule));
        Finding {
            severity,
            kind,
            call: Some(name.into_owned()),
            rule: rule.map(|(index, _)| index),
            arches: vec![self.arch],
            reason: String::new(),
            cve: None,
            mend: String::new(),
        }
    }
}
