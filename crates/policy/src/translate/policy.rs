//! A policy that was made on one architecture, made to mean the same on the other.

use callgate_abi::{Arch, Syscall};

use super::{Counterpart, counterparts};
use crate::amend::{Alternative, limits};
use crate::{AmendError, Policy, Rule, Verdict, equivalents};

/// A policy for both architectures, and what is not certain about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// The policy: what it said on the first architecture it still says there.
    pub policy: Policy,
    /// One sentence for each guess, and for each call that has nothing on the other side.
    pub notes: Vec<String>,
}

impl Policy {
    /// Lets a program that runs under this policy on `from` run on `to`: what is allowed on `from` and has
    /// another name on `to` is allowed there under that name, with its conditions on the arguments where they
    /// stand there. What is refused on `from` is not carried: the counterpart exists on both and has its own
    /// answer.
    ///
    /// # Errors
    /// [`AmendError`] if the rules for `to` refuse it in a way that can't be lifted.
    pub fn translate(&self, from: Arch, to: Arch) -> Result<Translated, AmendError> {
        let mut policy = self.clone();
        let mut notes = Vec::new();
        for call in self.allowed(from) {
            let alternatives = match self.verdict(call) {
                Verdict::Always(_) => vec![Vec::new()],
                Verdict::Depends { base, rules, .. } if !base.runs() => rules
                    .into_iter()
                    .filter(|(action, _)| action.runs())
                    .map(|(_, conditions)| conditions)
                    .collect(),
                // Allowed, but for some arguments: what is refused has no counterpart to be cut out of.
                Verdict::Depends { .. } => Vec::new(),
            };
            self.carry(&mut policy, call, to, &alternatives, &mut notes)?;
        }
        policy.unite_arches();
        Ok(Translated { policy, notes })
    }

    fn carry(
        &self,
        policy: &mut Self,
        call: Syscall,
        to: Arch,
        alternatives: &[Alternative],
        notes: &mut Vec<String>,
    ) -> Result<(), AmendError> {
        let (name, found) = (call.name(), equivalents(call, to));
        let note = found.note.map(|note| format!("; {note}")).unwrap_or_default();
        if found.calls.is_empty() {
            notes.push(format!("{name}: nothing on {to}{note}"));
        }
        if alternatives.is_empty() && !found.same {
            notes.push(format!(
                "{name}: refused for some arguments, which has no counterpart on {to}; not allowed there"
            ));
        }
        for other in counterparts(call, to) {
            let mut there = Vec::new();
            for alternative in alternatives {
                match other.way.conditions(alternative) {
                    Ok(_) if alternative.is_empty() => {
                        there.push(limits(other.call));
                    }
                    Ok(conditions) => there.push(conditions),
                    Err(lost) => notes.push(format!(
                        "{name}: its condition {lost} has no place in {} on {to}; not allowed there by this rule",
                        other.call
                    )),
                }
            }
            if other.same {
                other.in_its_own_bits(policy, call, to, notes);
            }
            // Under its own name a call is decided on both by the same rules, unless they are for one alone.
            if there.is_empty() || other.same && self.verdict(other.call) == self.verdict(call) {
                continue;
            }
            let comment = format!("{to} equivalent of {name}");
            if policy.open_when(other.call, &there, &comment, notes)? {
                let guess = other
                    .guess
                    .map(|guess| format!("; {guess}"))
                    .unwrap_or(note.clone());
                if !other.same {
                    notes.push(format!("{name}: {} is allowed on {to}{guess}", other.call));
                }
            }
        }
        Ok(())
    }
}

impl Counterpart {
    /// Rules with conditions that count on both architectures and mean other arguments or other bits on `to`
    /// (flags of open, the last arguments of clone) are rewritten there.
    fn in_its_own_bits(&self, policy: &mut Policy, call: Syscall, to: Arch, notes: &mut Vec<String>) {
        let (Some(from), Some(name)) = (call.arch(), call.known_name()) else {
            return;
        };
        let shared: Vec<Rule> = policy
            .rules
            .iter()
            .filter(|rule| rule.applies_to(from) && rule.applies_to(to) && !rule.args.is_empty())
            .filter(|rule| rule.names.iter().any(|n| n == name))
            .cloned()
            .collect();
        for rule in shared {
            let there = self.way.conditions(&rule.args);
            if there.as_ref() == Ok(&rule.args) {
                continue;
            }
            policy.take_out(self.call, |other| {
                (other.action, &other.args) == (rule.action, &rule.args)
            });
            let args = match there {
                Ok(args) => args,
                // A refusal without its condition refuses more; an allowance without it would allow more.
                Err(lost) => {
                    let (action, also) = match rule.action.runs() {
                        true => ("not allowed", ""),
                        false => ("refused", " whatever its arguments"),
                    };
                    notes.push(format!(
                        "{name}: its condition {lost} has no place on {to}; {action} there by this rule{also}"
                    ));
                    if rule.action.runs() {
                        continue;
                    }
                    Vec::new()
                }
            };
            policy.rules.push(Rule {
                names: vec![name.to_owned()],
                args,
                ..rule.only_on(to)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::Action;

    use super::*;
    use crate::when;

    fn from_amd64(rules: Vec<Rule>) -> Translated {
        let policy = Policy {
            rules,
            ..Policy::new(Action::KillProcess)
        };
        let rules = policy.rules.clone();
        let translated = policy.translate(Arch::X86_64, Arch::Aarch64).unwrap();
        assert_eq!(
            translated.policy.rules[..rules.len()],
            rules,
            "what was there stays"
        );
        translated
    }

    #[test]
    fn every_name_that_amd64_alone_has_gets_a_call_on_arm64_or_a_note_why_none() {
        let only: Vec<Syscall> = Arch::X86_64
            .calls()
            .filter(|call| Arch::Aarch64.call(&call.name()).is_err())
            .collect();
        assert_eq!(only.len(), 58);
        for call in only {
            let Translated { policy, notes } = from_amd64(vec![Rule::new(Action::Allow, [call.name()])]);
            let opened = policy.allowed(Arch::Aarch64);
            let wanted = equivalents(call, Arch::Aarch64).calls;
            assert!(
                wanted.iter().all(|call| opened.contains(call)),
                "{call}: {opened:?}"
            );
            assert!(!notes.is_empty(), "{call} is carried without a word");
            assert_eq!(
                opened.is_empty(),
                notes[0].contains("nothing on arm64; "),
                "{call}: {notes:?}"
            );
            assert_eq!(policy.allowed(Arch::X86_64), [call], "amd64 stays as it was");
        }
    }

    #[test]
    fn from_arm64_every_name_stays_and_older_ones_are_guessed_with_a_note() {
        for call in Arch::Aarch64.calls() {
            let policy = Policy {
                rules: vec![Rule::new(Action::Allow, [call.name()]).only_on(Arch::Aarch64)],
                ..Policy::new(Action::KillProcess)
            };
            let Translated { policy, notes } = policy.translate(Arch::Aarch64, Arch::X86_64).unwrap();
            let there = policy.allowed(Arch::X86_64);
            let own = Arch::X86_64.call(&call.name()).unwrap();
            assert!(there.contains(&own), "{call}: {there:?}");
            for guess in there.iter().filter(|other| **other != own) {
                let told = notes
                    .iter()
                    .any(|note| note.contains(&*guess.name()) && note.contains("a guess"));
                assert!(told, "{call} brings {guess}: {notes:?}");
            }
        }
    }

    #[test]
    fn fork_opens_no_namespaces_and_conditions_move_or_the_call_stays_closed() {
        let clone = Arch::Aarch64.call("clone").unwrap();
        let Translated { policy, .. } = from_amd64(vec![Rule::new(Action::Allow, ["fork"])]);
        assert!(policy.decide(clone, &[17, 0, 0, 0, 0, 0]).runs());
        assert!(!policy.decide(clone, &[0x1000_0011, 0, 0, 0, 0, 0]).runs());

        let call = |name: &str| Arch::X86_64.call(name).unwrap();
        let limited =
            |name: &str, text: &str| Rule::new(Action::Allow, [name]).when(when(call(name), text).unwrap());
        let Translated { policy, notes } =
            from_amd64(vec![limited("poll", "arg2=0"), limited("access", "arg1=4")]);
        let faccessat = Arch::Aarch64.call("faccessat").unwrap();
        assert!(policy.decide(faccessat, &[0xffff_ff9c, 0, 4, 0, 0, 0]).runs());
        assert!(!policy.decide(faccessat, &[0xffff_ff9c, 0, 2, 0, 0, 0]).runs());
        assert_eq!(policy.allowed(Arch::Aarch64), [faccessat]);
        assert!(
            notes
                .iter()
                .any(|note| note.contains("poll") && note.contains("no place in ppoll"))
        );
    }

    #[test]
    fn conditions_of_a_call_that_both_have_get_the_bits_that_they_have_there() {
        let openat = |arch: Arch| arch.call("openat").unwrap();
        let here = openat(Arch::X86_64);
        let policy = Policy {
            rules: vec![
                Rule::new(Action::Allow, ["openat"])
                    .when(when(here, "arg2&O_DIRECTORY=O_DIRECTORY").unwrap()),
                Rule::new(Action::Errno(1), ["openat"])
                    .when(when(here, "arg2=O_NOFOLLOW|O_DIRECTORY").unwrap()),
            ],
            ..Policy::new(Action::KillProcess)
        };
        let there = policy.translate(Arch::X86_64, Arch::Aarch64).unwrap().policy;
        let says = |arch, flags| there.decide(openat(arch), &[0, 0, flags, 0, 0, 0]);
        for (arch, directory, nofollow) in [
            (Arch::X86_64, 0o200_000, 0o400_000),
            (Arch::Aarch64, 0o40_000, 0o100_000),
        ] {
            assert_eq!(says(arch, directory), Action::Allow, "{arch}");
            assert_eq!(says(arch, directory | nofollow), Action::Errno(1), "{arch}");
            assert_eq!(says(arch, 0), Action::KillProcess, "{arch}");
        }
        assert_eq!(says(Arch::Aarch64, 0o200_000), Action::KillProcess);
    }
}
