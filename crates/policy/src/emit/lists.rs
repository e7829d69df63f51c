//! Bare lists of what is allowed: names, numbers.

use callgate_abi::{Arch, Syscall};

use super::{Emitted, lost};
use crate::Policy;

/// `0, 1, 3`: the numbers of the calls, ascending, as both forms of the setting write them.
pub fn numbers(calls: &[Syscall]) -> String {
    let mut numbers: Vec<u32> = calls.iter().map(|call| call.nr()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// The allowed calls by name, one per line, by number.
///
/// A list knows no errnos and no conditions: these are lost.
pub fn list_names(policy: &Policy, arch: Arch) -> Emitted {
    let allowed = policy.allowed(arch);
    Emitted {
        text: allowed.iter().map(|call| format!("{call}\n")).collect(),
        lost: lost::list(policy, arch),
    }
}

/// The numbers of the allowed calls, ascending, in one line with commas. What is lost is as for
/// [`list_names`].
pub fn list_numbers(policy: &Policy, arch: Arch) -> Emitted {
    Emitted {
        text: format!("{}\n", numbers(&policy.allowed(arch))),
        lost: lost::list(policy, arch),
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::Action;

    use super::*;
    use crate::Rule;

    #[test]
    fn names_and_numbers_are_the_same_list_and_errnos_are_reported_as_lost() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![Rule::new(Action::Allow, ["write", "read", "open"])];
        let (names, numbers) = (
            list_names(&policy, Arch::X86_64),
            list_numbers(&policy, Arch::X86_64),
        );
        assert_eq!(
            (names.text.as_str(), numbers.text.as_str()),
            ("read\nwrite\nopen\n", "0, 1, 2\n")
        );
        assert_eq!(list_names(&policy, Arch::Aarch64).text, "read\nwrite\n");
        assert!(names.lost.is_empty() && numbers.lost.is_empty());
        policy.rules.push(Rule::new(Action::Errno(38), ["clone3"]));
        assert_eq!(
            list_names(&policy, Arch::X86_64).lost,
            ["clone3: errno(ENOSYS) becomes kill"]
        );
    }
}
