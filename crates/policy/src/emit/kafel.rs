//! kafel, the language of nsjail's `--seccomp_policy`.

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch, ArgCondition, CompareOp, Syscall};

use super::{Emitted, lost, text};
use crate::{Policy, Verdict};

/// What kafel calls otherwise than the kernel's tables do: it names the functions (src/syscalls/*.c).
const NAMES: [(Arch, &str, &str); 10] = [
    (Arch::X86_64, "stat", "newstat"),
    (Arch::X86_64, "fstat", "newfstat"),
    (Arch::X86_64, "lstat", "newlstat"),
    (Arch::X86_64, "sendfile", "sendfile64"),
    (Arch::X86_64, "uname", "newuname"),
    (Arch::X86_64, "_sysctl", "sysctl"),
    (Arch::X86_64, "umount2", "umount"),
    (Arch::Aarch64, "fstat", "newfstat"),
    (Arch::Aarch64, "uname", "newuname"),
    (Arch::Aarch64, "umount2", "umount"),
];

/// The policy as a kafel file for one architecture.
///
/// The first rule that matches decides there, so the blocks stand with the most restrictive action first.
/// Conditions name their arguments a0 to a5, which makes kafel compare all 64 bits. Newer calls stand as
/// `SYSCALL[number]`, which every kafel reads. All of a policy can be said but what happens to x32's calls;
/// i386's end the thread there.
pub fn kafel(policy: &Policy, arch: Arch, name: &str) -> Emitted {
    let mut lost = lost::loading(policy);
    lost.extend(lost::unknown(policy, policy.default));
    lost.extend(lost::x32(policy, arch));
    let mut blocks: BTreeMap<Action, Vec<(Option<String>, String)>> = BTreeMap::new();
    for call in arch.calls() {
        let reason = text::because(policy, arch, call);
        let mut add = |action, args: &[ArgCondition]| {
            blocks
                .entry(action)
                .or_default()
                .push((reason.clone(), entry(arch, call, args)));
        };
        match policy.verdict(call) {
            Verdict::Always(action) if action == policy.default => {}
            Verdict::Always(action) => add(action, &[]),
            Verdict::Depends { base, rules, .. } => {
                rules.iter().for_each(|(action, args)| add(*action, args));
                if base != policy.default {
                    add(base, &[]);
                }
            }
        }
    }
    let mut out = text::header(
        "//",
        &format!("kafel policy for nsjail on {arch}"),
        policy,
        name,
        &lost,
    );
    out.push_str("POLICY callgate {\n");
    let blocks: Vec<String> = blocks
        .iter()
        .rev()
        .map(|(action, entries)| block(*action, entries))
        .collect();
    out.push_str(&blocks.join(",\n"));
    out.push_str(if blocks.is_empty() { "}\n" } else { "\n}\n" });
    out.push_str(&format!("USE callgate DEFAULT {}\n", target(policy.default)));
    Emitted { text: out, lost }
}

fn block(action: Action, entries: &[(Option<String>, String)]) -> String {
    let (mut out, mut before) = (format!("  {} {{\n", target(action)), &None);
    for (place, (reason, entry)) in entries.iter().enumerate() {
        if reason != before {
            out.push_str(
                &reason
                    .as_deref()
                    .map_or(String::new(), |reason| text::comment("    //", reason)),
            );
            before = reason;
        }
        let comma = if place + 1 < entries.len() { "," } else { "" };
        out.push_str(&format!("    {entry}{comma}\n"));
    }
    out.push_str("  }");
    out
}

fn target(action: Action) -> String {
    match action {
        Action::Allow => "ALLOW".to_owned(),
        Action::Log => "LOG".to_owned(),
        Action::Trace(data) => format!("TRACE({data})"),
        Action::Errno(errno) => format!("ERRNO({errno})"),
        Action::Trap => "TRAP(0)".to_owned(),
        Action::KillThread => "KILL_THREAD".to_owned(),
        Action::KillProcess => "KILL_PROCESS".to_owned(),
    }
}

/// `socket(a0, a1) { a0 == 0x1 && a1 == 0x2 }`.
fn entry(arch: Arch, call: Syscall, args: &[ArgCondition]) -> String {
    let name = name(arch, call);
    let Some(last) = args.iter().map(|condition| condition.index()).max() else {
        return name;
    };
    let declared: Vec<String> = (0..=last).map(|index| format!("a{index}")).collect();
    let conditions: Vec<String> = args.iter().map(condition).collect();
    format!(
        "{name}({}) {{ {} }}",
        declared.join(", "),
        conditions.join(" && ")
    )
}

fn name(arch: Arch, call: Syscall) -> String {
    // The last numbers that kafel has had from its beginning.
    let last = match arch {
        Arch::X86_64 => 316,
        Arch::Aarch64 => 276,
    };
    match call.known_name() {
        Some(name) if call.nr() <= last => {
            let other = NAMES
                .iter()
                .find(|(on, kernel, _)| *on == arch && *kernel == name);
            other.map_or(name, |(_, _, kafel)| kafel).to_owned()
        }
        _ => format!("SYSCALL[{}]", call.nr()),
    }
}

fn condition(condition: &ArgCondition) -> String {
    let (index, value) = (condition.index(), condition.value());
    let op = match condition.op() {
        CompareOp::Eq => "==",
        CompareOp::Ne => "!=",
        CompareOp::Lt => "<",
        CompareOp::Le => "<=",
        CompareOp::Ge => ">=",
        CompareOp::Gt => ">",
        CompareOp::MaskedEq(mask) => return format!("(a{index} & {mask:#x}) == {value:#x}"),
    };
    format!("a{index} {op} {value:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rule;

    #[test]
    fn the_strictest_block_comes_first_and_names_are_kafels() {
        let arg = |op, value| ArgCondition::new(1, op, value).unwrap();
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["fstat", "statx"]).because("files"),
            Rule::new(Action::Errno(97), ["socket"]).when([arg(CompareOp::MaskedEq(0xf), 3)]),
            Rule::new(Action::Allow, ["socket"]),
        ];
        let emitted = kafel(&policy, Arch::X86_64, "p.json");
        assert_eq!(
            emitted.text,
            "// kafel policy for nsjail on amd64, made by callgate from the policy p.json\n\
             POLICY callgate {\n  ERRNO(97) {\n    socket(a0, a1) { (a1 & 0xf) == 0x3 }\n  },\n  ALLOW {\n    \
             // files\n    newfstat,\n    socket,\n    // files\n    SYSCALL[332]\n  }\n}\n\
             USE callgate DEFAULT KILL_PROCESS\n"
        );
        assert!(emitted.lost.is_empty());
    }
}
