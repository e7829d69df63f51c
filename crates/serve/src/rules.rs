//! The policies of the server: a base policy, and what `allowed_syscalls` says besides or instead.

use std::collections::BTreeSet;

use callgate_abi::{Arch, Filter, Syscall};
use callgate_exec::{Remedy, Violation};
use callgate_policy::{Combination, Policy, combine, compile, known_name, remedy};

use crate::config::Allowed;

/// What the added rules are commented with.
const PROVENANCE: &str = "in allowed_syscalls of the server's configuration";

/// A policy, compiled, and how it came about.
#[derive(Clone, Debug)]
pub struct Rules {
    policy: Policy,
    /// The compiled policy.
    pub filter: Filter,
    /// The name or file of the base policy.
    pub source: String,
    /// `allowed_syscalls` as it was given.
    listed: Vec<String>,
}

/// What is listed besides a policy, and whether it takes the policy's place.
#[derive(Clone, Debug)]
pub struct Change {
    /// What is listed.
    pub allowed: Allowed,
    /// The policy, if `allowed` names one.
    pub named: Option<Policy>,
    /// Nothing but that is allowed, as in dify-sandbox up to a94a466.
    pub replace: bool,
}

/// Why there is no such policy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RulesError(String);

impl Rules {
    /// Makes them; the sentences say what was changed.
    ///
    /// # Errors
    /// [`RulesError`]: a call that is not known, or a policy that can't be said or compiled.
    pub fn new(
        source: &str,
        base: Policy,
        change: Option<&Change>,
    ) -> Result<(Self, Vec<String>), RulesError> {
        let mut notes = Vec::new();
        let mut policy = base;
        let mut listed = Vec::new();
        if let Some(change) = change {
            match (&change.allowed, &change.named) {
                (Allowed::Calls(words), _) => {
                    let calls = calls(words, &mut notes)?;
                    listed = words.clone();
                    policy = amended(source, policy, &calls, change.replace, &mut notes)?;
                }
                (Allowed::Policy(name), Some(named)) => {
                    policy = united(source, policy, name, named, change.replace, &mut notes)?;
                }
                (Allowed::Policy(name), None) => {
                    return Err(RulesError(format!(
                        "allowed_syscalls: the policy {name} was not read"
                    )));
                }
            }
        }
        let filter = compile(&policy, Arch::NATIVE)
            .and_then(|compiled| compiled.link())
            .map_err(|error| RulesError(format!("{source}: {error}")))?;
        let rules = Self {
            policy,
            filter,
            source: source.to_owned(),
            listed,
        };
        Ok((rules, notes))
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How a refused call could be allowed: a command that makes a policy, and the line for the configuration.
    pub(crate) fn remedy(&self, violation: &Violation) -> Option<Remedy> {
        let call = Syscall::new(violation.arch, violation.nr);
        let remedy = remedy(&self.policy, &self.source, call, &violation.args).ok()?;
        Some(Remedy {
            command: remedy.command,
            dify: self.listing([call.known_name()?.to_owned()]),
        })
    }

    /// The line of the configuration that adds these calls to what it lists.
    pub(crate) fn listing(&self, names: impl IntoIterator<Item = String>) -> String {
        let all: Vec<String> = self.listed.iter().cloned().chain(names).collect();
        format!("allowed_syscalls: [{}]", all.join(", "))
    }
}

/// The calls of a list of numbers and names. A number that no call has is told and left out: lists such as
/// 0 to 500 are common.
fn calls(words: &[String], notes: &mut Vec<String>) -> Result<Vec<Syscall>, RulesError> {
    let mut found = BTreeSet::new();
    let mut nameless = Vec::new();
    for word in words {
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            let nr = word
                .parse()
                .map_err(|_| RulesError(format!("allowed_syscalls: {word} is no system call number")))?;
            let call = Syscall::new(Arch::NATIVE.abi(), nr);
            match call.known_name() {
                Some(_) => drop(found.insert(call)),
                None => nameless.push(word.as_str()),
            }
            continue;
        }
        known_name(word).map_err(|error| RulesError(format!("allowed_syscalls: {error}")))?;
        match Arch::NATIVE.call(word) {
            Ok(call) => drop(found.insert(call)),
            Err(_) => notes.push(format!(
                "allowed_syscalls: {} has no {word}; it is left out",
                Arch::NATIVE.name()
            )),
        }
    }
    if !nameless.is_empty() {
        notes.push(format!(
            "allowed_syscalls: no call of {} is known by these numbers, which are left out: {}",
            Arch::NATIVE.name(),
            nameless.join(", ")
        ));
    }
    Ok(found.into_iter().collect())
}

fn amended(
    source: &str,
    base: Policy,
    calls: &[Syscall],
    replace: bool,
    notes: &mut Vec<String>,
) -> Result<Policy, RulesError> {
    let mut policy = match replace {
        true => {
            notes.push(format!(
                "allowed_syscalls takes the place of what the policy {source} allows (--replace-allowed): {} calls \
                 are allowed, and no others",
                calls.len()
            ));
            emptied(base)
        }
        false => base,
    };
    let mut added = Vec::new();
    for call in calls {
        let new = policy
            .allow_here(*call, PROVENANCE)
            .map_err(|error| RulesError(format!("allowed_syscalls: {error}")))?;
        added.extend(new.iter().map(|call| call.name().into_owned()));
    }
    if !replace {
        let what = match added.is_empty() {
            true => "nothing that it does not allow already".to_owned(),
            false => added.join(", "),
        };
        notes.push(format!("allowed_syscalls adds to the policy {source}: {what}"));
    }
    Ok(policy)
}

fn united(
    source: &str,
    base: Policy,
    name: &str,
    named: &Policy,
    replace: bool,
    notes: &mut Vec<String>,
) -> Result<Policy, RulesError> {
    if replace {
        notes.push(format!(
            "the policy {name} takes the place of the policy {source} (--replace-allowed)"
        ));
        return Ok(named.clone());
    }
    let both = combine(&base, named, Combination::Merge)
        .map_err(|error| RulesError(format!("allowed_syscalls: {name}: {error}")))?;
    notes.push(format!(
        "allowed_syscalls adds what the policy {name} allows to the policy {source}"
    ));
    notes.extend(both.notes);
    Ok(both.policy)
}

/// The same policy with nothing allowed by it.
fn emptied(mut policy: Policy) -> Policy {
    policy.rules.retain(|rule| !rule.action.runs());
    if policy.default.runs() {
        policy.default = callgate_abi::Action::KillProcess;
    }
    policy
}

#[cfg(test)]
mod tests {
    use callgate_abi::Action;
    use callgate_policy::shipped;

    use super::*;

    fn base() -> Policy {
        shipped::load("python").unwrap().unwrap()
    }

    fn listed(words: &[&str], replace: bool) -> Result<(Rules, Vec<String>), RulesError> {
        let change = Change {
            allowed: Allowed::Calls(words.iter().map(|word| (*word).to_owned()).collect()),
            named: None,
            replace,
        };
        Rules::new("python", base(), Some(&change))
    }

    fn says(rules: &Rules, name: &str) -> Action {
        rules.policy().decide(Arch::NATIVE.call(name).unwrap(), &[0; 6])
    }

    #[test]
    fn a_list_adds_to_the_policy_and_says_so() {
        let nr = Arch::NATIVE.call("sched_setaffinity").unwrap().nr().to_string();
        let (rules, notes) = listed(&[&nr, "read", "mount"], false).unwrap();
        assert!(
            ["sched_setaffinity", "mount", "read", "write"]
                .iter()
                .all(|name| says(&rules, name).runs())
        );
        assert!(!says(&rules, "ptrace").runs());
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(
            note.contains("adds") && note.contains("sched_setaffinity") && note.contains("mount"),
            "{note}"
        );
        assert!(!note.contains("read"), "{note}");
    }

    #[test]
    fn a_list_can_take_the_policys_place() {
        let (rules, notes) = listed(&["read", "write"], true).unwrap();
        assert!(says(&rules, "read").runs() && !says(&rules, "openat").runs());
        assert!(notes[0].contains("--replace-allowed"), "{notes:?}");
    }

    #[test]
    fn numbers_without_a_call_are_told_and_unknown_names_refused() {
        let (_, notes) = listed(&["0", "9999"], false).unwrap();
        assert!(notes.iter().any(|note| note.contains("9999")), "{notes:?}");
        let error = listed(&["sched_setafinity"], false).unwrap_err().to_string();
        assert!(error.contains("sched_setafinity"), "{error}");
    }

    #[test]
    fn a_named_policy_is_united_with_the_base() {
        let mut named = Policy::new(Action::KillProcess);
        named
            .allow_here(Arch::NATIVE.call("mount").unwrap(), "x")
            .unwrap();
        let change = |replace| Change {
            allowed: Allowed::Policy("more".into()),
            named: Some(named.clone()),
            replace,
        };
        let (both, notes) = Rules::new("python", base(), Some(&change(false))).unwrap();
        assert!(
            says(&both, "mount").runs() && says(&both, "openat").runs() && notes[0].contains("adds"),
            "{notes:?}"
        );
        let (other, notes) = Rules::new("python", base(), Some(&change(true))).unwrap();
        assert!(
            says(&other, "mount").runs()
                && !says(&other, "openat").runs()
                && notes[0].contains("takes the place"),
            "{notes:?}"
        );
    }

    #[test]
    fn the_remedy_is_a_line_of_the_configuration_that_keeps_what_is_listed() {
        let (rules, _) = listed(&["mount", "9999"], false).unwrap();
        let call = Arch::NATIVE.call("ptrace").unwrap();
        let violation = Violation {
            syscall: "ptrace".into(),
            nr: call.nr(),
            arch: call.abi(),
            args: [0; 6],
            pid: 1,
            tid: 1,
            site: None,
            remedy: None,
        };
        let remedy = rules.remedy(&violation).unwrap();
        assert_eq!(remedy.dify, "allowed_syscalls: [mount, 9999, ptrace]");
        assert!(
            remedy.command.contains("policy allow python ptrace"),
            "{}",
            remedy.command
        );
    }
}
