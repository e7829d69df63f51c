//! Two policies made into one: what either lets run, or what both do.

mod rules;

use callgate_abi::{Action, Arch, Syscall};

use crate::compare::points;
use crate::{Policy, Rule, Unknown, names};
use rules::{add, rules_for};

/// How two answers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combination {
    /// The softer answer: what either policy lets run, runs.
    Merge,
    /// The harder answer: what both policies let run, runs.
    Intersect,
}

/// A policy made of two, and what is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combined {
    /// The policy.
    pub policy: Policy,
    /// One sentence for each thing that could not be kept.
    pub notes: Vec<String>,
}

/// Why two policies have no such combination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// The conditions of the two on one call can't be written as rules together.
    #[error(
        "{call} on {arch}: {first} in the first policy, {second} in the second; rules can't say the {what} of that: \
         decide this call alike in both first"
    )]
    Conditions {
        /// The call.
        call: Syscall,
        /// The architecture.
        arch: Arch,
        /// What the first says.
        first: String,
        /// What the second says.
        second: String,
        /// `merge` or `intersection`.
        what: &'static str,
    },
}

impl Combination {
    fn of(self, a: Action, b: Action) -> Action {
        match self {
            Self::Merge => a.min(b),
            Self::Intersect => a.max(b),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Intersect => "intersection",
        }
    }
}

/// Makes one policy of two. Comments stay with the names they belong to; of two comments the one of the
/// policy that decides is kept. The result is checked against both at every boundary value of their
/// conditions before it is returned.
///
/// # Errors
/// [`CombineError`] if rules can't say it: the most restrictive of all matching rules counts, so a softer
/// answer can't be cut out of a harder one.
pub fn combine(first: &Policy, second: &Policy, how: Combination) -> Result<Combined, CombineError> {
    let mut result = first.clone();
    result.default = how.of(first.default, second.default);
    result.rules = Vec::new();
    let title = |policy: &Policy| {
        policy
            .comment
            .clone()
            .unwrap_or_else(|| "a policy without comment".into())
    };
    result.comment = Some(format!(
        "The {} of: {} And: {}",
        how.name(),
        title(first),
        title(second)
    ));
    for arch in &second.architectures {
        if !result.architectures.contains(arch) {
            result.architectures.push(arch.clone());
        }
    }
    let mut notes = Vec::new();
    let [a, b] = [first, second].map(|policy| policy.unknown.action(policy.default));
    let newer = how.of(a, b);
    result.unknown = match newer == result.default {
        true => Unknown::Default,
        false => Unknown::Enosys,
    };
    let made = result.unknown.action(result.default);
    if made != newer {
        notes.push(format!(
            "numbers above the newest known call get {made}; {newer} would be the {}",
            how.name()
        ));
    }
    if (&first.flags, &first.listener_path) != (&second.flags, &second.listener_path) {
        notes.push("the filter flags and the listener are the first policy's".to_owned());
    }
    let mut foreign = Vec::new();
    for name in in_order(first, second) {
        let calls: Vec<Syscall> = Arch::ALL
            .into_iter()
            .filter_map(|arch| names::on(arch, name))
            .collect();
        let mut by_arch: Vec<(Arch, Vec<Rule>)> = Vec::new();
        for call in &calls {
            let Some(arch) = call.arch() else { continue };
            by_arch.push((arch, rules_for(first, second, how, *call, arch)?));
        }
        match by_arch.as_slice() {
            [] => foreign.push(name),
            [(_, rules), rest @ ..] if rest.iter().all(|(_, other)| other == rules) => {
                rules.iter().for_each(|rule| add(&mut result, rule.clone()));
            }
            _ => {
                for (arch, rules) in by_arch {
                    rules
                        .into_iter()
                        .for_each(|rule| add(&mut result, rule.only_on(arch)));
                }
            }
        }
    }
    if !foreign.is_empty() {
        notes.push(format!(
            "left out, as neither amd64 nor arm64 has them: {}",
            foreign.join(", ")
        ));
    }
    check(first, second, &result, how)?;
    Ok(Combined {
        policy: result,
        notes,
    })
}

/// Every name once, as the policies write them.
fn in_order<'a>(first: &'a Policy, second: &'a Policy) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for name in first
        .rules
        .iter()
        .chain(&second.rules)
        .flat_map(|rule| &rule.names)
    {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// The result must decide every call as the two do together.
fn check(first: &Policy, second: &Policy, result: &Policy, how: Combination) -> Result<(), CombineError> {
    for arch in Arch::ALL {
        for call in arch.calls() {
            let agrees = |args: &[u64; 6]| {
                let together = how.of(first.decide(call, args), second.decide(call, args));
                result.decide(call, args) == together
            };
            let all = points(&[first, second, result], call, arch);
            if !all.is_some_and(|points| points.iter().all(agrees)) {
                return Err(CombineError::Conditions {
                    call,
                    arch,
                    first: first.verdict(call).to_string(),
                    second: second.verdict(call).to_string(),
                    what: how.name(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use callgate_abi::{ArgCondition, CompareOp};

    use super::*;
    use crate::shipped;

    fn eq(index: u8, value: u64) -> ArgCondition {
        ArgCondition::new(index, CompareOp::Eq, value).unwrap()
    }

    fn policy(default: Action, rules: Vec<Rule>) -> Policy {
        Policy {
            rules,
            ..Policy::new(default)
        }
    }

    #[test]
    fn of_any_two_shipped_policies_both_combinations_decide_as_they_should() {
        let mut combined = 0;
        let names = shipped::names();
        for (place, a) in names.iter().enumerate() {
            for b in &names[place..] {
                let (a, b) = (
                    shipped::load(a).unwrap().unwrap(),
                    shipped::load(b).unwrap().unwrap(),
                );
                for how in [Combination::Merge, Combination::Intersect] {
                    let made = match combine(&a, &b, how) {
                        Ok(made) => made.policy,
                        // One lets it run by its arguments and the other refuses it with another action than
                        // the combination's default: rules can't say both.
                        Err(CombineError::Conditions { call, .. }) => {
                            assert!(
                                ["clone", "personality", "socket"].contains(&&*call.name()),
                                "{call}"
                            );
                            continue;
                        }
                    };
                    combined += 1;
                    for call in Arch::ALL.into_iter().flat_map(Arch::calls) {
                        let args = [0x0001_0000, 0, 0, 0, 0, 0];
                        let wanted = how.of(a.decide(call, &args), b.decide(call, &args));
                        assert_eq!(made.decide(call, &args), wanted, "{call}");
                    }
                    assert!(Policy::parse(&made.to_json().unwrap()).is_ok());
                }
            }
        }
        assert!(combined >= 25, "{combined}");
    }

    #[test]
    fn comments_stay_and_conditions_of_both_are_joined() {
        let family = |value, why: &str| {
            Rule::new(Action::Allow, ["socket"])
                .when([eq(0, value)])
                .because(why)
        };
        let a = policy(
            Action::KillProcess,
            vec![
                Rule::new(Action::Allow, ["read", "write"]).because("files"),
                family(1, "unix"),
            ],
        );
        let typed = Rule::new(Action::Allow, ["socket"]).when([eq(1, 5)]);
        let b = policy(
            Action::KillProcess,
            vec![Rule::new(Action::Allow, ["read"]), typed],
        );
        let both = combine(&a, &b, Combination::Intersect).unwrap().policy;
        assert_eq!(both.rules[0], Rule::new(Action::Allow, ["read"]).because("files"));
        let socket = Arch::X86_64.call("socket").unwrap();
        let answers = |policy: &Policy| {
            [[1, 5], [1, 4], [2, 5]].map(|[x, y]| policy.decide(socket, &[x, y, 0, 0, 0, 0]).runs())
        };
        assert_eq!(answers(&both), [true, false, false]);
        assert_eq!(
            answers(&combine(&a, &b, Combination::Merge).unwrap().policy),
            [true, true, true]
        );
    }

    #[test]
    fn numbers_above_the_newest_get_the_softer_answer_in_a_merge_and_the_harder_in_an_intersection() {
        let with = |default, unknown| Policy {
            unknown,
            ..Policy::new(default)
        };
        let (kill, perm) = (Action::KillProcess, Action::Errno(1));
        let (ours, theirs) = (with(kill, Unknown::Enosys), with(kill, Unknown::Default));
        let made = |a: &Policy, b: &Policy, how| combine(a, b, how).unwrap();
        assert_eq!(
            made(&ours, &theirs, Combination::Merge).policy.unknown,
            Unknown::Enosys
        );
        assert_eq!(
            made(&ours, &theirs, Combination::Intersect).policy.unknown,
            Unknown::Default
        );
        assert_eq!(
            made(&ours, &ours, Combination::Intersect).policy.unknown,
            Unknown::Enosys
        );
        let soft = with(perm, Unknown::Default);
        assert_eq!(
            made(&ours, &soft, Combination::Merge).policy.unknown,
            Unknown::Default
        );
        assert_eq!(
            made(&ours, &soft, Combination::Intersect).policy.unknown,
            Unknown::Enosys
        );
        let open = made(&with(Action::Allow, Unknown::Enosys), &soft, Combination::Merge);
        assert_eq!(open.policy.unknown, Unknown::Enosys);
        assert!(open.notes[0].contains("would be the merge"), "{:?}", open.notes);
    }

    #[test]
    fn what_rules_cannot_say_is_an_error_that_names_the_call() {
        let a = policy(
            Action::KillProcess,
            vec![Rule::new(Action::Allow, ["socket"]).when([eq(0, 1)])],
        );
        let b = policy(
            Action::KillProcess,
            vec![Rule::new(Action::Errno(1), ["socket"]).when([eq(1, 5)])],
        );
        let error = combine(&a, &b, Combination::Merge).unwrap_err().to_string();
        assert!(
            error.contains("socket on amd64") && error.contains("the merge of that"),
            "{error}"
        );
    }
}
