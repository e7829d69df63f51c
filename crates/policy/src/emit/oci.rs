//! OCI seccomp JSON for runc, crun, Docker, Podman and Kubernetes.

use callgate_abi::Arch;

use super::EmitError;
use crate::{Policy, Rule, names};

/// The policy as OCI seccomp JSON.
///
/// With an architecture, it is resolved to that one: its rules, its names, and nothing that a runtime
/// would have to understand beyond OCI. Without, it is the policy's own file, whose rules for one
/// architecture carry moby's `includes.arches`: Docker resolves that, but runc and crun would apply
/// these rules everywhere.
///
/// # Errors
/// [`EmitError::Json`] in theory only.
pub fn oci(policy: &Policy, arch: Option<Arch>) -> Result<String, EmitError> {
    let Some(arch) = arch else {
        return Ok(policy.to_json()?);
    };
    let mut resolved = policy.clone();
    resolved.architectures = vec![arch.scmp_name().to_owned()];
    resolved.rules = policy
        .rules_for(arch)
        .filter_map(|(_, rule)| resolve(rule, arch))
        .collect();
    Ok(resolved.to_json()?)
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
    use callgate_abi::Action;

    use super::*;

    #[test]
    fn resolved_for_an_architecture_it_decides_the_same_there_without_mobys_words() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["open", "read"]).because("files"),
            Rule::new(Action::Allow, ["openat"]).only_on(Arch::Aarch64),
        ];
        let text = oci(&policy, Some(Arch::X86_64)).unwrap();
        assert!(!text.contains("includes") && !text.contains("openat") && !text.contains("AARCH64"));
        let resolved = Policy::parse(&text).unwrap();
        for call in Arch::X86_64.calls() {
            assert_eq!(
                resolved.decide(call, &[0; 6]),
                policy.decide(call, &[0; 6]),
                "{call}"
            );
        }
        assert!(!oci(&policy, Some(Arch::Aarch64)).unwrap().contains("\"open\""));
        assert_eq!(Policy::parse(&oci(&policy, None).unwrap()).unwrap(), policy);
    }
}
