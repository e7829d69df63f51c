//! What a policy says of a call: the reference that compiled filters are judged by.

use std::collections::BTreeSet;
use std::fmt;

use callgate_abi::{Abi, Action, Arch, ArgCondition, Syscall};

use crate::{Policy, Rule};

/// What a policy says of a call before its arguments are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same action whatever the arguments.
    Always(Action),
    /// It depends on the arguments.
    Depends {
        /// What it gets where no condition holds.
        base: Action,
        /// Every action that the call can get, the least restrictive first.
        actions: Vec<Action>,
        /// The rules that decide, each with its conditions: `allow if arg0 == 0x1`.
        rules: Vec<(Action, Vec<ArgCondition>)>,
    },
}

impl Verdict {
    /// Whether the call runs for some arguments at least.
    pub fn may_run(&self) -> bool {
        match self {
            Self::Always(action) => action.runs(),
            Self::Depends { actions, .. } => actions.iter().any(|action| action.runs()),
        }
    }
}

impl fmt::Display for Verdict {
    /// `allow`, or `depends on arguments: allow if arg0 & 0x7e020000 == 0x0; errno(EPERM) if …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = match self {
            Self::Always(action) => return action.fmt(f),
            Self::Depends { rules, .. } => rules,
        };
        let one = |(action, args): &(Action, Vec<ArgCondition>)| {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            format!("{action} if {}", args.join(" and "))
        };
        let all: Vec<String> = rules.iter().map(one).collect();
        write!(f, "depends on arguments: {}", all.join("; "))
    }
}

/// How the call stands in a policy's rules: by name, as rules are written.
fn matches(rule: &Rule, arch: Arch, name: &str) -> bool {
    rule.applies_to(arch) && rule.names.iter().any(|n| n == name)
}

/// The machine whose policy decides about the call; none for compatibility entries, which are
/// recognised by the number too (bit 30 on amd64 is x32's).
fn native(call: Syscall) -> Option<Arch> {
    let arch = call.arch()?;
    match arch {
        Arch::X86_64 if call.nr() & Abi::X32_BIT != 0 => None,
        _ => Some(arch),
    }
}

impl Policy {
    /// What the call gets with these arguments: the most restrictive action of all rules that match it,
    /// as the kernel chooses among stacked filters; [`Policy::default`] where none matches, and what
    /// [`Policy::unknown`] says for numbers above the newest known.
    ///
    /// Calls through compatibility entries (i386, x32, 32-bit arm) always get
    /// [`Action::KillProcess`]: their numbers mean other calls.
    pub fn decide(&self, call: Syscall, args: &[u64; 6]) -> Action {
        let Some(arch) = native(call) else {
            return Action::KillProcess;
        };
        let Some(name) = call.known_name() else {
            return self.unnamed(arch, call.nr());
        };
        self.rules
            .iter()
            .filter(|rule| matches(rule, arch, name) && rule.holds(args))
            .map(|rule| rule.action)
            .max()
            .unwrap_or(self.default)
    }

    /// What the call gets whatever its arguments, or that it depends on them.
    pub fn verdict(&self, call: Syscall) -> Verdict {
        let Some(arch) = native(call) else {
            return Verdict::Always(Action::KillProcess);
        };
        let Some(name) = call.known_name() else {
            return Verdict::Always(self.unnamed(arch, call.nr()));
        };
        let (open, conditional): (Vec<&Rule>, Vec<&Rule>) = self
            .rules
            .iter()
            .filter(|rule| matches(rule, arch, name))
            .partition(|rule| rule.args.is_empty());
        let floor = open.iter().map(|rule| rule.action).max();
        let base = floor.unwrap_or(self.default);
        let mut actions = BTreeSet::from([base]);
        let mut rules = Vec::new();
        for rule in conditional {
            let action = floor.map_or(rule.action, |floor| floor.max(rule.action));
            // Without a floor, a rule with the default's action still overrules softer ones.
            if action != base || floor.is_none() {
                actions.insert(action);
                rules.push((action, rule.args.clone()));
            }
        }
        match actions.len() {
            1 => Verdict::Always(base),
            _ => Verdict::Depends {
                base,
                actions: actions.into_iter().collect(),
                rules,
            },
        }
    }

    /// The calls of this architecture that run under this policy for some arguments at least, by number.
    pub fn allowed(&self, arch: Arch) -> Vec<Syscall> {
        arch.calls()
            .filter(|call| self.verdict(*call).may_run())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::CompareOp;

    use super::*;

    fn on(arch: Arch, name: &str) -> Syscall {
        arch.call(name).unwrap()
    }

    fn arg0(value: u64) -> ArgCondition {
        ArgCondition::new(0, CompareOp::Eq, value).unwrap()
    }

    #[test]
    fn the_most_restrictive_matching_rule_wins_and_no_match_is_the_default() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["socket", "read"]),
            Rule::new(Action::Errno(1), ["socket"]).when([arg0(2)]),
            Rule::new(Action::Trap, ["socket"])
                .when([arg0(2), ArgCondition::new(1, CompareOp::Eq, 3).unwrap()]),
        ];
        let socket = on(Arch::X86_64, "socket");
        assert_eq!(policy.decide(socket, &[1, 0, 0, 0, 0, 0]), Action::Allow);
        assert_eq!(policy.decide(socket, &[2, 0, 0, 0, 0, 0]), Action::Errno(1));
        assert_eq!(policy.decide(socket, &[2, 3, 0, 0, 0, 0]), Action::Trap);
        assert_eq!(
            policy.decide(on(Arch::X86_64, "write"), &[0; 6]),
            Action::KillProcess
        );
        assert!(matches!(policy.verdict(socket), Verdict::Depends { ref actions, .. } if actions.len() == 3));
        assert_eq!(
            policy.verdict(on(Arch::Aarch64, "read")),
            Verdict::Always(Action::Allow)
        );
    }

    #[test]
    fn compatibility_entries_are_killed_even_by_a_policy_that_allows_everything() {
        let policy = Policy::new(Action::Allow);
        for call in [
            Syscall::new(Abi::I386, 1),
            Syscall::new(Abi::X32, Abi::X32_BIT),
            Syscall::new(Abi::X86_64, Abi::X32_BIT | 1),
            Syscall::new(Abi::Arm, 1),
        ] {
            assert_eq!(policy.decide(call, &[0; 6]), Action::KillProcess);
            assert_eq!(policy.verdict(call), Verdict::Always(Action::KillProcess));
        }
        assert_eq!(
            policy.decide(Syscall::new(Abi::X86_64, 999), &[0; 6]),
            Action::Allow
        );
    }

    #[test]
    fn numbers_above_the_newest_get_enosys_if_asked_and_a_gap_below_it_gets_the_default() {
        let mut policy = Policy::new(Action::Allow);
        policy.unknown = crate::Unknown::Enosys;
        for arch in Arch::ALL {
            let decide = |nr| policy.decide(Syscall::new(arch.abi(), nr), &[0; 6]);
            assert!(Syscall::new(arch.abi(), arch.newest()).known_name().is_some());
            let gap = (0..arch.newest()).find(|nr| Syscall::new(arch.abi(), *nr).known_name().is_none());
            assert_eq!(decide(gap.unwrap()), Action::Allow);
            assert_eq!(decide(arch.newest()), Action::Allow);
            assert_eq!(decide(arch.newest() + 1), Action::Errno(38));
            assert_eq!(decide(Abi::X32_BIT - 1), Action::Errno(38));
            crate::verify(&policy, arch).unwrap();
        }
        let x32 = Syscall::new(Abi::X86_64, Abi::X32_BIT | 9999);
        assert_eq!(policy.decide(x32, &[0; 6]), Action::KillProcess);
    }

    #[test]
    fn a_conditional_rule_with_the_defaults_action_still_overrules_softer_ones() {
        let mut policy = Policy::new(Action::Errno(1));
        let read = on(Arch::X86_64, "read");
        policy.rules = vec![Rule::new(Action::Errno(1), ["read"]).when([arg0(0)])];
        assert_eq!(policy.verdict(read), Verdict::Always(Action::Errno(1)));
        let any = ArgCondition::new(0, CompareOp::Ne, 9).unwrap();
        policy.rules.push(Rule::new(Action::Allow, ["read"]).when([any]));
        assert_eq!(policy.decide(read, &[0; 6]), Action::Errno(1));
        let Verdict::Depends { rules, .. } = policy.verdict(read) else {
            panic!()
        };
        assert_eq!(
            rules,
            [(Action::Errno(1), vec![arg0(0)]), (Action::Allow, vec![any])]
        );
    }

    #[test]
    fn a_rule_for_one_architecture_does_not_count_on_the_other() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![Rule::new(Action::Allow, ["openat"]).only_on(Arch::Aarch64)];
        assert_eq!(
            policy.decide(on(Arch::X86_64, "openat"), &[0; 6]),
            Action::KillProcess
        );
        assert_eq!(policy.decide(on(Arch::Aarch64, "openat"), &[0; 6]), Action::Allow);
        assert_eq!(policy.allowed(Arch::Aarch64), [on(Arch::Aarch64, "openat")]);
    }
}
