//! The errnos that a call is refused with, and a policy that refuses some of its calls.

use std::fmt;

use callgate_abi::{Action, Arch};
use callgate_policy::{Policy, Rule};
use serde::{Serialize, Serializer};

/// What a refused call fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// As on a kernel that does not have the call: libraries fall back to an older one.
    Enosys,
    /// As where the caller lacks a right: some libraries expect this of a container.
    Eperm,
}

impl Refusal {
    /// The one that is tried first.
    pub(crate) const FIRST: Self = Self::Enosys;

    /// The one that is tried when this one won't do.
    pub(crate) const fn next(self) -> Option<Self> {
        match self {
            Self::Enosys => Some(Self::Eperm),
            Self::Eperm => None,
        }
    }

    /// The error's number (errno(3)).
    pub const fn errno(self) -> u16 {
        match self {
            Self::Enosys => 38,
            Self::Eperm => 1,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&callgate_abi::errno_name(self.errno()))
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Refuses a call on one architecture with a rule that says why. On the others its rules stay as they are:
/// what was tried on one says nothing of another.
pub(crate) fn refuse(policy: &mut Policy, name: &str, arch: Arch, refusal: Refusal, comment: &str) {
    let mut rules = Vec::with_capacity(policy.rules.len() + 1);
    let mut fresh = Vec::new();
    for mut rule in std::mem::take(&mut policy.rules) {
        let named = rule.names.iter().any(|other| other == name);
        if !named || !rule.applies_to(arch) {
            rules.push(rule);
            continue;
        }
        let elsewhere = Arch::ALL
            .into_iter()
            .filter(|other| *other != arch && rule.applies_to(*other) && other.call(name).is_ok());
        fresh.extend(elsewhere.map(|other| {
            let mut kept = rule.clone().only_on(other);
            kept.names = vec![name.to_owned()];
            kept
        }));
        rule.names.retain(|other| other != name);
        if !rule.names.is_empty() {
            rules.push(rule);
        }
    }
    let refused = Rule::new(Action::Errno(refusal.errno()), [name]).because(comment);
    fresh.push(refused.only_on(arch));
    for rule in fresh {
        add(&mut rules, rule);
    }
    policy.rules = rules;
}

/// Adds a rule to the one that says the same of other names, if there is one.
fn add(rules: &mut Vec<Rule>, mut rule: Rule) {
    let twin = rules.iter_mut().find(|other| {
        other.action == rule.action
            && other.args == rule.args
            && other.comment == rule.comment
            && other.arches == rule.arches
    });
    match twin {
        Some(twin) => twin.names.append(&mut rule.names),
        None => rules.push(rule),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_refused_on_one_architecture_and_stays_as_it_was_on_the_other() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules =
            vec![Rule::new(Action::Allow, ["uname", "madvise", "read", "access"]).because("observed")];
        for name in ["uname", "madvise", "access"] {
            refuse(&mut policy, name, Arch::X86_64, Refusal::Enosys, "tried");
        }
        let on = |arch: Arch, name: &str| policy.decide(arch.call(name).unwrap(), &[0; 6]);
        for name in ["uname", "madvise", "access"] {
            assert_eq!(on(Arch::X86_64, name), Action::Errno(38), "{name}");
        }
        assert_eq!(on(Arch::X86_64, "read"), Action::Allow);
        for name in ["uname", "madvise", "read"] {
            assert_eq!(on(Arch::Aarch64, name), Action::Allow, "{name}");
        }
        // Rules that say the same are one rule: read, arm64's two (which has no access), amd64's three.
        let names: Vec<usize> = policy.rules.iter().map(|rule| rule.names.len()).collect();
        assert_eq!(names, [1, 2, 3], "{:?}", policy.rules);
        assert_eq!(Policy::parse(&policy.to_json().unwrap()).unwrap(), policy);
    }

    #[test]
    fn errnos_have_the_numbers_of_the_kernel() {
        assert_eq!(i32::from(Refusal::Enosys.errno()), number_of("ENOSYS"));
        assert_eq!(i32::from(Refusal::Eperm.errno()), number_of("EPERM"));
    }

    fn number_of(name: &str) -> i32 {
        callgate_abi::errno_number(name).unwrap().into()
    }
}
