//! OCI seccomp JSON for runc, crun and Podman.

use callgate_abi::Arch;

use super::{EmitError, Emitted, lost};
use crate::{Policy, Rule, names};

/// The policy as OCI seccomp JSON.
///
/// With an architecture, it is resolved to that one: its rules, its names, and nothing that a runtime
/// would have to understand beyond OCI. Without, it is the policy's own file. OCI has no rules for one
/// architecture: runc and crun apply them everywhere, which is reported as lost (Docker resolves them:
/// [`moby`](super::moby)). So are several comparisons of one argument in one rule, which runc and crun take
/// for alternatives.
///
/// # Errors
/// [`EmitError::Json`] in theory only.
pub fn oci(policy: &Policy, arch: Option<Arch>) -> Result<Emitted, EmitError> {
    let mut lost = lost::repeated(policy, arch);
    let text = match arch {
        Some(arch) => resolved(policy, arch).to_json()?,
        None => {
            let bound = policy.rules.iter().enumerate().filter_map(|(index, rule)| {
                let arches = rule.arches.as_ref()?.join(", ");
                Some(format!(
                    "syscalls[{index}] is for {arches} alone; runc and crun apply it everywhere (see --arch)"
                ))
            });
            lost.extend(bound);
            policy.to_json()?
        }
    };
    Ok(Emitted { text, lost })
}

/// The policy as it counts on one architecture: its rules and its names alone.
pub(crate) fn resolved(policy: &Policy, arch: Arch) -> Policy {
    let mut resolved = policy.clone();
    resolved.architectures = vec![arch.scmp_name().to_owned()];
    resolved.rules = policy
        .rules_for(arch)
        .filter_map(|(_, rule)| resolve(rule, arch))
        .collect();
    resolved
}

fn resolve(rule: &Rule, arch: Arch) -> Option<Rule> {
    let names: Vec<String> = rule
        .names
        .iter()
        .filter(|name| names::on(arch, name).is_some())
        .cloned()
        .collect();
    (!names.is_empty()).then(|| Rule {
        names,
        arches: None,
        ..rule.clone()
    })
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Action, ArgCondition, CompareOp};

    use super::*;

    #[test]
    fn resolved_for_an_architecture_it_decides_the_same_there_without_mobys_words() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["open", "read"]).because("files"),
            Rule::new(Action::Allow, ["openat"]).only_on(Arch::Aarch64),
        ];
        let emitted = oci(&policy, Some(Arch::X86_64)).unwrap();
        let text = emitted.text;
        assert!(!text.contains("includes") && !text.contains("openat") && !text.contains("AARCH64"));
        assert!(emitted.lost.is_empty());
        let resolved = Policy::parse(&text).unwrap();
        for call in Arch::X86_64.calls() {
            assert_eq!(
                resolved.decide(call, &[0; 6]),
                policy.decide(call, &[0; 6]),
                "{call}"
            );
        }
        assert!(
            !oci(&policy, Some(Arch::Aarch64))
                .unwrap()
                .text
                .contains("\"open\"")
        );
        let both = oci(&policy, None).unwrap();
        assert_eq!(Policy::parse(&both.text).unwrap(), policy);
        assert!(
            both.lost[0].contains("syscalls[1] is for arm64 alone"),
            "{:?}",
            both.lost
        );
    }

    #[test]
    fn two_comparisons_of_one_argument_are_lost_on_runc_and_crun() {
        let range = [CompareOp::Ge, CompareOp::Le].map(|op| ArgCondition::new(0, op, 5).unwrap());
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![Rule::new(Action::Allow, ["socket"]).when(range)];
        assert!(oci(&policy, None).unwrap().lost[0].contains("more than once"));
    }
}
