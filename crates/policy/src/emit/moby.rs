//! Docker's profile: OCI with `archMap`, `comment` and `includes.arches` (moby, profiles/seccomp).

use callgate_abi::Arch;
use serde_json::{Value, json};

use super::oci::resolved;
use super::{EmitError, Emitted, lost};
use crate::Policy;

/// Which compatibility entries belong to which machine, in libseccomp's words.
const ENTRIES: [(&str, &[&str]); 2] = [
    ("SCMP_ARCH_X86_64", &["SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ("SCMP_ARCH_AARCH64", &["SCMP_ARCH_ARM"]),
];

/// The policy as Docker's daemon reads a profile (`--security-opt seccomp=FILE`), for all architectures or,
/// resolved, for one.
///
/// The architectures stand in `archMap`, as Docker refuses a file with both; rules for one architecture
/// carry `includes.arches`. What is lost: several comparisons of one argument in one rule, which Docker's
/// runtime takes for alternatives.
///
/// # Errors
/// [`EmitError::Json`] in theory only.
pub fn moby(policy: &Policy, arch: Option<Arch>, name: &str) -> Result<Emitted, EmitError> {
    let lost = lost::repeated(policy, arch);
    let mut policy = match arch {
        Some(arch) => resolved(policy, arch),
        None => policy.clone(),
    };
    let map = arch_map(&policy.architectures);
    policy.architectures.clear();
    let made = format!("Docker profile, made by callgate from the policy {name}");
    policy.comment = Some(
        policy
            .comment
            .map_or(made.clone(), |comment| format!("{made}. {comment}")),
    );
    let mut file: Value = serde_json::from_str(&policy.to_json()?)?;
    if let Value::Object(fields) = &mut file {
        let rules = fields.shift_remove("syscalls");
        fields.shift_remove("architectures");
        fields.insert("archMap".to_owned(), map);
        fields.extend(rules.map(|rules| ("syscalls".to_owned(), rules)));
    }
    let mut text = serde_json::to_string_pretty(&file)?;
    text.push('\n');
    Ok(Emitted { text, lost })
}

fn arch_map(listed: &[String]) -> Value {
    let of = |name: &str| {
        ENTRIES
            .iter()
            .find(|(arch, _)| *arch == name)
            .map_or(&[][..], |(_, entries)| *entries)
    };
    let is_entry = |name: &str| {
        ENTRIES
            .iter()
            .any(|(arch, entries)| entries.contains(&name) && listed.iter().any(|l| l == arch))
    };
    let pairs = listed.iter().filter(|name| !is_entry(name)).map(|name| {
        let entries: Vec<&str> = of(name)
            .iter()
            .copied()
            .filter(|entry| listed.iter().any(|l| l == entry))
            .collect();
        json!({"architecture": name, "subArchitectures": entries})
    });
    Value::Array(pairs.collect())
}

#[cfg(test)]
mod tests {
    use callgate_abi::Action;

    use super::*;
    use crate::Rule;

    #[test]
    fn architectures_become_a_map_and_rules_keep_theirs() {
        let mut policy = Policy::new(Action::Errno(1));
        policy.architectures = ["X86_64", "X86", "AARCH64", "S390X"]
            .map(|a| format!("SCMP_ARCH_{a}"))
            .to_vec();
        policy.rules = vec![
            Rule::new(Action::Allow, ["openat"])
                .only_on(Arch::Aarch64)
                .because("why"),
        ];
        let text = moby(&policy, None, "p.json").unwrap().text;
        let file: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            file["archMap"],
            json!([
                {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
                {"architecture": "SCMP_ARCH_S390X", "subArchitectures": []},
            ])
        );
        assert!(file.get("architectures").is_none());
        assert_eq!(file["syscalls"][0]["includes"]["arches"], json!(["arm64"]));
        let read = Policy::parse(&text).unwrap();
        assert_eq!(
            (&read.rules, &read.architectures),
            (&policy.rules, &policy.architectures)
        );
        let one = moby(&policy, Some(Arch::X86_64), "p.json").unwrap().text;
        assert!(!one.contains("openat") && !one.contains("AARCH64"));
    }
}
