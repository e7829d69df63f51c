//! Two policies compared by what they decide, whatever their rules and order.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Action, Arch, CompareOp, Syscall};

use crate::verify::{conditional, edges};
use crate::{Policy, Unknown, Verdict};

/// A call that two policies decide differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The call; a number without a name stands for all of them.
    pub call: Syscall,
    /// What the first policy says of it.
    pub first: Verdict,
    /// What the second says.
    pub second: Verdict,
    /// Arguments that show the difference, with both answers. None if the conditions are too many to try,
    /// and the rules are not the same.
    pub example: Option<([u64; 6], Action, Action)>,
}

/// How many values of one argument, and how many combinations of arguments, are tried.
const MOST_VALUES: usize = 4096;
const MOST_POINTS: usize = 1 << 20;

/// The calls that two policies decide differently on one architecture, by number; the first number without
/// a name is asked too, for all of its kind, and the first above the newest known where a policy treats
/// those otherwise.
///
/// Calls with conditions are compared at every combination of their boundary values, from both policies,
/// with masks satisfied singly and together. That decides comparisons of whole values; masks that overlap
/// in part may hide a difference in odd cases.
pub fn compare(first: &Policy, second: &Policy, arch: Arch) -> Vec<Difference> {
    let unnamed = (0..)
        .map(|nr| Syscall::new(arch.abi(), nr))
        .find(|call| call.known_name().is_none());
    let mut calls: BTreeSet<Syscall> = arch.calls().collect();
    calls.extend(unnamed);
    if [first, second]
        .iter()
        .any(|policy| policy.unknown != Unknown::Default)
    {
        calls.insert(Syscall::new(arch.abi(), arch.newest() + 1));
    }
    calls
        .into_iter()
        .filter_map(|call| difference(first, second, call, arch))
        .collect()
}

fn difference(first: &Policy, second: &Policy, call: Syscall, arch: Arch) -> Option<Difference> {
    let verdicts = (first.verdict(call), second.verdict(call));
    let found = |example| {
        let (first, second) = verdicts.clone();
        Some(Difference {
            call,
            first,
            second,
            example,
        })
    };
    if let (Verdict::Always(a), Verdict::Always(b)) = &verdicts {
        return if a == b {
            None
        } else {
            found(Some(([0; 6], *a, *b)))
        };
    }
    let Some(points) = points(&[first, second], call, arch) else {
        return if verdicts.0 == verdicts.1 {
            None
        } else {
            found(None)
        };
    };
    let answers = points
        .into_iter()
        .map(|args| (args, first.decide(call, &args), second.decide(call, &args)));
    let mut differing = answers.filter(|(_, a, b)| a != b);
    differing.next().and_then(|example| found(Some(example)))
}

/// Every combination of the boundary values that the policies have for a call; none if they are too many.
pub(crate) fn points(policies: &[&Policy], call: Syscall, arch: Arch) -> Option<Vec<[u64; 6]>> {
    points_with(policies, call, arch, &BTreeMap::new())
}

/// The same with the values of some arguments known.
pub(crate) fn points_with(
    policies: &[&Policy],
    call: Syscall,
    arch: Arch,
    known: &BTreeMap<u8, BTreeSet<u64>>,
) -> Option<Vec<[u64; 6]>> {
    let nr = call.nr();
    let rules = policies.iter().flat_map(|policy| conditional(policy, arch, nr));
    let conditions: BTreeSet<_> = rules.flat_map(|rule| &rule.args).copied().collect();
    let mut values: BTreeMap<u8, BTreeSet<u64>> = BTreeMap::new();
    for (index, value) in policies.iter().flat_map(|policy| edges(policy, arch, nr)) {
        values.entry(index).or_default().insert(value);
    }
    for condition in conditions {
        let CompareOp::MaskedEq(mask) = condition.op() else {
            continue;
        };
        let own = values.entry(condition.index()).or_default();
        let satisfied: Vec<u64> = own
            .iter()
            .map(|value| value & !mask | condition.value())
            .collect();
        own.extend(satisfied);
        if own.len() > MOST_VALUES {
            return None;
        }
    }
    values.extend(known.iter().map(|(index, known)| (*index, known.clone())));
    let count = values
        .values()
        .try_fold(1usize, |count, own| count.checked_mul(own.len()));
    if count.is_none_or(|count| count > MOST_POINTS) {
        return None;
    }
    let mut points = vec![[0; 6]];
    for (index, own) in &values {
        let with = |point: &[u64; 6], value: u64| {
            let mut point = *point;
            point[usize::from(*index)] = value;
            point
        };
        points = points
            .iter()
            .flat_map(|point| own.iter().map(move |value| with(point, *value)))
            .collect();
    }
    Some(points)
}

#[cfg(test)]
mod tests {
    use callgate_abi::ArgCondition;

    use super::*;
    use crate::Rule;

    fn arg(index: u8, op: CompareOp, value: u64) -> ArgCondition {
        ArgCondition::new(index, op, value).unwrap()
    }

    fn policy(default: Action, rules: Vec<Rule>) -> Policy {
        Policy {
            rules,
            ..Policy::new(default)
        }
    }

    fn names(first: &Policy, second: &Policy) -> Vec<String> {
        compare(first, second, Arch::X86_64)
            .iter()
            .map(|found| found.call.name().into_owned())
            .collect()
    }

    #[test]
    fn rules_in_another_order_split_repeated_or_shadowed_decide_the_same() {
        let family = |value| Rule::new(Action::Allow, ["socket"]).when([arg(0, CompareOp::Eq, value)]);
        let one = policy(
            Action::KillProcess,
            vec![Rule::new(Action::Allow, ["read", "write"]), family(1), family(2)],
        );
        let other = policy(
            Action::KillProcess,
            vec![
                Rule::new(Action::Allow, ["socket"])
                    .when([arg(0, CompareOp::Ge, 1), arg(0, CompareOp::Lt, 3)]),
                Rule::new(Action::Allow, ["write"]),
                Rule::new(Action::Allow, ["read", "write"]).because("again"),
            ],
        );
        assert_eq!(names(&one, &other), [] as [&str; 0]);
    }

    #[test]
    fn a_difference_in_one_argument_has_an_example_that_both_policies_confirm() {
        let limit = |value| {
            let rule = Rule::new(Action::Allow, ["socket"])
                .when([arg(0, CompareOp::Le, value), arg(1, CompareOp::MaskedEq(0xf), 1)]);
            policy(Action::Errno(1), vec![rule])
        };
        let (one, other) = (limit(1 << 40), limit((1 << 40) + 1));
        let found = compare(&one, &other, Arch::X86_64);
        let (args, a, b) = found[0].example.unwrap();
        assert_eq!((args[0], a, b), ((1 << 40) + 1, Action::Errno(1), Action::Allow));
        assert_eq!(one.decide(found[0].call, &args), a);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn masks_that_only_meet_together_are_told_apart() {
        let both = Rule::new(Action::Allow, ["ioctl"]).when([
            arg(1, CompareOp::MaskedEq(0xf0), 0x10),
            arg(1, CompareOp::MaskedEq(0x0f), 0x01),
        ]);
        let never = policy(Action::KillProcess, vec![]);
        assert_eq!(names(&policy(Action::KillProcess, vec![both]), &never), ["ioctl"]);
    }

    #[test]
    fn another_default_shows_in_the_calls_without_a_rule_and_in_the_numbers_without_a_name() {
        let found = compare(
            &policy(Action::KillProcess, vec![]),
            &policy(Action::Trap, vec![]),
            Arch::Aarch64,
        );
        assert_eq!(found.len(), Arch::Aarch64.calls().count() + 1);
        assert!(
            found
                .iter()
                .any(|difference| difference.call.known_name().is_none())
        );
    }

    #[test]
    fn too_many_conditions_to_try_are_reported_and_never_taken_for_the_same() {
        let many = |first: u64| {
            let ops = (0..6).flat_map(|i| (first..first + 40).map(move |v| arg(i, CompareOp::Ne, v * 1000)));
            policy(
                Action::KillProcess,
                vec![Rule::new(Action::Allow, ["ioctl"]).when(ops)],
            )
        };
        let found = compare(&many(1), &many(2), Arch::X86_64);
        assert_eq!((found.len(), found[0].example), (1, None));
        assert_eq!(names(&many(1), &many(1)), [] as [&str; 0]);
    }
}
