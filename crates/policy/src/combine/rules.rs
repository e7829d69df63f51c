//! The rules that give one call what two policies together say of it.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, ArgCondition, Syscall};

use super::{Combination, CombineError};
use crate::{Policy, Rule, Verdict};

/// What a call gets where no condition holds, and the rules with conditions.
type Parts = (Action, Vec<(Action, Vec<ArgCondition>)>);
/// The rules for a call; none if the default says it.
pub(super) fn rules_for(
    first: &Policy,
    second: &Policy,
    how: Combination,
    call: Syscall,
    arch: Arch,
) -> Result<Vec<Rule>, CombineError> {
    let ((base_a, a), (base_b, b)) = (parts(first, call), parts(second, call));
    let mut conditional: Vec<(Action, Vec<ArgCondition>)> = Vec::new();
    if (base_a, &a) == (base_b, &b) {
        conditional.extend(a);
    } else {
        // Where rules of both hold. Elsewhere the other's base counts, which undoes softer rules in an
        // intersection and harder ones in a merge.
        let undone = |x: Action, y: Action| match how {
            Combination::Intersect => x < base_a && y < base_b,
            Combination::Merge => x > base_a && y > base_b,
        };
        for (x, args) in &a {
            for (y, others) in b.iter().filter(|(y, _)| undone(*x, *y)) {
                let both: BTreeSet<ArgCondition> = args.iter().chain(others).copied().collect();
                conditional.push((how.of(*x, *y), both.into_iter().collect()));
            }
        }
        conditional.extend(a.into_iter().map(|(action, args)| (how.of(action, base_b), args)));
        conditional.extend(b.into_iter().map(|(action, args)| (how.of(action, base_a), args)));
    }
    let base = how.of(base_a, base_b);
    let default = how.of(first.default, second.default);
    let mut rules = Vec::new();
    let rule = |action, args: Vec<ArgCondition>| Rule {
        comment: comment(&[first, second], arch, &call.name(), action, &args),
        ..Rule::new(action, [call.name()]).when(args)
    };
    if base != default {
        rules.push(rule(base, Vec::new()));
    }
    for (action, args) in conditional {
        let fresh = rule(action, args);
        if action != base && !rules.contains(&fresh) {
            rules.push(fresh);
        }
    }
    Ok(rules)
}

fn parts(policy: &Policy, call: Syscall) -> Parts {
    match policy.verdict(call) {
        Verdict::Always(action) => (action, Vec::new()),
        Verdict::Depends { base, rules, .. } => (base, rules),
    }
}

/// The comment of the rule that gives the call this action under these conditions; else under some of them,
/// else whatever they are, else of one that names it.
fn comment(
    policies: &[&Policy],
    arch: Arch,
    name: &str,
    action: Action,
    args: &[ArgCondition],
) -> Option<String> {
    let rules = || {
        let all = policies
            .iter()
            .flat_map(|policy| policy.rules_for(arch))
            .map(|(_, rule)| rule);
        all.filter(|rule| rule.names.iter().any(|n| n == name))
    };
    let like = |wanted: &dyn Fn(&Rule) -> bool| rules().find(|rule| rule.action == action && wanted(rule));
    let found = like(&|rule| rule.args == args)
        .or_else(|| like(&|rule| !rule.args.is_empty() && rule.args.iter().all(|arg| args.contains(arg))))
        .or_else(|| like(&|_| true))
        .or_else(|| rules().next());
    found.and_then(|rule| rule.comment.clone())
}

/// Adds a rule for one name to the rule that is like it, else at the end.
pub(super) fn add(policy: &mut Policy, rule: Rule) {
    let like = |other: &&mut Rule| {
        (other.action, &other.args, &other.comment, &other.arches)
            == (rule.action, &rule.args, &rule.comment, &rule.arches)
    };
    match policy.rules.iter_mut().find(like) {
        Some(other) => other.names.extend(rule.names),
        None => policy.rules.push(rule),
    }
}
