//! The values at which the conditions of a policy change their answer.

use std::collections::BTreeSet;

use callgate_abi::{Arch, ArgCondition, CompareOp, Syscall};

use crate::{Policy, Rule};

/// Every value at which a condition of the policy for this architecture may change its answer: one below,
/// at and above, and with either half changed. By argument.
pub fn edges(policy: &Policy, arch: Arch, nr: u32) -> BTreeSet<(u8, u64)> {
    conditional(policy, arch, nr)
        .into_iter()
        .flat_map(edges_of)
        .collect()
}

/// The rules with conditions that concern this call.
pub(crate) fn conditional(policy: &Policy, arch: Arch, nr: u32) -> Vec<&Rule> {
    let Some(wanted) = Syscall::new(arch.abi(), nr).known_name() else {
        return Vec::new();
    };
    policy
        .rules_for(arch)
        .map(|(_, rule)| rule)
        .filter(|rule| !rule.args.is_empty() && rule.names.iter().any(|name| name == wanted))
        .collect()
}

/// The edges of one rule.
pub(super) fn edges_of(rule: &Rule) -> BTreeSet<(u8, u64)> {
    let of = |condition: &ArgCondition| {
        let index = condition.index();
        around(*condition).into_iter().map(move |value| (index, value))
    };
    rule.args.iter().flat_map(of).collect()
}

/// Arguments for which the rule holds, if its own edges have such; the others are 0.
pub(super) fn witness(rule: &Rule) -> Option<[u64; 6]> {
    let edges = edges_of(rule);
    let mut args = [0; 6];
    for index in rule.args.iter().map(|condition| condition.index()) {
        let own = || rule.args.iter().filter(|condition| condition.index() == index);
        let fits = |value: u64| own().all(|condition| condition.holds(&[value; 6]));
        let found = edges.iter().find(|(i, value)| *i == index && fits(*value));
        args[usize::from(index)] = found?.1;
    }
    Some(args)
}

fn around(condition: ArgCondition) -> [u64; 16] {
    let (value, high) = (condition.value(), 1 << 32);
    let mask = match condition.op() {
        CompareOp::MaskedEq(mask) => mask,
        _ => 0,
    };
    [
        value,
        value.wrapping_sub(1),
        value.wrapping_add(1),
        value ^ high,
        value.wrapping_add(high),
        value | !mask,
        value ^ (mask & mask.wrapping_neg()),
        mask,
        !mask,
        0,
        1,
        u64::MAX,
        u64::from(u32::MAX),
        high,
        value & 0xffff_ffff,
        value & !0xffff_ffff,
    ]
}

#[cfg(test)]
mod tests {
    use callgate_abi::Action;

    use super::*;

    fn arg(index: u8, op: CompareOp, value: u64) -> ArgCondition {
        ArgCondition::new(index, op, value).unwrap()
    }

    #[test]
    fn a_witness_satisfies_all_conditions_of_its_rule_also_several_on_one_argument() {
        let rule = Rule::new(Action::Allow, ["ioctl"]).when([
            arg(0, CompareOp::Eq, 5),
            arg(1, CompareOp::Ge, 10),
            arg(1, CompareOp::Lt, 12),
            arg(2, CompareOp::MaskedEq(0xff00), 0x1200),
        ]);
        let args = witness(&rule).unwrap();
        assert!(rule.holds(&args), "{args:x?}");
        let never =
            Rule::new(Action::Allow, ["ioctl"]).when([arg(0, CompareOp::Eq, 5), arg(0, CompareOp::Eq, 6)]);
        assert_eq!(witness(&never), None);
    }

    #[test]
    fn the_edges_lie_on_both_sides_of_a_limit_and_in_both_halves() {
        let mut policy = Policy::new(Action::KillProcess);
        let limit = 0x2_0000_0005;
        policy.rules = vec![Rule::new(Action::Allow, ["read"]).when([arg(2, CompareOp::Le, limit)])];
        let found = edges(&policy, Arch::X86_64, 0);
        for value in [
            limit - 1,
            limit,
            limit + 1,
            5,
            0x2_0000_0000,
            0x3_0000_0005,
            u64::MAX,
        ] {
            assert!(found.contains(&(2, value)), "{value:#x}");
        }
        assert!(edges(&policy, Arch::X86_64, 1).is_empty());
    }
}
