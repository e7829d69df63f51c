//! Changes to a policy that keep everything else of it: rules, order, comments.

mod choice;
mod conditional;
mod error;

use callgate_abi::{Action, Arch, ArgCondition, CompareOp, Syscall};

pub(crate) use conditional::Alternative;
pub use conditional::Amended;
pub use error::{AmendError, DenyError};

use crate::translate::counterparts;
use crate::{Policy, Rule, UnknownCall, Verdict, names, siblings};

/// The flags of clone that make namespaces, `CLONE_NEWTIME` aside, which clone does not take.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// What limits a call that stands for another one: what the original can't do, it need not do either. clone
/// stands for fork, which makes no namespaces.
pub(crate) fn limits(call: Syscall) -> Alternative {
    let no_namespaces = ArgCondition::new(0, CompareOp::MaskedEq(CLONE_NAMESPACES), 0);
    match call.known_name() {
        Some("clone") => no_namespaces.into_iter().collect(),
        _ => Vec::new(),
    }
}

impl Policy {
    /// Allows a call whatever its arguments, on every architecture that has it, and on the others the
    /// calls that libc makes in its place. Rules that refuse it there are lifted for it alone. The rules
    /// that are added carry `provenance` as their comment.
    ///
    /// Returns the calls that were not allowed before and are now; none if nothing had to change.
    ///
    /// # Errors
    /// [`AmendError`] if a policy can't say it. Nothing is changed then.
    pub fn allow(&mut self, call: Syscall, provenance: &str) -> Result<Vec<Syscall>, AmendError> {
        let (arch, name) = nameable(call)?;
        let mut added: Vec<Syscall> = Vec::new();
        let same: Vec<Syscall> = Arch::ALL
            .iter()
            .filter_map(|arch| names::on(*arch, name))
            .collect();
        added.extend(self.open(&same, provenance));
        for other in Arch::ALL.into_iter().filter(|other| *other != arch) {
            added.extend(self.open_instead(call, other, &format!(": {provenance}"))?);
        }
        Ok(added)
    }

    /// Allows a call on its own architecture alone, as [`Policy::allow`] does.
    ///
    /// # Errors
    /// [`AmendError`] if a policy can't say it.
    pub fn allow_here(&mut self, call: Syscall, provenance: &str) -> Result<Vec<Syscall>, AmendError> {
        nameable(call)?;
        Ok(self.open(&[call], provenance))
    }

    /// Opens what libc calls in the place of a call on an architecture that lacks it, no wider than the call.
    fn open_instead(&mut self, call: Syscall, there: Arch, why: &str) -> Result<Vec<Syscall>, AmendError> {
        let mut added = Vec::new();
        for found in counterparts(call, there) {
            if found.same || found.guess.is_some() {
                continue;
            }
            let comment = format!("{there} equivalent of {}{why}", call.name());
            let opened = self.open_when(found.call, &[limits(found.call)], &comment, &mut Vec::new())?;
            added.extend(opened.then_some(found.call));
        }
        Ok(added)
    }

    /// Takes a name out of every rule, so that the default applies to it. Returns whether it was in one.
    ///
    /// # Errors
    /// [`UnknownCall`] for a name that Linux does not have.
    pub fn remove(&mut self, name: &str) -> Result<bool, UnknownCall> {
        names::check(name)?;
        let mut found = false;
        for rule in &mut self.rules {
            let before = rule.names.len();
            rule.names.retain(|n| n != name);
            found |= rule.names.len() != before;
        }
        self.rules.retain(|rule| !rule.names.is_empty());
        Ok(found)
    }

    /// Refuses a call whatever its arguments, on every architecture: with `action`, or with the default
    /// if that refuses, or else with EPERM. Returns the calls that do the same job and still run.
    ///
    /// # Errors
    /// [`DenyError`]: a name that Linux does not have, or an action that lets it run.
    pub fn deny(
        &mut self,
        name: &str,
        action: Option<Action>,
        provenance: &str,
    ) -> Result<Vec<&'static str>, DenyError> {
        const EPERM: u16 = 1;
        let action = match action {
            Some(action) => action,
            None if self.default.runs() => Action::Errno(EPERM),
            None => self.default,
        };
        if action.runs() {
            return Err(DenyError::Runs(action));
        }
        self.remove(name)?;
        if action != self.default {
            self.admit(name, action, provenance, None);
        }
        let runs = |other: &&str| {
            let calls = Arch::ALL.iter().filter_map(|arch| names::on(*arch, other));
            calls.into_iter().any(|call| self.verdict(call).may_run())
        };
        Ok(siblings(name).into_iter().filter(runs).collect())
    }

    /// Allows calls that share a name, each on its own architecture; returns those that were refused before.
    pub(crate) fn open(&mut self, same_name: &[Syscall], comment: &str) -> Vec<Syscall> {
        let closed = self.refused(same_name);
        for call in &closed {
            self.lift(*call);
        }
        let refused = self.refused(&closed);
        for call in &refused {
            let Some((arch, name)) = call.arch().zip(call.known_name()) else {
                continue;
            };
            let everywhere = Arch::ALL
                .iter()
                .filter_map(|arch| names::on(*arch, name))
                .all(|c| refused.contains(&c));
            self.admit(name, Action::Allow, comment, (!everywhere).then_some(arch));
        }
        closed
    }

    /// Those of the calls that don't run for all arguments.
    fn refused(&self, calls: &[Syscall]) -> Vec<Syscall> {
        let runs = |call: Syscall| matches!(self.verdict(call), Verdict::Always(action) if action.runs());
        calls.iter().copied().filter(|call| !runs(*call)).collect()
    }

    /// Adds a name under an unconditional rule with that action and comment: to the one that exists, else
    /// to a new one at the end.
    pub(crate) fn admit(&mut self, name: &str, action: Action, comment: &str, only_on: Option<Arch>) {
        let mut fresh = Rule::new(action, [name]).because(comment);
        if let Some(arch) = only_on {
            fresh = fresh.only_on(arch);
        }
        let twin = self.rules.iter_mut().find(|rule| {
            rule.action == action
                && rule.args.is_empty()
                && rule.comment == fresh.comment
                && rule.arches == fresh.arches
        });
        match twin {
            Some(rule) if rule.names.iter().any(|n| n == name) => {}
            Some(rule) => rule.names.push(name.to_owned()),
            None => self.rules.push(fresh),
        }
    }

    /// Takes a call out of the rules that refuse it on its architecture; on the others they stay.
    fn lift(&mut self, call: Syscall) {
        self.take_out(call, |rule| rule.action != Action::Allow);
    }

    /// Takes a call out of those rules of its architecture; on the others they stay.
    pub(crate) fn take_out(&mut self, call: Syscall, of: impl Fn(&Rule) -> bool) {
        let Some((arch, name)) = call.arch().zip(call.known_name()) else {
            return;
        };
        let others: Vec<Arch> = Arch::ALL
            .into_iter()
            .filter(|other| *other != arch && names::on(*other, name).is_some())
            .collect();
        let mut rules = Vec::with_capacity(self.rules.len());
        for mut rule in std::mem::take(&mut self.rules) {
            let concerned = of(&rule) && rule.applies_to(arch);
            if !concerned || !rule.names.iter().any(|n| n == name) {
                rules.push(rule);
                continue;
            }
            rule.names.retain(|n| n != name);
            let left: Vec<Rule> = others
                .iter()
                .filter(|other| rule.applies_to(**other))
                .map(|other| {
                    Rule {
                        names: vec![name.to_owned()],
                        ..rule.clone()
                    }
                    .only_on(*other)
                })
                .collect();
            if !rule.names.is_empty() {
                rules.push(rule);
            }
            rules.extend(left);
        }
        self.rules = rules;
    }
}

/// The architecture and name under which a policy file can speak of the call.
pub(crate) fn nameable(call: Syscall) -> Result<(Arch, &'static str), AmendError> {
    let Some(arch) = call.arch() else {
        return Err(AmendError::Compatibility {
            abi: call.abi(),
            name: call.name().into_owned(),
        });
    };
    match call.known_name() {
        Some(name) => Ok((arch, name)),
        None => Err(AmendError::Unnamed { nr: call.nr(), arch }),
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::Abi;

    use super::*;

    fn amd64(name: &str) -> Syscall {
        Arch::X86_64.call(name).unwrap()
    }

    fn arm64(name: &str) -> Syscall {
        Arch::Aarch64.call(name).unwrap()
    }

    #[test]
    fn an_allowed_call_is_allowed_on_both_architectures_with_its_provenance() {
        let mut policy = Policy::new(Action::KillProcess);
        let added = policy
            .allow(amd64("sched_getaffinity"), "found at enforcement")
            .unwrap();
        assert_eq!(added, [amd64("sched_getaffinity"), arm64("sched_getaffinity")]);
        assert_eq!(
            policy.rules,
            [Rule::new(Action::Allow, ["sched_getaffinity"]).because("found at enforcement")]
        );
        assert_eq!(policy.allow(amd64("sched_getaffinity"), "again").unwrap(), []);
        assert_eq!(
            policy
                .allow(amd64("gettid"), "found at enforcement")
                .unwrap()
                .len(),
            2
        );
        assert_eq!(policy.rules.len(), 1);
    }

    #[test]
    fn a_name_that_arm64_lacks_brings_its_equivalent_there_and_only_there() {
        let mut policy = Policy::new(Action::KillProcess);
        assert_eq!(
            policy.allow(amd64("mkdir"), "needed").unwrap(),
            [amd64("mkdir"), arm64("mkdirat")]
        );
        assert_eq!(policy.decide(amd64("mkdirat"), &[0; 6]), Action::KillProcess);
        assert_eq!(
            policy.rules[1].comment.as_deref(),
            Some("arm64 equivalent of mkdir: needed")
        );
    }

    #[test]
    fn a_refusal_is_lifted_for_the_allowed_call_alone_and_stays_elsewhere() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Errno(1), ["mkdir", "mkdirat", "clone"]).because("refused"),
            Rule::new(Action::Errno(13), ["mkdir"]).when([ArgCondition::new(1, CompareOp::Gt, 7).unwrap()]),
        ];
        policy.allow(amd64("mkdir"), "needed").unwrap();
        for args in [[0; 6], [0, 8, 0, 0, 0, 0]] {
            assert_eq!(policy.decide(amd64("mkdir"), &args), Action::Allow);
        }
        assert_eq!(policy.decide(amd64("mkdirat"), &[0; 6]), Action::Errno(1));
        assert_eq!(policy.decide(arm64("mkdirat"), &[0; 6]), Action::Allow);
        assert_eq!(policy.decide(arm64("clone"), &[0; 6]), Action::Errno(1));
        assert!(Policy::parse(&policy.to_json().unwrap()).is_ok());
    }

    #[test]
    fn a_default_that_allows_needs_the_refusal_lifted_and_no_rule() {
        let mut policy = Policy::new(Action::Allow);
        policy.rules = vec![Rule::new(Action::Errno(1), ["ptrace"])];
        assert_eq!(policy.allow(amd64("ptrace"), "debugging").unwrap().len(), 2);
        assert_eq!(policy.rules, []);
    }

    #[test]
    fn what_a_policy_cannot_say_is_an_error_and_changes_nothing() {
        let mut policy = Policy::new(Action::KillProcess);
        let i386 = policy.allow(Syscall::new(Abi::I386, 20), "x").unwrap_err();
        assert!(i386.to_string().contains("i386 entry"));
        let unnamed = policy.allow(Syscall::new(Abi::X86_64, 999), "x").unwrap_err();
        assert!(unnamed.to_string().contains("number 999"));
        assert_eq!(policy, Policy::new(Action::KillProcess));
    }

    #[test]
    fn a_removed_name_gets_the_default_and_a_misspelt_one_is_an_error() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["read"]),
            Rule::new(Action::Allow, ["write", "close"]),
        ];
        assert_eq!(policy.remove("read"), Ok(true));
        assert_eq!(policy.remove("read"), Ok(false));
        assert_eq!(policy.rules.len(), 1);
        assert_eq!(policy.remove("wrte").unwrap_err().nearest, Some("write"));
    }

    #[test]
    fn a_denied_call_is_refused_by_every_policy_and_its_open_siblings_are_told() {
        let openat = amd64("openat");
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["openat", "open", "read"]),
            Rule::new(Action::Allow, ["openat"]).when([ArgCondition::new(2, CompareOp::Eq, 0).unwrap()]),
        ];
        assert_eq!(policy.deny("openat", None, "x"), Ok(vec!["open"]));
        assert_eq!(policy.verdict(openat), Verdict::Always(Action::KillProcess));
        policy.deny("openat", Some(Action::Errno(38)), "by hand").unwrap();
        assert_eq!(policy.verdict(openat), Verdict::Always(Action::Errno(38)));
        assert_eq!(policy.rules.last().unwrap().comment.as_deref(), Some("by hand"));
        let mut open = Policy::new(Action::Allow);
        open.deny("ptrace", None, "x").unwrap();
        assert_eq!(open.verdict(arm64("ptrace")), Verdict::Always(Action::Errno(1)));
        assert_eq!(
            open.deny("read", Some(Action::Log), "x"),
            Err(DenyError::Runs(Action::Log))
        );
        assert!(
            open.deny("raed", None, "x")
                .unwrap_err()
                .to_string()
                .contains("\"read\"")
        );
    }
}
