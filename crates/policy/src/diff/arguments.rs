//! Conditions of a policy held against the arguments that were seen.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Action, Arch, ArgCondition, ArgKey, CompareOp, KeySet, Syscall, is_key};
use serde::Serialize;

use crate::amend::Alternative;
use crate::compare::points_with;
use crate::when::LOW;
use crate::{Policy, Verdict};

/// A value of an argument that was seen and that the policy refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArgumentDiff {
    /// Which argument, from 0.
    pub index: u8,
    /// Its value, as the kernel reads it.
    pub value: u64,
    /// The value's name in the kernel's headers.
    pub name: String,
    /// What the policy does to the call with it.
    pub action: String,
}

/// What becomes of a call with the arguments that were seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The same for all of them.
    Sure(Action),
    /// Some are refused: the hardest of the answers, the values, and what has to be allowed.
    Refused(Action, Vec<ArgumentDiff>, Vec<Alternative>),
    /// It depends on what was not recorded; why.
    Unsure(String),
}

/// How many combinations of arguments are put into a change one by one.
const MOST_ALTERNATIVES: usize = 32;

pub(crate) fn fate(policy: &Policy, call: Syscall, arch: Arch, seen: &KeySet) -> Fate {
    let rules = match policy.verdict(call) {
        Verdict::Always(action) => return Fate::Sure(action),
        Verdict::Depends { rules, .. } => rules,
    };
    let asked: BTreeSet<u8> = rules
        .iter()
        .flat_map(|(_, args)| args)
        .map(|condition| condition.index())
        .collect();
    let told = |index: &u8| is_key(call, *index) && seen.of(*index).count() > 0 && !seen.is_many(*index);
    let known: BTreeMap<u8, BTreeSet<u64>> = asked
        .iter()
        .filter(|index| told(index))
        .map(|index| {
            (
                *index,
                seen.of(*index).flat_map(|key| filled(key.value)).collect(),
            )
        })
        .collect();
    let answers = |known: &BTreeMap<u8, BTreeSet<u64>>| -> Option<Vec<Action>> {
        let all = points_with(&[policy], call, arch, known)?;
        Some(all.iter().map(|args| policy.decide(call, args)).collect())
    };
    let Some(all) = answers(&known) else {
        return Fate::Unsure("the conditions are too many to try".into());
    };
    let (softest, hardest) = (all.iter().min().copied(), all.iter().max().copied());
    if let (Some(softest), Some(hardest)) = (softest, hardest) {
        if hardest.runs() || !softest.runs() && known.is_empty() {
            return Fate::Sure(softest);
        }
        if !softest.runs() {
            let every = seen.iter().filter(|key| known.contains_key(&key.index));
            let differences = every.map(|key| difference(key, softest)).collect();
            return Fate::Refused(softest, differences, alternatives(policy, call, arch, &known));
        }
    }
    // A value with which the call is refused whatever the other arguments are.
    let mut refused = Vec::new();
    let keys = seen
        .iter()
        .filter(|key| asked.contains(&key.index) && is_key(call, key.index));
    for key in keys {
        let mut with = known.clone();
        with.insert(key.index, filled(key.value).into());
        let softest = answers(&with).and_then(|answers| answers.into_iter().min());
        if let Some(action) = softest.filter(|action| !action.runs()) {
            refused.push((key, action));
        }
    }
    let Some(hardest) = refused.iter().map(|(_, action)| *action).max() else {
        return Fate::Unsure(untold(&asked, &known, seen));
    };
    let differences = refused
        .iter()
        .map(|(key, action)| difference(key, *action))
        .collect();
    let mut needed = alternatives(policy, call, arch, &known);
    if needed.is_empty() {
        // Of an argument with many values, those that were kept.
        needed = refused
            .iter()
            .filter_map(|(key, _)| equal(key.index, key.value))
            .map(|c| vec![c])
            .collect();
    }
    Fate::Refused(hardest, differences, needed)
}

/// A 32-bit value as it stands in 64 bits: the upper half is empty, or filled with the sign.
fn filled(value: u64) -> [u64; 2] {
    [value, value as u32 as i32 as i64 as u64]
}

fn difference(key: &ArgKey, action: Action) -> ArgumentDiff {
    ArgumentDiff {
        index: key.index,
        value: key.value,
        name: key.name.clone(),
        action: action.to_string(),
    }
}

fn equal(index: u8, value: u64) -> Option<ArgCondition> {
    ArgCondition::new(index, CompareOp::MaskedEq(LOW), value & LOW).ok()
}

/// The combinations of known values with which the call never runs.
fn alternatives(
    policy: &Policy,
    call: Syscall,
    arch: Arch,
    known: &BTreeMap<u8, BTreeSet<u64>>,
) -> Vec<Alternative> {
    let mut combinations: Vec<BTreeMap<u8, u64>> = vec![BTreeMap::new()];
    for (index, values) in known {
        let low: BTreeSet<u64> = values.iter().map(|value| value & LOW).collect();
        combinations = combinations
            .iter()
            .flat_map(|before| {
                low.iter().map(move |value| {
                    let mut combination = before.clone();
                    combination.insert(*index, *value);
                    combination
                })
            })
            .collect();
    }
    let refused = |combination: &BTreeMap<u8, u64>| {
        let fixed = combination
            .iter()
            .map(|(index, value)| (*index, BTreeSet::from([*value])));
        let all = points_with(&[policy], call, arch, &fixed.collect());
        all.is_some_and(|all| all.iter().all(|args| !policy.decide(call, args).runs()))
    };
    if known.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<Alternative> = combinations
        .into_iter()
        .filter(refused)
        .map(|combination| {
            let conditions = combination
                .into_iter()
                .filter_map(|(index, value)| equal(index, value));
            conditions.collect()
        })
        .collect();
    found.truncate(MOST_ALTERNATIVES);
    found
}

/// Why it can't be told.
fn untold(asked: &BTreeSet<u8>, known: &BTreeMap<u8, BTreeSet<u64>>, seen: &KeySet) -> String {
    let unknown: Vec<String> = asked
        .iter()
        .filter(|index| !known.contains_key(index))
        .map(|index| match seen.is_many(*index) {
            true => format!("argument {index} had more values than a trace keeps"),
            false => format!("the trace does not tell argument {index}"),
        })
        .collect();
    match unknown.is_empty() {
        true => "the trace tells each argument, but not which came together".into(),
        false => unknown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::keys;

    use super::*;
    use crate::{Rule, when};

    fn amd64(name: &str) -> Syscall {
        Arch::X86_64.call(name).unwrap()
    }

    fn seen(name: &str, all: &[[u64; 3]]) -> KeySet {
        let mut set = KeySet::default();
        for [a, b, c] in all {
            for key in keys(amd64(name), &[*a, *b, *c, 0, 0, 0]) {
                set.insert(key);
            }
        }
        set
    }

    fn policy(name: &str, texts: &[&str]) -> Policy {
        let rule = |text: &&str| Rule::new(Action::Allow, [name]).when(when(amd64(name), text).unwrap());
        Policy {
            rules: texts.iter().map(rule).collect(),
            ..Policy::new(Action::KillProcess)
        }
    }

    fn judged(name: &str, texts: &[&str], all: &[[u64; 3]]) -> Fate {
        fate(&policy(name, texts), amd64(name), Arch::X86_64, &seen(name, all))
    }

    #[test]
    fn a_family_that_the_policy_lacks_is_refused_by_name_and_the_rest_is_not() {
        let Fate::Refused(action, values, needed) =
            judged("socket", &["arg0=AF_UNIX"], &[[1, 1, 0], [2, 1, 0]])
        else {
            panic!()
        };
        assert_eq!(action, Action::KillProcess);
        let told: Vec<(u8, &str)> = values.iter().map(|v| (v.index, v.name.as_str())).collect();
        assert_eq!(told, [(0, "AF_INET")]);
        assert_eq!(needed, [when(amd64("socket"), "arg0=AF_INET").unwrap()]);
        assert_eq!(
            judged("socket", &["arg0=AF_UNIX"], &[[1, 2, 0]]),
            Fate::Sure(Action::Allow)
        );
    }

    #[test]
    fn of_joint_conditions_only_what_is_certain_is_said() {
        let texts = ["arg0=AF_UNIX,arg1=SOCK_STREAM", "arg0=AF_INET,arg1=SOCK_DGRAM"];
        // Either pairing is possible: UNIX/STREAM with INET/DGRAM, or crossed.
        let unsure = judged("socket", &texts, &[[1, 1, 0], [2, 2, 0]]);
        assert!(
            matches!(unsure, Fate::Unsure(ref why) if why.contains("which came together")),
            "{unsure:?}"
        );
        let Fate::Refused(_, values, needed) = judged("socket", &texts, &[[10, 1, 0]]) else {
            panic!()
        };
        assert!(values.iter().any(|v| v.name == "AF_INET6"));
        assert_eq!(
            needed,
            [when(amd64("socket"), "arg0=AF_INET6,arg1=SOCK_STREAM").unwrap()]
        );
    }

    #[test]
    fn many_values_and_unknown_arguments_cannot_be_told_and_known_refusals_among_them_can() {
        let mut many = KeySet::default();
        for request in 0..20 {
            keys(amd64("ioctl"), &[0, 0x5400 + request, 0, 0, 0, 0])
                .into_iter()
                .for_each(|key| {
                    many.insert(key);
                });
        }
        let limited = policy("ioctl", &["arg1=TCGETS"]);
        let fate_of = |policy: &Policy, set| fate(policy, amd64("ioctl"), Arch::X86_64, set);
        assert!(matches!(fate_of(&limited, &many), Fate::Refused(_, ref values, _) if values.len() == 15));
        let wide = policy("ioctl", &["arg1<=0x6000"]);
        assert!(matches!(fate_of(&wide, &many), Fate::Unsure(ref why) if why.contains("more values")));
        assert!(
            matches!(fate_of(&limited, &KeySet::default()), Fate::Unsure(ref why) if why.contains("argument 1"))
        );
        let own = judged("prlimit64", &["arg0=0"], &[[0, 3, 0]]);
        assert!(
            matches!(own, Fate::Unsure(ref why) if why.contains("argument 0")),
            "{own:?}"
        );
    }

    #[test]
    fn a_value_that_may_be_filled_with_its_sign_is_tried_both_ways() {
        let full =
            Rule::new(Action::Allow, ["ioctl"])
                .when([ArgCondition::new(1, CompareOp::Eq, 0x8004_5430).unwrap()]);
        let policy = Policy {
            rules: vec![full],
            ..Policy::new(Action::KillProcess)
        };
        let set = seen("ioctl", &[[0, 0x8004_5430, 0]]);
        assert!(matches!(
            fate(&policy, amd64("ioctl"), Arch::X86_64, &set),
            Fate::Unsure(_)
        ));
    }
}
