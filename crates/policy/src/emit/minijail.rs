//! minijail's `.policy` text: what minijail0 reads with -S, and compile_seccomp_policy compiles.

use callgate_abi::{Action, Arch, CompareOp, errno_name};

use super::{Emitted, lost, text};
use crate::logic::{self, Any, Atom};
use crate::{Policy, Verdict};

/// The policy as a `.policy` file, whose calls are those of one architecture.
///
/// A line allows a call, also under conditions, or lets it fail with an errno; all else kills. So what is
/// lost is a default other than kill, the actions trap, trace, log and kill-thread, and calls that get three
/// answers or more by their arguments; such a call is killed.
pub fn minijail(policy: &Policy, arch: Arch, name: &str) -> Emitted {
    let mut lost = lost::loading(policy);
    lost.extend(lost::unknown(policy, Action::KillProcess));
    if policy.default != Action::KillProcess {
        lost.push(format!("the default is {}; there it is kill", policy.default));
    }
    let (mut lines, mut before) = (String::new(), None);
    for call in arch.calls() {
        let verdict = policy.verdict(call);
        let Some(filter) = filter(&verdict, policy.default) else {
            lost.push(format!("{call}: {verdict}; there kill"));
            continue;
        };
        if filter.is_empty() {
            continue;
        }
        let reason = text::because(policy, arch, call);
        if reason != before {
            lines.push_str(
                &reason
                    .as_deref()
                    .map_or(String::new(), |reason| text::comment("#", reason)),
            );
            before = reason;
        }
        lines.push_str(&format!("{call}: {filter}\n"));
    }
    if lines.contains("; return ") {
        let note =
            "for minijail0 -S: compile_seccomp_policy reads `conditions; return ERRNO` the other way round";
        lines.insert_str(0, &text::comment("#", note));
    }
    let header = text::header("#", &format!("minijail policy for {arch}"), policy, name, &lost);
    Emitted {
        text: format!("{header}{lines}"),
        lost,
    }
}

/// What stands after the colon; empty where the call needs no line.
fn filter(verdict: &Verdict, default: Action) -> Option<String> {
    let refusal = |action| match action {
        Action::KillProcess => Some(None),
        Action::Errno(errno) => Some(Some(errno_word(errno))),
        _ => None,
    };
    match verdict {
        Verdict::Always(Action::Allow) => Some("1".to_owned()),
        Verdict::Always(Action::KillProcess) => Some(String::new()),
        Verdict::Always(Action::Errno(errno)) => Some(format!("return {}", errno_word(*errno))),
        // The default's own loss is told once.
        Verdict::Always(action) if *action == default => Some(String::new()),
        Verdict::Always(_) => None,
        Verdict::Depends { base, rules, .. } => {
            let of = |wanted: bool| -> Any {
                let own = rules
                    .iter()
                    .filter(|(action, _)| (*action == Action::Allow) == wanted);
                own.map(|(_, args)| logic::all(args)).collect()
            };
            let mut refusals = rules
                .iter()
                .map(|(action, _)| *action)
                .chain([*base])
                .filter(|a| *a != Action::Allow);
            let first = refusals.next()?;
            if refusals.any(|other| other != first) {
                return None;
            }
            let softer = if *base == Action::Allow {
                logic::always()
            } else {
                of(true)
            };
            let (allowed, otherwise) = (
                logic::both(&softer, &logic::none_of(&of(false))?)?,
                refusal(first)?,
            );
            let expression = expression(&allowed)?;
            Some(match (expression.is_empty(), otherwise) {
                (true, None) => String::new(),
                (true, Some(errno)) => format!("return {errno}"),
                (false, None) => expression,
                (false, Some(errno)) => format!("{expression}; return {errno}"),
            })
        }
    }
}

fn errno_word(errno: u16) -> String {
    let name = errno_name(errno);
    if name.starts_with('E') {
        name.into_owned()
    } else {
        errno.to_string()
    }
}

/// `arg0 == 0x1 && arg1 & 0x2 || …`; empty if nothing satisfies it.
fn expression(alternatives: &Any) -> Option<String> {
    let mut all: Vec<String> = Vec::new();
    for conditions in alternatives {
        let atoms: Vec<String> = conditions.iter().flat_map(atoms).collect();
        // A line has no word for "always" beside conditions: two opposites are one.
        let clause = match atoms.is_empty() {
            true => return Some("arg0 >= 0x0".to_owned()),
            false => atoms.join(" && "),
        };
        all.push(clause);
    }
    Some(all.join(" || "))
}

/// `arg & m` holds if any bit of m is set, `arg in m` if none outside of m is.
fn atoms(atom: &Atom) -> Vec<String> {
    let condition = match atom {
        Atom::AnyBit { index, mask } => return vec![format!("arg{index} & {mask:#x}")],
        Atom::Is(condition) => condition,
    };
    let (index, value) = (condition.index(), condition.value());
    let one = |op: &str, value: u64| format!("arg{index} {op} {value:#x}");
    match condition.op() {
        CompareOp::Eq => vec![one("==", value)],
        CompareOp::Ne => vec![one("!=", value)],
        CompareOp::Lt => vec![one("<", value)],
        CompareOp::Le => vec![one("<=", value)],
        CompareOp::Ge => vec![one(">=", value)],
        CompareOp::Gt => vec![one(">", value)],
        CompareOp::MaskedEq(u64::MAX) => vec![one("==", value)],
        CompareOp::MaskedEq(mask) => {
            let clear = mask & !value;
            let inside = (clear != 0).then(|| one("in", !clear));
            logic::bits(value)
                .map(|bit| one("&", bit))
                .chain(inside)
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::ArgCondition;

    use super::*;
    use crate::Rule;

    fn lines(rules: Vec<Rule>) -> (Vec<String>, Vec<String>) {
        let policy = Policy {
            rules,
            ..Policy::new(Action::KillProcess)
        };
        let emitted = minijail(&policy, Arch::X86_64, "p.json");
        let lines = emitted.text.lines().filter(|line| !line.starts_with('#'));
        (lines.map(str::to_owned).collect(), emitted.lost)
    }

    #[test]
    fn conditions_become_expressions_also_where_the_rule_refuses() {
        let arg = |op, value| ArgCondition::new(1, op, value).unwrap();
        let (lines, lost) = lines(vec![
            Rule::new(Action::Allow, ["read", "mmap"]),
            Rule::new(Action::KillProcess, ["mmap"]).when([arg(CompareOp::MaskedEq(14), 6)]),
            Rule::new(Action::Allow, ["ioctl"]).when([arg(CompareOp::MaskedEq(0xff), 0x41)]),
            Rule::new(Action::Allow, ["ioctl"]).when([arg(CompareOp::Eq, 7), arg(CompareOp::Ge, 1)]),
            Rule::new(Action::Errno(38), ["clone3"]),
            Rule::new(Action::Allow, ["socket"]),
            Rule::new(Action::Errno(97), ["socket"]).when([arg(CompareOp::Ne, 1)]),
        ]);
        assert_eq!(
            lines,
            [
                "read: 1",
                "mmap: arg1 & 0x8 || arg1 in 0xfffffffffffffffd || arg1 in 0xfffffffffffffffb",
                "ioctl: arg1 & 0x1 && arg1 & 0x40 && arg1 in 0xffffffffffffff41 || arg1 == 0x7 && arg1 >= 0x1",
                "socket: arg1 == 0x1; return EAFNOSUPPORT",
                "clone3: return ENOSYS",
            ]
        );
        assert_eq!(lost, [] as [&str; 0]);
    }

    #[test]
    fn what_a_line_cannot_say_is_killed_and_reported() {
        let one = ArgCondition::new(0, CompareOp::Eq, 1).unwrap();
        let (lines, lost) = lines(vec![
            Rule::new(Action::Log, ["read"]),
            Rule::new(Action::Allow, ["socket"]),
            Rule::new(Action::Errno(1), ["socket"]).when([one]),
            Rule::new(Action::Errno(2), ["socket"]).when([ArgCondition::new(0, CompareOp::Eq, 2).unwrap()]),
        ]);
        assert!(lines.is_empty(), "{lines:?}");
        assert_eq!(lost.len(), 2, "{lost:?}");
        assert_eq!(lost[0], "read: log; there kill");
    }
}
