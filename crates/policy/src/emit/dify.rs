//! dify-sandbox's list of numbers, for its config.yaml and its environment.

use callgate_abi::Arch;

use super::Emitted;
use super::lists::{lost, numbers};
use crate::Policy;

/// The policy as dify-sandbox's `allowed_syscalls`, with the same list for its environment in a comment.
///
/// The list is whole: up to a94a466 the setting replaces the built-in list instead of adding to it.
/// It knows numbers alone, so errno rules and conditions on arguments are lost: a call that the policy
/// allows for some arguments is allowed there for all.
pub fn dify(policy: &Policy, arch: Arch) -> Emitted {
    let allowed = policy.allowed(arch);
    let list = numbers(&allowed);
    let lost = lost(policy, arch);
    let mut text = format!(
        "# dify-sandbox conf/config.yaml, {arch} numbers. The list is whole, as the setting replaces the\n\
         # built-in list there (up to a94a466; later versions may add to it).\n\
         allowed_syscalls: [{list}]\n\
         # The same for the environment:\n\
         # ALLOWED_SYSCALLS={}\n",
        list.replace(", ", ",")
    );
    for sentence in &lost {
        text.push_str(&format!("# lost: {sentence}\n"));
    }
    Emitted { text, lost }
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Action, ArgCondition, CompareOp};

    use super::*;
    use crate::Rule;

    #[test]
    fn the_list_has_the_numbers_of_its_architecture_and_says_what_it_cannot_say() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["write", "read", "exit_group"]),
            Rule::new(Action::Allow, ["socket"]).when([ArgCondition::new(0, CompareOp::Eq, 1).unwrap()]),
            Rule::new(Action::Errno(38), ["clone3"]),
        ];
        let amd64 = dify(&policy, Arch::X86_64);
        assert!(
            amd64.text.contains("\nallowed_syscalls: [0, 1, 41, 231]\n"),
            "{}",
            amd64.text
        );
        assert!(amd64.text.contains("\n# ALLOWED_SYSCALLS=0,1,41,231\n"));
        assert_eq!(
            amd64.lost,
            [
                "socket: allowed for some arguments; there for all",
                "clone3: errno(ENOSYS) becomes kill"
            ]
        );
        assert!(
            dify(&policy, Arch::Aarch64)
                .text
                .contains("\nallowed_syscalls: [63, 64, 94, 198]\n")
        );
    }
}
