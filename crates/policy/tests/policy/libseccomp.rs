//! libseccomp compiles the same lists; its programs and ours answer alike.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use callgate_abi::{Abi, Action, Arch, ArgCondition, CompareOp, Filter};
use callgate_policy::bpf::{Program, SeccompData};
use callgate_policy::{Policy, Rule, compile, edges, emit};

use proptest::prelude::*;

use crate::{load, not_run, random};

/// Reads OCI JSON of one architecture and writes libseccomp's BPF; exits with 77 without the bindings.
const ORACLE: &str = include_str!("libseccomp.py");

/// libseccomp's program for the policy; nothing if it is not installed.
fn oracle(policy: &Policy, arch: Arch) -> Option<Filter> {
    let mut child = match Command::new("/usr/bin/python3")
        .args(["-I", "-c", ORACLE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            not_run("python3-seccomp", &error.to_string());
            return None;
        }
    };
    let text = emit::oci(policy, Some(arch)).unwrap().text;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(77) {
        not_run("python3-seccomp", "on Debian: apt install python3-seccomp");
        return None;
    }
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(Filter::from_bytes(&output.stdout).unwrap())
}

fn agree(policy: &Policy, arch: Arch, what: &str) {
    let Some(theirs) = oracle(policy, arch) else {
        return;
    };
    let theirs = Program::new(&theirs).unwrap();
    let ours = Program::new(&compile(policy, arch).unwrap().link().unwrap()).unwrap();
    let same = |audit: u32, nr: u32, args: [u64; 6]| {
        let data = SeccompData {
            nr,
            arch: audit,
            instruction_pointer: 0,
            args,
        };
        let (ours, theirs) = (
            Action::from_ret(ours.run(&data)),
            Action::from_ret(theirs.run(&data)),
        );
        assert_eq!(ours, theirs, "{what} {arch}: {audit:#x} {nr:#x} {args:x?}");
    };
    for nr in 0..1024 {
        for audit in [arch.audit(), Abi::I386.audit(), Abi::Arm.audit()] {
            same(audit, nr, [0; 6]);
        }
        same(arch.audit(), nr, [u64::MAX; 6]);
        for (index, value) in edges(policy, arch, nr) {
            let mut args = [0; 6];
            args[usize::from(index)] = value;
            same(arch.audit(), nr, args);
        }
        if arch == Arch::X86_64 {
            same(arch.audit(), nr | Abi::X32_BIT, [0; 6]);
        }
    }
}

#[test]
fn libseccomp_compiles_the_dify_lists_to_the_same_decisions() {
    for name in [
        "dify-python",
        "dify-python-network",
        "dify-nodejs",
        "dify-nodejs-network",
    ] {
        for arch in Arch::ALL {
            agree(&load(name), arch, name);
        }
    }
}

#[test]
fn libseccomp_compiles_conditions_to_the_same_decisions() {
    let all = [
        (CompareOp::Eq, 7),
        (CompareOp::Ne, 1 << 40),
        (CompareOp::Lt, 0x1_0000_0005),
        (CompareOp::Le, 0xffff_ffff),
        (CompareOp::Ge, 0x2_0000_0000),
        (CompareOp::Gt, 0xffff_ffff),
        (CompareOp::MaskedEq(0x7e02_0000), 0),
        (CompareOp::MaskedEq(0xff_0000_00ff), 0x10_0000_0001),
    ];
    for (op, value) in all {
        let args = [
            ArgCondition::new(0, op, value).unwrap(),
            ArgCondition::new(1, CompareOp::Ne, 3).unwrap(),
        ];
        let policy = Policy {
            rules: vec![
                Rule::new(Action::Allow, ["clone", "ioctl"]).when(args),
                Rule::new(Action::Allow, ["ioctl"]).when([ArgCondition::new(2, CompareOp::Eq, 9).unwrap()]),
                Rule::new(Action::Allow, ["read", "exit_group"]),
            ],
            ..Policy::new(Action::Errno(38))
        };
        for arch in Arch::ALL {
            agree(&policy, arch, &format!("{op:?}"));
        }
    }
}

const NAMES: [&str; 8] = [
    "read", "write", "open", "socket", "ioctl", "clone", "mkdirat", "statx",
];

/// What libseccomp can say: one action for each call, which is not the default (of overlapping actions it
/// keeps the last, and we the most restrictive), and one condition for each argument of a rule.
///
/// Of several rules for one call, only those that compare for equality are kept: 2.5.4 is wrong about others.
/// It does not allow `read` with 0x1_0000_0000 where `arg0 >= 0xffff_ffff` or `arg0 < 0x1_0000_0000` does.
fn policy() -> impl Strategy<Value = Policy> {
    let conditions = prop::collection::vec(random::condition(6), 0..4).prop_map(|mut args| {
        let mut seen = BTreeSet::new();
        args.retain(|condition| seen.insert(condition.index()));
        args
    });
    let rules = prop::collection::vec(conditions, 1..4).prop_map(|mut rules| {
        let exact =
            |condition: &ArgCondition| matches!(condition.op(), CompareOp::Eq | CompareOp::MaskedEq(_));
        if rules.len() > 1 {
            rules.retain(|args| args.iter().all(exact));
        }
        rules
    });
    let calls = prop::collection::vec((prop::sample::select(&NAMES[..]), random::action(), rules), 1..6);
    (random::action(), calls).prop_map(|(default, calls)| {
        let mut policy = Policy::new(default);
        let mut seen = BTreeSet::new();
        for (name, action, rules) in calls {
            if seen.insert(name) && action != default {
                let rules = rules.into_iter().map(|args| Rule::new(action, [name]).when(args));
                policy.rules.extend(rules);
            }
        }
        policy
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn libseccomp_compiles_random_policies_to_the_same_decisions(
        policy in policy(),
        arch in prop::sample::select(&Arch::ALL[..]),
    ) {
        agree(&policy, arch, "a random policy");
    }
}
