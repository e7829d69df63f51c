//! What breaks programs.

use callgate_abi::{Action, Severity};

use super::{Finding, Look};
use crate::{Verdict, equivalents, names};

/// What every program needs sooner or later, and when.
const NEEDED: [(&str, &str); 4] = [
    ("exit", "a thread ends by it"),
    ("exit_group", "a process ends by it"),
    (
        "restart_syscall",
        "the kernel makes it when a sleep goes on after SIGCONT",
    ),
    ("rt_sigreturn", "a signal handler returns by it"),
];

/// Newer calls that libc or a language's runtime tries first: what breaks where the answer is an errno
/// other than ENOSYS.
const FALLBACKS: [(&str, &str); 4] = [
    ("clone3", "threads can't be started"),
    ("faccessat2", "shells can't find commands"),
    ("openat2", "programs that try it first can't open files"),
    ("statx", "files can't be asked about"),
];
const ENOSYS: u16 = 38;

pub(super) fn find(look: Look<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, when) in NEEDED {
        let Ok(call) = look.arch.call(name) else { continue };
        if !look.may_run(name) {
            found.push(Finding {
                reason: when.into(),
                mend: format!("callgate policy allow POLICY {name}"),
                ..look.about(Severity::Warning, "missing-call", call)
            });
        }
    }
    for (name, breaks) in FALLBACKS {
        let Ok(call) = look.arch.call(name) else { continue };
        let mend = format!("callgate policy deny POLICY {name} --errno ENOSYS");
        match look.policy.verdict(call) {
            Verdict::Always(Action::Errno(errno)) if errno != ENOSYS => found.push(Finding {
                reason: format!(
                    "it fails with {}, and libc falls back on ENOSYS alone: {breaks}",
                    callgate_abi::errno_name(errno)
                ),
                mend,
                ..look.about(Severity::Warning, "no-fallback", call)
            }),
            Verdict::Always(action @ (Action::Trap | Action::KillThread | Action::KillProcess)) => {
                found.push(Finding {
                    reason: format!("{action} ends programs whose libc tries it first and could do without"),
                    mend,
                    ..look.about(Severity::Note, "no-fallback", call)
                });
            }
            _ => {}
        }
    }
    found.extend(absent(look));
    found
}

/// Allowed names that this architecture lacks, where none of what libc calls in their place is open.
fn absent(look: Look<'_>) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    for (index, rule) in look
        .policy
        .rules_for(look.arch)
        .filter(|(_, rule)| rule.action.runs())
    {
        for name in rule
            .names
            .iter()
            .filter(|name| names::on(look.arch, name).is_none())
        {
            let others = callgate_abi::Arch::ALL
                .into_iter()
                .filter(|other| *other != look.arch);
            let there = others.filter_map(|other| names::on(other, name)).next();
            let Some(there) = there else { continue };
            let instead = equivalents(there, look.arch).calls;
            if instead.is_empty() || instead.iter().any(|call| look.policy.verdict(*call).may_run()) {
                continue;
            }
            let list: Vec<String> = instead.iter().map(ToString::to_string).collect();
            if found.iter().any(|known| known.call.as_deref() == Some(name)) {
                continue;
            }
            found.push(Finding {
                severity: Severity::Warning,
                kind: "absent-call",
                call: Some(name.clone()),
                rule: Some(index),
                arches: vec![look.arch],
                reason: format!(
                    "{} has no {name}; libc calls {} there, which is refused",
                    look.arch,
                    list.join(", ")
                ),
                cve: None,
                mend: format!("callgate policy allow POLICY {}", list.join(" ")),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;
    use crate::lint::lint;
    use crate::{Policy, Rule};

    fn policy(rules: Vec<Rule>) -> Policy {
        Policy {
            rules,
            ..Policy::new(Action::KillProcess)
        }
    }

    #[test]
    fn the_calls_that_every_program_needs_are_asked_for_once_for_both_architectures() {
        let found = lint(
            &policy(vec![Rule::new(Action::Allow, ["exit", "exit_group"])]),
            &Arch::ALL,
        );
        let missing: Vec<_> = found.iter().filter(|f| f.kind == "missing-call").collect();
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(
            missing
                .iter()
                .all(|f| f.arches == Arch::ALL && f.severity == Severity::Warning)
        );
    }

    #[test]
    fn an_errno_that_stops_the_fallback_is_a_warning_a_kill_a_note_and_enosys_nothing() {
        let kinds = |action| {
            let policy = policy(vec![Rule::new(action, ["clone3"])]);
            let found = lint(&policy, &[Arch::X86_64]);
            let about = |f: &&Finding| f.call.as_deref() == Some("clone3");
            found
                .iter()
                .filter(about)
                .map(|f| (f.severity, f.kind))
                .collect::<Vec<_>>()
        };
        assert_eq!(kinds(Action::Errno(1)), [(Severity::Warning, "no-fallback")]);
        assert_eq!(kinds(Action::KillProcess), [(Severity::Note, "no-fallback")]);
        assert_eq!(kinds(Action::Errno(38)), []);
    }

    #[test]
    fn a_name_without_its_equivalent_is_found_on_the_architecture_that_lacks_it() {
        let absent = |names: &[&str]| {
            let found = lint(
                &policy(vec![Rule::new(Action::Allow, names.to_vec())]),
                &Arch::ALL,
            );
            found
                .into_iter()
                .filter(|f| f.kind == "absent-call")
                .collect::<Vec<_>>()
        };
        let found = absent(&["open", "read"]);
        assert_eq!(
            (found[0].call.as_deref(), &found[0].arches[..]),
            (Some("open"), &[Arch::Aarch64][..])
        );
        assert!(found[0].mend.contains("openat"));
        assert_eq!(absent(&["open", "openat", "arch_prctl"]), []);
    }
}
