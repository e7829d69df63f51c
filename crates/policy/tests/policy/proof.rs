//! Compiled filters, run by the interpreter, against the policy's own meaning.

use callgate_abi::{Abi, Action, Arch, ArgCondition, CompareOp, Filter, Syscall};
use callgate_policy::bpf::{Program, SeccompData, run_stack};
use callgate_policy::{CompileError, Policy, Rule, compile, edges, shipped};

use crate::load;

/// A policy's filters for one architecture, both as a stack and linked.
pub struct Proof<'a> {
    policy: &'a Policy,
    arch: Arch,
    oldest_first: Vec<Program>,
    linked: Program,
}

impl<'a> Proof<'a> {
    pub fn new(policy: &'a Policy, arch: Arch) -> Self {
        let compiled = compile(policy, arch).unwrap();
        let program = |filter: &Filter| Program::new(filter).unwrap();
        Self {
            policy,
            arch,
            oldest_first: compiled.filters().iter().rev().map(program).collect(),
            linked: program(&compiled.link().unwrap()),
        }
    }

    /// What the policy says of a call as the kernel would report it.
    fn meaning(&self, audit: u32, nr: u32, args: &[u64; 6]) -> Action {
        match Abi::of(audit, u64::from(nr)) {
            Some(abi) if abi.arch() == Some(self.arch) => self.policy.decide(Syscall::new(abi, nr), args),
            _ => Action::KillProcess,
        }
    }

    /// Fails with the counterexample, if this call is one.
    pub fn check(&self, audit: u32, nr: u32, args: [u64; 6]) {
        let data = SeccompData {
            nr,
            arch: audit,
            instruction_pointer: 0x1234,
            args,
        };
        let want = self.meaning(audit, nr, &args);
        let linked = Action::from_ret(self.linked.run(&data));
        assert_eq!(
            linked,
            Some(want),
            "linked, {} {audit:#x} {nr} {args:x?}",
            self.arch
        );
        let stacked = Action::from_ret(run_stack(&self.oldest_first, &data));
        assert_eq!(
            stacked,
            Some(want),
            "stack, {} {audit:#x} {nr} {args:x?}",
            self.arch
        );
    }

    /// A number with every boundary of every condition on it, one argument at a time and in pairs.
    pub fn check_edges(&self, nr: u32) {
        let edges: Vec<(u8, u64)> = edges(self.policy, self.arch, nr).into_iter().collect();
        for (first, value) in &edges {
            for filler in [0, u64::MAX] {
                let mut args = [filler; 6];
                args[usize::from(*first)] = *value;
                self.check(self.arch.audit(), nr, args);
                for (second, other) in edges.iter().filter(|(second, _)| second > first) {
                    args[usize::from(*second)] = *other;
                    self.check(self.arch.audit(), nr, args);
                }
            }
        }
    }

    /// All numbers below 1024 and some far ones, natively and through every other entry.
    pub fn check_all(&self) {
        let far = [1024, 0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, u32::MAX];
        let foreign = [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm].map(Abi::audit);
        for nr in (0..1024).chain(far) {
            for audit in foreign.into_iter().chain([0, 0xc000_0015, u32::MAX]) {
                self.check(audit, nr, [0; 6]);
                self.check(audit, nr | Abi::X32_BIT, [0; 6]);
            }
            self.check(self.arch.audit(), nr, [u64::MAX; 6]);
            self.check_edges(nr);
        }
    }
}

fn arg(index: u8, op: CompareOp, value: u64) -> ArgCondition {
    ArgCondition::new(index, op, value).unwrap()
}

#[test]
fn the_filters_of_every_shipped_policy_agree_with_it_on_every_number_and_edge() {
    for name in shipped::names() {
        for arch in Arch::ALL {
            Proof::new(&load(name), arch).check_all();
        }
    }
}

#[test]
fn a_policy_that_allows_by_default_still_refuses_other_entries_and_what_it_names() {
    let mut policy = Policy::new(Action::Allow);
    for arch in Arch::ALL {
        Proof::new(&policy, arch).check_all();
    }
    policy.rules = vec![
        Rule::new(Action::Errno(1), ["ptrace"]),
        Rule::new(Action::Log, ["ptrace", "read"]),
        Rule::new(Action::KillThread, ["write"]).when([arg(0, CompareOp::Eq, 1)]),
    ];
    for arch in Arch::ALL {
        Proof::new(&policy, arch).check_all();
    }
}

#[test]
fn an_unconditional_rule_beside_conditional_ones_counts_in_either_order() {
    let open = Rule::new(Action::Allow, ["socket"]);
    let conditional = Rule::new(Action::Allow, ["socket"]).when([arg(0, CompareOp::Eq, 1)]);
    for rules in [vec![open.clone(), conditional.clone()], vec![conditional, open]] {
        let policy = Policy {
            rules,
            ..Policy::new(Action::KillProcess)
        };
        Proof::new(&policy, Arch::X86_64).check(Arch::X86_64.audit(), 41, [2, 0, 0, 0, 0, 0]);
    }
}

#[test]
fn the_greater_of_two_errnos_wins_in_the_stack_and_in_the_linked_program() {
    let refuse = |errno, op| Rule::new(Action::Errno(errno), ["socket"]).when([arg(0, op, 5)]);
    let policy = Policy {
        rules: vec![
            refuse(1, CompareOp::Ge),
            refuse(38, CompareOp::Le),
            refuse(97, CompareOp::Eq),
        ],
        ..Policy::new(Action::Errno(13))
    };
    Proof::new(&policy, Arch::X86_64).check_all();
}

#[test]
fn sixty_alternatives_and_sixty_conditions_in_one_rule_compile_to_what_they_say() {
    let many =
        (0..60).map(|i| Rule::new(Action::Allow, ["ioctl"]).when([arg(1, CompareOp::Eq, 0x5400 + 2 * i)]));
    let policy = Policy {
        rules: many.collect(),
        ..Policy::new(Action::KillProcess)
    };
    Proof::new(&policy, Arch::X86_64).check_edges(16);
    let ops = [
        CompareOp::Ge,
        CompareOp::Ne,
        CompareOp::Lt,
        CompareOp::Le,
        CompareOp::Gt,
        CompareOp::MaskedEq(1 << 40),
    ];
    let value = |i: u8, op| match op {
        CompareOp::Ge | CompareOp::Gt => u64::from(i),
        CompareOp::MaskedEq(_) => 0,
        _ => (1 << 33) + 100 - u64::from(i),
    };
    let long = (0..60).map(|i| {
        arg(
            i % 6,
            ops[usize::from(i / 6) % 6],
            value(i, ops[usize::from(i / 6) % 6]),
        )
    });
    let rule = Rule::new(Action::Allow, ["ioctl"]).when(long);
    let policy = Policy {
        rules: vec![rule],
        ..Policy::new(Action::KillProcess)
    };
    let proof = Proof::new(&policy, Arch::X86_64);
    proof.check_edges(16);
    for value in [0, 99, 100, 1 << 33, (1 << 33) + 10, 1 << 40] {
        proof.check(Arch::X86_64.audit(), 16, [value; 6]);
    }
}

#[test]
fn a_policy_over_4096_instructions_is_an_error_that_says_how_many() {
    let many = |count: u64| Policy {
        rules: (0..count)
            .map(|i| Rule::new(Action::Allow, ["ioctl"]).when([arg(1, CompareOp::Eq, i)]))
            .collect(),
        ..Policy::new(Action::KillProcess)
    };
    let error = compile(&many(600), Arch::X86_64).unwrap_err();
    assert!(
        matches!(error, CompileError::TooLong { instructions, .. } if instructions > 4096),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("the kernel takes at most 4096: write fewer"),
        "{error}"
    );
    // Each filter alone is short enough, the linked program is not.
    let mut policy = many(250);
    policy
        .rules
        .extend((0..250).map(|i| Rule::new(Action::Errno(1), ["prctl"]).when([arg(0, CompareOp::Eq, i)])));
    let compiled = compile(&policy, Arch::X86_64).unwrap();
    let error = compiled.link().unwrap_err();
    assert!(
        matches!(error, CompileError::TooLong { instructions, .. } if instructions > 4096),
        "{error}"
    );
    Proof::new(&many(300), Arch::X86_64).check_edges(16);
}

#[test]
fn an_unknown_name_has_no_filter() {
    let policy = Policy {
        rules: vec![Rule::new(Action::Errno(1), ["ptrce"])],
        ..Policy::new(Action::Allow)
    };
    let error = compile(&policy, Arch::X86_64).unwrap_err();
    assert!(
        error.to_string().contains("syscalls[0]") && error.to_string().contains("\"ptrace\""),
        "{error}"
    );
}
