//! The Kubernetes object of the security-profiles-operator: `SeccompProfile`, v1beta1.

use callgate_abi::{Action, Arch, ArgCondition, CompareOp};

use super::oci::resolved;
use super::{Emitted, lost, text};
use crate::oci::ActionName;
use crate::{Policy, Rule};

/// What the object's schema takes (api/seccompprofile/v1beta1 at 0.10).
const ARCHES: [&str; 19] = [
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
];
const FLAGS: [&str; 4] = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
const LISTENERS: &str = "/var/run/security-profiles-operator/";
/// The errno that runtimes answer where the object names none.
const EPERM: u16 = 1;

/// The policy as a `SeccompProfile`, resolved to one architecture; the operator writes OCI JSON from it.
///
/// What is lost: another errno than EPERM as the default (there is no `defaultErrnoRet`), errno 0, values of
/// 2^63 and more (they are signed), flags, architectures and listeners that its schema does not have, and
/// several comparisons of one argument. A condition that can't be said is left out where the rule refuses
/// more than the default, else its rule is: never is more allowed.
pub fn k8s(policy: &Policy, arch: Arch, name: &str) -> Emitted {
    let mut lost = lost::repeated(policy, Some(arch));
    lost.extend(lost::unknown(policy, policy.default));
    let policy = resolved(policy, arch);
    let mut rules = String::new();
    for rule in &policy.rules {
        rules.push_str(&rule_text(rule, policy.default, &mut lost));
    }
    if let Action::Errno(errno) | Action::Trace(errno) = policy.default {
        if errno != EPERM {
            lost.push(format!(
                "the default is {}; there its errno is EPERM",
                policy.default
            ));
        }
    }
    let mut spec = format!("  defaultAction: {}\n", policy.default.scmp_name());
    let arches = policy
        .architectures
        .iter()
        .filter(|arch| known("SCMP_ARCH_", &ARCHES, arch));
    spec.push_str(&list("architectures", &arches.collect::<Vec<_>>()));
    let (flags, foreign): (Vec<&String>, Vec<&String>) = policy
        .flags
        .iter()
        .partition(|flag| known("SECCOMP_FILTER_FLAG_", &FLAGS, flag));
    lost.extend(foreign.iter().map(|flag| format!("the flag {flag}")));
    spec.push_str(&list("flags", &flags));
    match &policy.listener_path {
        Some(path) if !path.starts_with(LISTENERS) => lost.push(format!("listenerPath outside {LISTENERS}")),
        Some(path) => spec.push_str(&format!("  listenerPath: {}\n", quoted(path))),
        None => {}
    }
    if let Some(metadata) = &policy.listener_metadata {
        spec.push_str(&format!("  listenerMetadata: {}\n", quoted(metadata)));
    }
    let what = format!("SeccompProfile of the security-profiles-operator, {arch}");
    let header = text::header("#", &what, &policy, name, &lost);
    let syscalls = if rules.is_empty() {
        String::new()
    } else {
        format!("  syscalls:\n{rules}")
    };
    let text = format!(
        "{header}apiVersion: security-profiles-operator.x-k8s.io/v1beta1\nkind: SeccompProfile\nmetadata:\n  name: {}\n\
         spec:\n{spec}{syscalls}",
        object_name(name)
    );
    Emitted { text, lost }
}

fn known(prefix: &str, list: &[&str], word: &str) -> bool {
    word.strip_prefix(prefix).is_some_and(|word| list.contains(&word))
}

fn list(key: &str, words: &[&String]) -> String {
    match words.is_empty() {
        true => String::new(),
        false => format!(
            "  {key}:\n{}",
            words
                .iter()
                .map(|word| format!("  - {word}\n"))
                .collect::<String>()
        ),
    }
}

/// JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn rule_text(rule: &Rule, default: Action, lost: &mut Vec<String>) -> String {
    let (ActionName(action), errno) = ActionName::of(rule.action);
    let names = rule.names.join(", ");
    let unsayable = rule.args.iter().any(|condition| parts(condition).is_none());
    if unsayable && rule.action <= default {
        lost.push(format!(
            "{names}: {} under a condition with a value over 2^63-1; there {default}",
            rule.action
        ));
        return String::new();
    }
    if unsayable {
        lost.push(format!(
            "{names}: a condition with a value over 2^63-1; there {} without it",
            rule.action
        ));
    }
    if errno == Some(0) {
        lost.push(format!("{names}: {}; there its errno is EPERM", rule.action));
    }
    let mut text = rule
        .comment
        .as_deref()
        .map_or(String::new(), |comment| text::comment("  #", comment));
    text.push_str("  - names:\n");
    let mut seen: Vec<&String> = Vec::new();
    for name in &rule.names {
        if !seen.contains(&name) {
            seen.push(name);
            text.push_str(&format!("    - {name}\n"));
        }
    }
    text.push_str(&format!("    action: {action}\n"));
    if let Some(errno) = errno.filter(|errno| *errno > 0) {
        text.push_str(&format!("    errnoRet: {errno}\n"));
    }
    if !unsayable && !rule.args.is_empty() {
        text.push_str("    args:\n");
        for condition in &rule.args {
            let (op, value, two) = parts(condition).unwrap_or_default();
            text.push_str(&format!(
                "    - index: {}\n      op: SCMP_CMP_{op}\n      value: {value}\n",
                condition.index()
            ));
            if let Some(two) = two {
                text.push_str(&format!("      valueTwo: {two}\n"));
            }
        }
    }
    text
}

/// Operator, value and second value, if the object's signed numbers can say them.
fn parts(condition: &ArgCondition) -> Option<(&'static str, i64, Option<i64>)> {
    let value = i64::try_from(condition.value()).ok()?;
    let plain = |op| Some((op, value, None));
    match condition.op() {
        CompareOp::Eq => plain("EQ"),
        CompareOp::Ne => plain("NE"),
        CompareOp::Lt => plain("LT"),
        CompareOp::Le => plain("LE"),
        CompareOp::Ge => plain("GE"),
        CompareOp::Gt => plain("GT"),
        CompareOp::MaskedEq(mask) => Some(("MASKED_EQ", i64::try_from(mask).ok()?, Some(value))),
    }
}

/// A name that Kubernetes takes for an object (RFC 1123): from the last part of the policy's own.
fn object_name(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or_default();
    let last = last.strip_suffix(".json").unwrap_or(last).to_ascii_lowercase();
    let word: String = last
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .take(200)
        .collect();
    match word.trim_matches(['-', '.']) {
        "" => "callgate".to_owned(),
        // Parts between dots must begin and end with a letter or digit.
        word if word.contains("..") || word.contains(".-") || word.contains("-.") => word.replace('.', "-"),
        word => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_object_cannot_say_is_lost_and_never_allows_more() {
        let over = ArgCondition::new(0, CompareOp::Eq, u64::MAX).unwrap();
        let mut policy = Policy::new(Action::Errno(38));
        policy.rules = vec![
            Rule::new(Action::Allow, ["socket"]).when([over]),
            Rule::new(Action::KillProcess, ["personality"]).when([over]),
            Rule::new(Action::Errno(0), ["getpid"]),
        ];
        let emitted = k8s(&policy, Arch::X86_64, "p.json");
        assert_eq!(
            emitted.lost,
            [
                "socket: allow under a condition with a value over 2^63-1; there errno(ENOSYS)",
                "personality: a condition with a value over 2^63-1; there kill without it",
                "getpid: errno(errno_0); there its errno is EPERM",
                "the default is errno(ENOSYS); there its errno is EPERM",
            ]
        );
        assert!(!emitted.text.contains("- socket") && emitted.text.contains("- personality"));
    }

    #[test]
    fn names_become_what_kubernetes_takes() {
        for (name, object) in [
            ("my dir/Num_py.policy.json", "num-py.policy"),
            ("-", "callgate"),
            ("a..b", "a--b"),
            ("python", "python"),
        ] {
            assert_eq!(object_name(name), object);
        }
    }
}
