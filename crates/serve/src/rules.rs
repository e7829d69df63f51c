//! The policies of the server: a base policy, and what `allowed_syscalls` says besides or instead.

mod change;

use callgate_abi::{Arch, Filter, Syscall};
use callgate_exec::{Remedy, Violation};
use callgate_policy::{Policy, compile, remedy};

use crate::config::Allowed;
pub use change::Change;

/// A policy, compiled, and how it came about.
#[derive(Clone, Debug)]
pub struct Rules {
    policy: Policy,
    /// The compiled policy.
    pub filter: Filter,
    /// The name or file of the base policy.
    pub source: String,
    /// `allowed_syscalls` as it was given.
    listed: Vec<String>,
}

/// Why there is no such policy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RulesError(String);

impl Rules {
    /// Makes them; the sentences say what was changed.
    ///
    /// # Errors
    /// [`RulesError`]: a call that is not known, or a policy that can't be said or compiled.
    pub fn new(
        source: &str,
        base: Policy,
        change: Option<&Change>,
    ) -> Result<(Self, Vec<String>), RulesError> {
        let mut notes = Vec::new();
        let policy = match change {
            Some(change) => change.of(source, base, &mut notes)?,
            None => base,
        };
        let listed = match change.map(|change| &change.allowed) {
            Some(Allowed::Calls(words)) => words.clone(),
            Some(Allowed::Policy(_)) | None => Vec::new(),
        };
        let filter = compile(&policy, Arch::NATIVE)
            .and_then(|compiled| compiled.link())
            .map_err(|error| RulesError(format!("{source}: {error}")))?;
        let rules = Self {
            policy,
            filter,
            source: source.to_owned(),
            listed,
        };
        Ok((rules, notes))
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How a refused call could be allowed: a command that makes a policy, and the line for the configuration.
    pub(crate) fn remedy(&self, violation: &Violation) -> Option<Remedy> {
        let call = Syscall::new(violation.arch, violation.nr);
        let remedy = remedy(&self.policy, &self.source, call, &violation.args).ok()?;
        Some(Remedy {
            command: remedy.command,
            dify: self.listing([call.known_name()?.to_owned()]),
        })
    }

    /// The line of the configuration that adds these calls to what it lists.
    pub(crate) fn listing(&self, names: impl IntoIterator<Item = String>) -> String {
        let all: Vec<String> = self.listed.iter().cloned().chain(names).collect();
        format!("allowed_syscalls: [{}]", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::Action;
    use callgate_policy::shipped;

    use super::*;

    fn base() -> Policy {
        shipped::load("python").unwrap().unwrap()
    }

    fn listed(words: &[&str], replace: bool) -> Result<(Rules, Vec<String>), RulesError> {
        let change = Change {
            allowed: Allowed::Calls(words.iter().map(|word| (*word).to_owned()).collect()),
            named: None,
            replace,
        };
        Rules::new("python", base(), Some(&change))
    }

    fn says(rules: &Rules, name: &str) -> Action {
        rules.policy().decide(Arch::NATIVE.call(name).unwrap(), &[0; 6])
    }

    #[test]
    fn a_list_adds_to_the_policy_and_says_so() {
        let nr = Arch::NATIVE.call("sched_setaffinity").unwrap().nr().to_string();
        let (rules, notes) = listed(&[&nr, "read", "mount"], false).unwrap();
        assert!(
            ["sched_setaffinity", "mount", "read", "write"]
                .iter()
                .all(|name| says(&rules, name).runs())
        );
        assert!(!says(&rules, "ptrace").runs());
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(
            note.contains("adds") && note.contains("sched_setaffinity") && note.contains("mount"),
            "{note}"
        );
        assert!(!note.contains("read"), "{note}");
    }

    #[test]
    fn a_list_can_take_the_policys_place() {
        let (rules, notes) = listed(&["read", "write"], true).unwrap();
        assert!(says(&rules, "read").runs() && !says(&rules, "openat").runs());
        assert!(notes[0].contains("--replace-allowed"), "{notes:?}");
    }

    #[test]
    fn numbers_without_a_call_are_told_and_unknown_names_refused() {
        let (_, notes) = listed(&["0", "9999"], false).unwrap();
        assert!(notes.iter().any(|note| note.contains("9999")), "{notes:?}");
        let error = listed(&["sched_setafinity"], false).unwrap_err().to_string();
        assert!(error.contains("sched_setafinity"), "{error}");
    }

    #[test]
    fn a_named_policy_is_united_with_the_base() {
        let mut named = Policy::new(Action::KillProcess);
        named
            .allow_here(Arch::NATIVE.call("mount").unwrap(), "x")
            .unwrap();
        let change = |replace| Change {
            allowed: Allowed::Policy("more".into()),
            named: Some(named.clone()),
            replace,
        };
        let (both, notes) = Rules::new("python", base(), Some(&change(false))).unwrap();
        assert!(
            says(&both, "mount").runs() && says(&both, "openat").runs() && notes[0].contains("adds"),
            "{notes:?}"
        );
        let (other, notes) = Rules::new("python", base(), Some(&change(true))).unwrap();
        assert!(
            says(&other, "mount").runs()
                && !says(&other, "openat").runs()
                && notes[0].contains("takes the place"),
            "{notes:?}"
        );
    }

    #[test]
    fn the_remedy_is_a_line_of_the_configuration_that_keeps_what_is_listed() {
        let (rules, _) = listed(&["mount", "9999"], false).unwrap();
        let call = Arch::NATIVE.call("ptrace").unwrap();
        let violation = Violation {
            syscall: "ptrace".into(),
            nr: call.nr(),
            arch: call.abi(),
            args: [0; 6],
            pid: 1,
            tid: 1,
            site: None,
            no_lines: None,
            remedy: None,
        };
        let remedy = rules.remedy(&violation).unwrap();
        assert_eq!(remedy.dify, "allowed_syscalls: [mount, 9999, ptrace]");
        assert!(
            remedy.command.contains("policy allow python ptrace"),
            "{}",
            remedy.command
        );
    }
}
