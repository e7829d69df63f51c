//! Calls allowed for some arguments: conditional rules beside what a policy already says.
//!
//! The most restrictive matching rule counts, so a softer answer can't be cut out of an unconditional refusal:
//! such a refusal is rewritten to hold for all other values.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, ArgCondition, CompareOp, Syscall};

use super::choice::Choice;
use super::{AmendError, nameable};
use crate::compare::points;
use crate::translate::counterparts;
use crate::when::{LOW, Words};
use crate::{Policy, Rule, Verdict};

/// What a conditional change did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amended {
    /// The calls that run for more arguments than before.
    pub added: Vec<Syscall>,
    /// What could not be said as it was asked for, one sentence each.
    pub notes: Vec<String>,
}

/// One way in which a call is allowed: all of these must hold.
pub(crate) type Alternative = Vec<ArgCondition>;

impl Policy {
    /// Allows a call where one of the alternatives holds, each a list of conditions that must all hold; on
    /// every architecture that has it, and on the others for what libc calls in its place, with the arguments
    /// in their places there. `only` keeps it to one architecture.
    ///
    /// An unconditional refusal of the call is kept for all other values where rules can say that; else the
    /// default takes its place, if that refuses, with a note.
    ///
    /// # Errors
    /// [`AmendError`] if a policy can't say it. Nothing is changed then.
    pub fn allow_when(
        &mut self,
        call: Syscall,
        alternatives: &[Vec<ArgCondition>],
        provenance: &str,
        only: Option<Arch>,
    ) -> Result<Amended, AmendError> {
        let (from, name) = nameable(call)?;
        let mut changed = self.clone();
        let mut done = Amended::default();
        for arch in Arch::ALL
            .into_iter()
            .filter(|arch| only.is_none_or(|only| only == *arch))
        {
            let certain = counterparts(call, arch)
                .into_iter()
                .filter(|found| found.guess.is_none());
            for found in certain {
                let mut there = Vec::new();
                for alternative in alternatives {
                    match found.way.conditions(alternative) {
                        Ok(conditions) => there.push(conditions),
                        Err(lost) if arch == from => return Err(AmendError::NotThere { name, lost }),
                        Err(lost) => done.notes.push(format!(
                            "{} is not allowed on {arch} for {name}: its condition {lost} has no place there",
                            found.call
                        )),
                    }
                }
                let comment = match found.same {
                    true => provenance.to_owned(),
                    false => format!("{arch} equivalent of {name}: {provenance}"),
                };
                if !there.is_empty() && changed.open_when(found.call, &there, &comment, &mut done.notes)? {
                    done.added.push(found.call);
                }
            }
        }
        changed.unite_arches();
        *self = changed;
        Ok(done)
    }

    /// Allows a call on its own architecture where one of the alternatives holds; the rules' comments say in
    /// words what they are for. Returns whether that changed anything.
    pub(crate) fn open_when(
        &mut self,
        call: Syscall,
        alternatives: &[Alternative],
        comment: &str,
        notes: &mut Vec<String>,
    ) -> Result<bool, AmendError> {
        self.open_as(
            call,
            alternatives,
            &|conditions| commented(call, conditions, comment),
            notes,
        )
    }

    /// The same with this comment as it is.
    pub(crate) fn open_with(
        &mut self,
        call: Syscall,
        alternatives: &[Alternative],
        comment: &str,
        notes: &mut Vec<String>,
    ) -> Result<bool, AmendError> {
        self.open_as(call, alternatives, &|_| comment.to_owned(), notes)
    }

    fn open_as(
        &mut self,
        call: Syscall,
        alternatives: &[Alternative],
        comment: &dyn Fn(&[ArgCondition]) -> String,
        notes: &mut Vec<String>,
    ) -> Result<bool, AmendError> {
        let (arch, name) = nameable(call)?;
        if alternatives.iter().any(Vec::is_empty) {
            return Ok(!self.open(&[call], &comment(&[])).is_empty());
        }
        if matches!(self.verdict(call), Verdict::Always(action) if action.runs()) {
            return Ok(false);
        }
        let before = self.clone();
        if let Some(choice) = Choice::of(self, call, arch) {
            if let Some(wider) = choice.with(alternatives) {
                wider.write(self, call, comment);
                return Ok(*self != before);
            }
            // The refusal can't be kept for the rest; the default must refuse it then.
            if self.default.runs() {
                return Err(AmendError::Unsayable { name });
            }
            self.take_out(call, |rule| !rule.action.runs() && rule.args.is_empty());
            let note = format!(
                "{name}: other arguments get the default ({}) and no longer {}: rules can't say both",
                self.default, choice.refusal
            );
            notes.push(note);
        }
        for conditions in alternatives {
            self.take_out(call, |rule| !rule.action.runs() && same(&rule.args, conditions));
            let rule = Rule::new(Action::Allow, [name]).when(conditions.iter().copied());
            let known = |other: &Rule| {
                other.action.runs()
                    && other.applies_to(arch)
                    && other.names.iter().any(|n| n == name)
                    && same(&other.args, conditions)
            };
            if !self.rules.iter().any(known) {
                self.rules.push(rule.because(comment(conditions)).only_on(arch));
            }
            // As programs pass them: what is 32 bits wide has no upper half.
            let holds = |args: &[u64; 6]| {
                conditions.iter().all(|condition| {
                    let half = condition.op() == CompareOp::MaskedEq(LOW);
                    condition.holds(args) && !(half && args[usize::from(condition.index())] > LOW)
                })
            };
            let all = points(&[&*self], call, arch);
            let overruled = all.is_none_or(|all| {
                all.iter()
                    .filter(|args| holds(args))
                    .all(|args| !self.decide(call, args).runs())
            });
            if overruled {
                *self = before;
                return Err(AmendError::Overruled {
                    name,
                    conditions: Words(call, conditions).to_string(),
                });
            }
        }
        Ok(*self != before)
    }

    /// Makes one rule of two that differ in nothing but their architecture.
    pub(crate) fn unite_arches(&mut self) {
        let all: Vec<Vec<String>> = Arch::ALL
            .iter()
            .map(|arch| vec![arch.name().to_owned()])
            .collect();
        let mut united: Vec<Rule> = Vec::with_capacity(self.rules.len());
        for rule in std::mem::take(&mut self.rules) {
            let twin = united.iter_mut().find(|other| {
                let pair = [other.arches.as_ref(), rule.arches.as_ref()];
                pair[0] != pair[1]
                    && pair
                        .iter()
                        .all(|arches| arches.is_some_and(|arches| all.contains(arches)))
                    && (other.action, &other.args, &other.names, &other.comment)
                        == (rule.action, &rule.args, &rule.names, &rule.comment)
            });
            match twin {
                Some(other) => other.arches = None,
                None => united.push(rule),
            }
        }
        self.rules = united;
    }
}

/// Whether two lists of conditions are the same, whatever their order.
fn same(a: &[ArgCondition], b: &[ArgCondition]) -> bool {
    let set = |list: &[ArgCondition]| list.iter().copied().collect::<BTreeSet<_>>();
    set(a) == set(b)
}

/// The comment of a conditional rule: what it is for, in words.
pub(crate) fn commented(call: Syscall, conditions: &[ArgCondition], provenance: &str) -> String {
    if conditions.is_empty() {
        return provenance.to_owned();
    }
    format!("{} {}: {provenance}", call.name(), Words(call, conditions))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::when;

    fn amd64(name: &str) -> Syscall {
        Arch::X86_64.call(name).unwrap()
    }

    fn allow(policy: &mut Policy, name: &str, text: &str) -> Result<Amended, AmendError> {
        let call = amd64(name);
        policy.allow_when(call, &[when(call, text).unwrap()], "by hand", None)
    }

    fn runs(policy: &Policy, name: &str, args: [u64; 3]) -> bool {
        Arch::ALL
            .iter()
            .filter_map(|arch| arch.call(name).ok())
            .all(|call| policy.decide(call, &[args[0], args[1], args[2], 0, 0, 0]).runs())
    }

    #[test]
    fn a_call_without_a_rule_is_allowed_for_those_arguments_alone() {
        let mut policy = Policy::new(Action::KillProcess);
        let done = allow(&mut policy, "socket", "arg0=AF_UNIX").unwrap();
        assert_eq!(done.added.len(), 2);
        assert_eq!(
            policy.rules.len(),
            1,
            "one rule for both architectures: {:?}",
            policy.rules
        );
        assert_eq!(
            policy.rules[0].comment.as_deref(),
            Some("socket arg0=AF_UNIX: by hand")
        );
        assert!(runs(&policy, "socket", [1, 0, 0]) && !runs(&policy, "socket", [2, 0, 0]));
        allow(&mut policy, "socket", "arg0=AF_INET").unwrap();
        assert!(runs(&policy, "socket", [2, 0, 0]));
        let again = allow(&mut policy, "socket", "arg0=AF_INET").unwrap();
        assert_eq!((again.added, policy.rules.len()), (vec![], 2));
    }

    #[test]
    fn an_unconditional_refusal_holds_on_for_all_other_values() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![Rule::new(Action::Errno(97), ["socket", "bind"]).because("no network")];
        allow(&mut policy, "socket", "arg0=AF_INET").unwrap();
        allow(&mut policy, "socket", "arg0=AF_INET6").unwrap();
        for (family, action) in [(2, Action::Allow), (10, Action::Allow)]
            .into_iter()
            .chain([0, 1, 3, 9, 11, 16, 1 << 32, 1 << 32 | 2, u64::MAX].map(|f| (f, Action::Errno(97))))
        {
            assert_eq!(
                policy.decide(amd64("socket"), &[family, 0, 0, 0, 0, 0]),
                action,
                "{family}"
            );
        }
        assert_eq!(policy.decide(amd64("bind"), &[0; 6]), Action::Errno(97));
        assert_eq!(policy.rules[0].comment.as_deref(), Some("no network"));
        assert!(Policy::parse(&policy.to_json().unwrap()).is_ok());
    }

    #[test]
    fn what_rules_cannot_say_falls_to_a_refusing_default_with_a_note_and_never_to_an_open_one() {
        let refused = vec![Rule::new(Action::Errno(1), ["socket"])];
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = refused.clone();
        let done = allow(&mut policy, "socket", "arg0=AF_INET,arg1=SOCK_STREAM").unwrap();
        assert!(done.notes[0].contains("default (kill)"), "{:?}", done.notes);
        assert!(runs(&policy, "socket", [2, 1, 0]) && !runs(&policy, "socket", [2, 2, 0]));
        let mut open = Policy::new(Action::Allow);
        open.rules = refused;
        let before = open.clone();
        let error = allow(&mut open, "socket", "arg0=AF_INET,arg1=SOCK_STREAM").unwrap_err();
        assert!(error.to_string().contains("socket"), "{error}");
        assert_eq!(open, before);
    }

    #[test]
    fn a_refusal_of_the_same_arguments_is_lifted_and_a_wider_one_is_an_error() {
        let tiocsti = when(amd64("ioctl"), "arg1=TIOCSTI").unwrap();
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["ioctl"]).when(when(amd64("ioctl"), "arg0<=2").unwrap()),
            Rule::new(Action::Errno(1), ["ioctl"]).when(tiocsti),
        ];
        allow(&mut policy, "ioctl", "arg1=TIOCSTI").unwrap();
        assert!(runs(&policy, "ioctl", [9, 0x5412, 0]));
        policy.rules =
            vec![Rule::new(Action::Errno(1), ["ioctl"]).when(when(amd64("ioctl"), "arg1<=0x6000").unwrap())];
        let before = policy.clone();
        assert!(allow(&mut policy, "ioctl", "arg1=TIOCSTI").is_err());
        assert_eq!(policy, before);
    }

    #[test]
    fn conditions_move_with_the_arguments_on_the_other_architecture_or_it_stays_closed() {
        let mut policy = Policy::new(Action::KillProcess);
        allow(&mut policy, "open", "arg1=O_RDONLY|O_DIRECTORY").unwrap();
        let openat = Arch::Aarch64.call("openat").unwrap();
        let says = |flags| policy.decide(openat, &[0xffff_ff9c, 0, flags, 0, 0, 0]).runs();
        assert!(says(0o40_000) && !says(0o200_000) && !says(0));
        let done = allow(&mut policy, "poll", "arg2=0").unwrap();
        assert!(
            done.notes[0].contains("ppoll") && done.added == [amd64("poll")],
            "{done:?}"
        );
    }
}
