//! What opens the sandbox.

use callgate_abi::{Action, Severity, risk};

use super::{Finding, Look};
use crate::Verdict;

/// The flags of clone that make namespaces (linux/sched.h). `CLONE_NEWTIME` is not among them: for clone
/// its bit is part of the signal's number.
const NAMESPACE_FLAGS: [(u64, &str); 7] = [
    (0x0002_0000, "CLONE_NEWNS"),
    (0x0200_0000, "CLONE_NEWCGROUP"),
    (0x0400_0000, "CLONE_NEWUTS"),
    (0x0800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
];

/// Families that reach the kernel or its neighbours rather than a network (linux/socket.h).
const FAMILIES: [(u64, &str); 5] = [
    (15, "AF_KEY"),
    (16, "AF_NETLINK"),
    (17, "AF_PACKET"),
    (38, "AF_ALG"),
    (40, "AF_VSOCK"),
];

/// Requests that put input into a terminal (asm-generic/ioctls.h); the kernel reads 32 bits of them.
const TERMINAL_INPUT: [(u64, &str); 2] = [(0x5412, "TIOCSTI"), (0x541c, "TIOCLINUX")];

/// The calls whose third argument is a protection, and `PROT_WRITE | PROT_EXEC` (linux/mman.h).
const PROTECTS: [&str; 3] = ["mmap", "mprotect", "pkey_mprotect"];
const PROT_WRITE_EXEC: u64 = 0x6;

/// Where a policy is as good as none: this many of a hundred calls run.
const NEARLY_ALL: usize = 95;

pub(super) fn find(look: Look<'_>) -> Vec<Finding> {
    let mut found = all(look);
    found.extend(calls(look));
    found.extend(executable(look));
    found.extend(
        [clone(look), clone3(look), socket(look), ioctl(look)]
            .into_iter()
            .flatten(),
    );
    found
}

/// The default and the whole.
fn all(look: Look<'_>) -> Vec<Finding> {
    let finding = |severity, kind, reason: String, mend: &str| Finding {
        severity,
        kind,
        call: None,
        rule: None,
        arches: vec![look.arch],
        reason,
        cve: None,
        mend: mend.into(),
    };
    let mut found = Vec::new();
    let (runs, calls) = (look.policy.allowed(look.arch).len(), look.arch.calls().count());
    if runs * 100 >= calls * NEARLY_ALL {
        found.push(finding(
            Severity::Error,
            "allow-all",
            format!("{runs} of {calls} calls run: such a policy (0-500) is no sandbox"),
            "trace what the program needs (callgate dig) and make a policy of that (callgate policy new)",
        ));
    }
    if look.policy.default.runs() {
        found.push(finding(
            Severity::Warning,
            "allow-default",
            "what no rule names runs, calls that future kernels add among it".into(),
            "refuse by default, and allow what is needed",
        ));
    }
    found
}

/// The calls that open a sandbox by themselves.
fn calls(look: Look<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for call in look.policy.allowed(look.arch) {
        let Some(risk) = risk(&call.name()).filter(|risk| risk.severity > Severity::Note) else {
            continue;
        };
        let bounded = matches!(look.policy.verdict(call), Verdict::Depends { .. });
        let severity = if bounded { Severity::Note } else { risk.severity };
        found.push(Finding {
            reason: format!(
                "{}{}",
                risk.reason,
                if bounded {
                    "; here for some arguments only"
                } else {
                    ""
                }
            ),
            cve: risk.cve,
            mend: format!("callgate policy deny POLICY {call}"),
            ..look.about(severity, "open-call", call)
        });
    }
    found
}

/// Memory that is writable and executable at once. No more than a note: an interpreter runs any code
/// without it, and just-in-time compilers and foreign-function interfaces need it.
fn executable(look: Look<'_>) -> Vec<Finding> {
    let open = |name: &&str| {
        look.decide(name, [0, 0, PROT_WRITE_EXEC])
            .is_some_and(Action::runs)
    };
    let calls = PROTECTS
        .into_iter()
        .filter(open)
        .filter_map(|name| look.arch.call(name).ok());
    calls
        .map(|call| Finding {
            reason: "it makes memory writable and executable at once".into(),
            mend: format!("allow {call} where arg2 & 0x6 is not 0x6, if no just-in-time compiler needs it"),
            ..look.about(Severity::Note, "write-execute", call)
        })
        .collect()
}

fn clone(look: Look<'_>) -> Option<Finding> {
    let call = look.arch.call("clone").ok()?;
    let runs = |flag: u64| look.decide("clone", [flag]).is_some_and(Action::runs);
    let open: Vec<&str> = NAMESPACE_FLAGS
        .iter()
        .filter(|(flag, _)| runs(*flag))
        .map(|(_, name)| *name)
        .collect();
    (!open.is_empty()).then(|| Finding {
        reason: format!(
            "it makes namespaces ({}), with all capabilities in them",
            open.join(", ")
        ),
        mend: "allow clone where arg0 & 0x7e020000 == 0, as Docker does".into(),
        ..look.about(Severity::Warning, "namespace-flags", call)
    })
}

fn clone3(look: Look<'_>) -> Option<Finding> {
    let call = look.arch.call("clone3").ok()?;
    look.may_run("clone3").then(|| Finding {
        reason: "its flags lie in memory, where no filter can read them: it makes namespaces".into(),
        mend: "refuse clone3 with ENOSYS: libc falls back to clone".into(),
        ..look.about(Severity::Warning, "namespace-flags", call)
    })
}

fn socket(look: Look<'_>) -> Option<Finding> {
    let call = look.arch.call("socket").ok()?;
    let runs = |family: u64| look.decide("socket", [family]).is_some_and(Action::runs);
    let open: Vec<&str> = FAMILIES
        .iter()
        .filter(|(family, _)| runs(*family))
        .map(|(_, name)| *name)
        .collect();
    (!open.is_empty()).then(|| Finding {
        reason: format!(
            "it runs for {}, which talk to the kernel and its neighbours",
            open.join(", ")
        ),
        mend: "allow socket where arg0 is 1 (AF_UNIX), 2 (AF_INET) or 10 (AF_INET6), as needed".into(),
        ..look.about(Severity::Warning, "socket-family", call)
    })
}

fn ioctl(look: Look<'_>) -> Option<Finding> {
    let call = look.arch.call("ioctl").ok()?;
    let runs = |request: u64| look.decide("ioctl", [0, request]).is_some_and(Action::runs);
    let upper = 1 << 32;
    let open: Vec<&str> = TERMINAL_INPUT
        .iter()
        .filter(|(request, _)| runs(*request) || runs(*request | upper))
        .map(|(_, name)| *name)
        .collect();
    let only_upper = TERMINAL_INPUT.iter().all(|(request, _)| !runs(*request));
    (!open.is_empty()).then(|| Finding {
        reason: format!(
            "{} put input into a terminal that the code shares with you{}",
            open.join(" and "),
            if only_upper {
                "; the rule compares 64 bits, the kernel reads 32"
            } else {
                ""
            }
        ),
        cve: Some(if only_upper {
            "CVE-2019-10063"
        } else {
            "CVE-2017-5226"
        }),
        mend: "refuse ioctl where arg1 & 0xffffffff is 0x5412 or 0x541c".into(),
        ..look.about(Severity::Warning, "terminal-input", call)
    })
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Arch, ArgCondition, CompareOp};

    use super::*;
    use crate::lint::lint;
    use crate::{Policy, Rule};

    fn findings(default: Action, rules: Vec<Rule>) -> Vec<Finding> {
        let policy = Policy {
            rules,
            ..Policy::new(default)
        };
        lint(&policy, &[Arch::X86_64])
    }

    fn on(findings: &[Finding], call: &str) -> Vec<(Severity, &'static str)> {
        let about = |finding: &&Finding| finding.call.as_deref() == Some(call);
        findings
            .iter()
            .filter(about)
            .map(|finding| (finding.severity, finding.kind))
            .collect()
    }

    fn arg(index: u8, op: CompareOp, value: u64) -> ArgCondition {
        ArgCondition::new(index, op, value).unwrap()
    }

    #[test]
    fn a_call_that_opens_the_sandbox_is_an_error_with_its_rule_and_its_cve() {
        let found = findings(
            Action::KillProcess,
            vec![
                Rule::new(Action::Allow, ["read"]),
                Rule::new(Action::Allow, ["ptrace", "bpf"]),
            ],
        );
        assert_eq!(on(&found, "ptrace"), [(Severity::Error, "open-call")]);
        assert_eq!((found[0].rule, found[0].cve), (Some(1), Some("CVE-2021-3490")));
        assert_eq!(on(&found, "read"), []);
    }

    #[test]
    fn allow_all_is_called_by_its_name_whether_by_rules_or_by_default() {
        let names: Vec<String> = Arch::X86_64
            .calls()
            .map(|call| call.name().into_owned())
            .collect();
        let all = findings(Action::KillProcess, vec![Rule::new(Action::Allow, names)]);
        assert!(
            all.iter()
                .any(|f| f.kind == "allow-all" && f.reason.contains("0-500"))
        );
        let default = findings(Action::Allow, vec![]);
        assert!(default.iter().any(|f| f.kind == "allow-default"));
        assert!(default.iter().any(|f| f.kind == "allow-all"));
        let one = findings(Action::KillProcess, vec![Rule::new(Action::Allow, ["read"])]);
        assert!(!one.iter().any(|f| f.kind.starts_with("allow")));
    }

    #[test]
    fn conditions_that_close_the_gap_silence_the_finding_and_half_of_them_does_not() {
        let open = |names: [&str; 3]| vec![Rule::new(Action::Allow, names)];
        let loose = findings(Action::KillProcess, open(["clone", "socket", "ioctl"]));
        assert_eq!(on(&loose, "clone"), [(Severity::Warning, "namespace-flags")]);
        assert_eq!(on(&loose, "socket"), [(Severity::Warning, "socket-family")]);
        assert_eq!(on(&loose, "ioctl"), [(Severity::Warning, "terminal-input")]);
        let refuse = |request, mask| {
            Rule::new(Action::Errno(1), ["ioctl"]).when([arg(1, CompareOp::MaskedEq(mask), request)])
        };
        let tight = |mask| {
            vec![
                Rule::new(Action::Allow, ["clone"]).when([arg(0, CompareOp::MaskedEq(0x7e02_0000), 0)]),
                Rule::new(Action::Allow, ["socket"]).when([arg(0, CompareOp::Eq, 2)]),
                Rule::new(Action::Allow, ["ioctl"]),
                refuse(0x5412, mask),
                refuse(0x541c, mask),
            ]
        };
        let closed = findings(Action::KillProcess, tight(0xffff_ffff));
        for name in ["clone", "socket", "ioctl"] {
            assert_eq!(on(&closed, name), [], "{name}");
        }
        let maps = |args: &[ArgCondition]| {
            let rule = Rule::new(Action::Allow, ["mmap"]).when(args.to_vec());
            on(&findings(Action::KillProcess, vec![rule]), "mmap")
        };
        assert_eq!(maps(&[]), [(Severity::Note, "write-execute")]);
        assert_eq!(maps(&[arg(2, CompareOp::MaskedEq(0x4), 0)]), []);
        let half = findings(Action::KillProcess, tight(u64::MAX));
        let half = half.iter().find(|f| f.kind == "terminal-input").unwrap();
        assert!(half.reason.contains("the kernel reads 32"), "{half:?}");
    }
}
