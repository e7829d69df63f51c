//! Rules without effect.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, ArgCondition, Severity};

use super::Finding;
use crate::{Policy, Rule, Verdict, names};

/// Names in rules that change nothing, as other rules or the default say the same. Of two rules that say
/// the same, the later one is reported.
pub(super) fn find(policy: &Policy, arches: &[Arch]) -> Vec<Finding> {
    let mut left = policy.clone();
    let mut found = Vec::new();
    for index in (0..policy.rules.len()).rev() {
        let mut idle: Vec<String> = Vec::new();
        for name in policy.rules[index].names.iter().collect::<BTreeSet<_>>() {
            let mut without = left.clone();
            without.rules[index].names.retain(|n| n != name);
            let known = arches.iter().any(|arch| names::on(*arch, name).is_some());
            if known
                && arches
                    .iter()
                    .all(|arch| meaning(&without, *arch, name) == meaning(&left, *arch, name))
            {
                idle.push(name.clone());
                left = without;
            }
        }
        if !idle.is_empty() {
            found.push(finding(&policy.rules[index], index, &idle, arches));
        }
    }
    found
}

fn finding(rule: &Rule, index: usize, idle: &[String], arches: &[Arch]) -> Finding {
    let whole = rule.names.iter().all(|name| idle.contains(name));
    let list = idle.join(", ");
    Finding {
        severity: Severity::Note,
        kind: "shadowed-rule",
        call: None,
        rule: Some(index),
        arches: arches.to_vec(),
        reason: match whole {
            true => format!(
                "the rule ({} for {list}) changes nothing: others, or the default, say the same",
                rule.action
            ),
            false => format!("in this rule {list} changes nothing: others, or the default, say the same"),
        },
        cve: None,
        mend: "take it out".into(),
    }
}

/// A verdict with the order and repetition of its rules taken out.
type Meaning = (BTreeSet<Action>, BTreeSet<(Action, BTreeSet<ArgCondition>)>);

fn meaning(policy: &Policy, arch: Arch, name: &str) -> Option<Meaning> {
    let call = names::on(arch, name)?;
    Some(match policy.verdict(call) {
        Verdict::Always(action) => (BTreeSet::from([action]), BTreeSet::new()),
        Verdict::Depends { actions, rules, .. } => {
            let plain = rules
                .into_iter()
                .map(|(action, args)| (action, args.into_iter().collect()));
            (actions.into_iter().collect(), plain.collect())
        }
    })
}

#[cfg(test)]
mod tests {
    use callgate_abi::CompareOp;

    use super::*;

    #[test]
    fn of_rules_that_say_the_same_the_later_is_reported_and_the_others_are_not() {
        let eq = |value| ArgCondition::new(0, CompareOp::Eq, value).unwrap();
        let policy = Policy {
            rules: vec![
                Rule::new(Action::Allow, ["read", "socket"]),
                Rule::new(Action::Allow, ["socket"]).when([eq(1)]),
                Rule::new(Action::Allow, ["write", "read"]),
                Rule::new(Action::KillProcess, ["bpf"]),
                Rule::new(Action::Errno(1), ["socket"]).when([eq(2)]),
                Rule::new(Action::Allow, ["_llseek"]),
            ],
            ..Policy::new(Action::KillProcess)
        };
        let found = find(&policy, &Arch::ALL);
        let rules: Vec<Option<usize>> = found.iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, [Some(3), Some(2), Some(1)]);
        assert!(
            found[0]
                .reason
                .contains("the rule (kill for bpf) changes nothing")
        );
        assert!(found[1].reason.contains("in this rule read changes nothing"));
    }
}
