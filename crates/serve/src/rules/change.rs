//! What `allowed_syscalls` does to a policy: it adds to it, or takes its place.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, Syscall};
use callgate_policy::{Combination, Policy, combine, known_name};

use super::RulesError;
use crate::config::Allowed;

/// What the added rules are commented with.
const PROVENANCE: &str = "in allowed_syscalls of the server's configuration";

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

impl Change {
    /// The policy with the change made; `source` is what it is called. The notes are sentences on what was changed.
    pub(super) fn of(
        &self,
        source: &str,
        base: Policy,
        notes: &mut Vec<String>,
    ) -> Result<Policy, RulesError> {
        match (&self.allowed, &self.named) {
            (Allowed::Calls(words), _) => {
                let calls = calls(words, notes)?;
                amended(source, base, &calls, self.replace, notes)
            }
            (Allowed::Policy(name), Some(named)) => united(source, base, name, named, self.replace, notes),
            (Allowed::Policy(name), None) => Err(RulesError(format!(
                "allowed_syscalls: the policy {name} was not read"
            ))),
        }
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
        policy.default = Action::KillProcess;
    }
    policy
}
