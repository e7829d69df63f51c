//! Compiled filters, run by the interpreter, against the policy's own meaning.

use callgate_abi::{Action, Arch, ArgCondition, CompareOp};
use callgate_policy::bpf::{Program, SeccompData};
use callgate_policy::{CompileError, Policy, Rule, Verifier, compile, shipped, verify};

use crate::load;

fn arg(index: u8, op: CompareOp, value: u64) -> ArgCondition {
    ArgCondition::new(index, op, value).unwrap()
}

#[test]
fn the_filters_of_every_shipped_policy_agree_with_it_on_every_number_and_edge() {
    for name in shipped::names() {
        for arch in Arch::ALL {
            verify(&load(name), arch).unwrap();
        }
    }
}

#[test]
fn a_policy_that_allows_by_default_still_refuses_other_entries_and_what_it_names() {
    let mut policy = Policy::new(Action::Allow);
    for arch in Arch::ALL {
        verify(&policy, arch).unwrap();
    }
    policy.rules = vec![
        Rule::new(Action::Errno(1), ["ptrace"]),
        Rule::new(Action::Log, ["ptrace", "read"]),
        Rule::new(Action::KillThread, ["write"]).when([arg(0, CompareOp::Eq, 1)]),
    ];
    for arch in Arch::ALL {
        verify(&policy, arch).unwrap();
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
        Verifier::new(&policy, Arch::X86_64)
            .unwrap()
            .check(Arch::X86_64.audit(), 41, [2, 0, 0, 0, 0, 0])
            .unwrap();
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
    verify(&policy, Arch::X86_64).unwrap();
}

#[test]
fn sixty_alternatives_and_sixty_conditions_in_one_rule_compile_to_what_they_say() {
    let many =
        (0..60).map(|i| Rule::new(Action::Allow, ["ioctl"]).when([arg(1, CompareOp::Eq, 0x5400 + 2 * i)]));
    let policy = Policy {
        rules: many.collect(),
        ..Policy::new(Action::KillProcess)
    };
    Verifier::new(&policy, Arch::X86_64)
        .unwrap()
        .check_edges(16)
        .unwrap();
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
    let mut proof = Verifier::new(&policy, Arch::X86_64).unwrap();
    proof.check_edges(16).unwrap();
    for value in [0, 99, 100, 1 << 33, (1 << 33) + 10, 1 << 40] {
        proof.check(Arch::X86_64.audit(), 16, [value; 6]).unwrap();
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
    let masked = |action, name, i: u64| {
        Rule::new(action, [name]).when([arg(
            1,
            CompareOp::MaskedEq(0x1_0000_0001 * (i | 1 << 12)),
            i << 32 | i,
        )])
    };
    let mut policy = Policy::new(Action::Allow);
    policy.rules = (0..400)
        .flat_map(|i| {
            [
                masked(Action::Trap, "ioctl", i),
                masked(Action::Errno(1), "prctl", i),
            ]
        })
        .collect();
    let compiled = compile(&policy, Arch::X86_64).unwrap();
    let error = compiled.link().unwrap_err();
    assert!(
        matches!(error, CompileError::TooLong { instructions, .. } if instructions > 4096),
        "{error}"
    );
    Verifier::new(&many(300), Arch::X86_64)
        .unwrap()
        .check_edges(16)
        .unwrap();
}

#[test]
fn a_call_is_found_in_a_few_steps_and_its_argument_is_loaded_once_however_many_rules_it_has() {
    let policy = load("python");
    for arch in Arch::ALL {
        let filter = compile(&policy, arch).unwrap().link().unwrap();
        let program = Program::new(&filter).unwrap();
        assert!(filter.0.len() < 200, "{arch}: {} instructions", filter.0.len());
        for call in arch.calls() {
            let executed = program.count(&SeccompData::new(call, [0; 6]));
            assert!(executed <= 24, "{call} on {arch}: {executed} instructions");
        }
    }
    let families = (0..100).map(|i| Rule::new(Action::Allow, ["socket"]).when([arg(0, CompareOp::Eq, i)]));
    let policy = Policy {
        rules: families.collect(),
        ..Policy::new(Action::Errno(97))
    };
    let filter = compile(&policy, Arch::X86_64).unwrap().link().unwrap();
    let loads = filter.0.iter().filter(|i| i.code == 0x20).count();
    assert_eq!(loads, 4, "architecture, number, two halves");
    verify(&policy, Arch::X86_64).unwrap();
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
