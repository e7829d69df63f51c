//! A call that is allowed for some values of one argument and refused for all others, as rules.
//!
//! The most restrictive matching rule counts, so "refused, but for these" has to be written as a refusal of each
//! range of other values.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, ArgCondition, CompareOp, Syscall};

use super::Alternative;
use crate::compare::points;
use crate::when::LOW;
use crate::{Policy, Rule};

/// The most values that are listed one by one to refuse what lies between allowed ones.
const MOST_BETWEEN: u64 = 64;

/// A call that is allowed for some values of one argument, and refused otherwise with an action that is not
/// the default.
pub(super) struct Choice {
    /// The argument; none while nothing is allowed.
    index: Option<u8>,
    allowed: BTreeSet<u64>,
    pub(super) refusal: Action,
    comment: Option<String>,
}

impl Choice {
    /// What the policy says of the call, if it has that form.
    pub(super) fn of(policy: &Policy, call: Syscall, arch: Arch) -> Option<Self> {
        let name = call.known_name()?;
        let rules: Vec<&Rule> = policy
            .rules_for(arch)
            .map(|(_, rule)| rule)
            .filter(|rule| rule.names.iter().any(|n| n == name))
            .collect();
        let refusing = rules.iter().find(|rule| !rule.action.runs())?;
        let (refusal, comment) = (refusing.action, refusing.comment.clone());
        let allowed: Option<BTreeSet<(u8, u64)>> = rules
            .iter()
            .filter(|rule| rule.action.runs())
            .map(|rule| match rule.args.as_slice() {
                [one] if one.op() == CompareOp::Eq => Some((one.index(), one.value())),
                _ => None,
            })
            .collect();
        let allowed = allowed?;
        let index = allowed.first().map(|(index, _)| *index);
        let choice = Self {
            index,
            allowed: allowed.iter().map(|(_, value)| *value).collect(),
            refusal,
            comment,
        };
        let says = |args: &[u64; 6]| match index {
            Some(index) if choice.allowed.contains(&args[usize::from(index)]) => Action::Allow,
            _ => refusal,
        };
        let all = points(&[policy], call, arch)?;
        let one_argument = allowed.iter().all(|(other, _)| Some(*other) == index);
        (one_argument && all.iter().all(|args| policy.decide(call, args) == says(args))).then_some(choice)
    }

    /// The same with more allowed; none if rules can't say it.
    pub(super) fn with(&self, alternatives: &[Alternative]) -> Option<Self> {
        let mut allowed = self.allowed.clone();
        let mut index = self.index;
        for alternative in alternatives {
            let [one] = alternative.as_slice() else {
                return None;
            };
            if !matches!(one.op(), CompareOp::Eq | CompareOp::MaskedEq(LOW))
                || index.is_some_and(|index| index != one.index())
            {
                return None;
            }
            index = Some(one.index());
            allowed.insert(one.value());
        }
        let wider = Self {
            index,
            allowed,
            refusal: self.refusal,
            comment: self.comment.clone(),
        };
        wider.others().is_some().then_some(wider)
    }

    /// Conditions of which one holds for every value that is not allowed.
    fn others(&self) -> Option<Vec<ArgCondition>> {
        let index = self.index?;
        let new = |op, value| ArgCondition::new(index, op, value).ok();
        let (first, last) = (*self.allowed.first()?, *self.allowed.last()?);
        if self.allowed.len() == 1 {
            return Some(vec![new(CompareOp::Ne, first)?]);
        }
        if last - first > MOST_BETWEEN {
            return None;
        }
        let between = (first..last).filter(|value| !self.allowed.contains(value));
        let between = between.map(|value| new(CompareOp::Eq, value));
        // Below zero and above the greatest value there is nothing.
        let ends = [new(CompareOp::Lt, first), new(CompareOp::Gt, last)]
            .into_iter()
            .flatten();
        between.chain(ends.map(Some)).collect()
    }

    /// Puts it in the place of what the policy says of the call on its architecture.
    pub(super) fn write(
        self,
        policy: &mut Policy,
        call: Syscall,
        comment: &dyn Fn(&[ArgCondition]) -> String,
    ) {
        let (Some(index), Some(others), Some((arch, name))) =
            (self.index, self.others(), call.arch().zip(call.known_name()))
        else {
            return;
        };
        policy.take_out(call, |rule| !rule.action.runs());
        let known = |policy: &Policy, condition: ArgCondition| {
            policy.rules.iter().any(|rule| {
                rule.applies_to(arch) && rule.names.iter().any(|n| n == name) && rule.args == [condition]
            })
        };
        for value in &self.allowed {
            let Ok(condition) = ArgCondition::new(index, CompareOp::Eq, *value) else {
                continue;
            };
            if !known(policy, condition) {
                // In words, the value has its name; the comparison is of all 64 bits.
                let half = ArgCondition::new(index, CompareOp::MaskedEq(LOW), *value).unwrap_or(condition);
                let rule = Rule::new(Action::Allow, [name])
                    .when([condition])
                    .because(comment(&[half]));
                policy.rules.push(rule.only_on(arch));
            }
        }
        for condition in others {
            let rule = Rule {
                comment: self.comment.clone(),
                ..Rule::new(self.refusal, [name]).when([condition]).only_on(arch)
            };
            policy.rules.push(rule);
        }
    }
}
