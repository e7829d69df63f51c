//! Random policies: their filters agree with them, and their files with both.

use callgate_abi::{Action, Arch, ArgCondition, CompareOp};
use callgate_policy::{Policy, Rule, Unknown, Verifier, edges, verify};
use proptest::prelude::*;

pub(crate) const NAMES: [&str; 12] = [
    "read",
    "write",
    "open",
    "openat",
    "socket",
    "ioctl",
    "clone",
    "clone3",
    "newfstatat",
    "mkdir",
    "statx",
    "_llseek",
];

pub(crate) fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::Allow),
        1 => Just(Action::Log),
        1 => (0..3u16).prop_map(Action::Trace),
        3 => prop_oneof![Just(0), Just(1), Just(38), Just(133)].prop_map(Action::Errno),
        1 => Just(Action::Trap),
        1 => Just(Action::KillThread),
        2 => Just(Action::KillProcess),
    ]
}

/// Small numbers, so that conditions meet, and numbers with something in the upper half.
pub(crate) fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..4u64,
        Just(u64::MAX),
        Just(1 << 32),
        Just(u64::from(u32::MAX)),
        (1 << 31)..(1u64 << 34),
        any::<u64>()
    ]
}

/// A condition on one of the first arguments.
pub(crate) fn condition(args: u8) -> impl Strategy<Value = ArgCondition> {
    let op = prop_oneof![
        Just(CompareOp::Eq),
        Just(CompareOp::Ne),
        Just(CompareOp::Lt),
        Just(CompareOp::Le),
        Just(CompareOp::Ge),
        Just(CompareOp::Gt),
        value().prop_map(CompareOp::MaskedEq),
    ];
    (0..args, op, value()).prop_filter_map("a condition that can hold", |(index, op, value)| {
        let value = if let CompareOp::MaskedEq(mask) = op {
            value & mask
        } else {
            value
        };
        ArgCondition::new(index, op, value).ok()
    })
}

/// A condition as people write them: equal, in 32 bits or in all.
fn simple() -> impl Strategy<Value = ArgCondition> {
    let op = prop_oneof![Just(CompareOp::Eq), Just(CompareOp::MaskedEq(0xffff_ffff))];
    (0..2u8, op, 0..6u64).prop_map(|(index, op, value)| ArgCondition::new(index, op, value).unwrap())
}

fn rule(names: &'static [&'static str], args: u8) -> impl Strategy<Value = Rule> {
    let names = prop::collection::vec(prop::sample::select(names), 1..4);
    let args = prop::collection::vec(condition(args), 0..4);
    let arch = prop::option::weighted(0.2, prop::sample::select(Arch::ALL.to_vec()));
    (names, action(), args, arch).prop_map(|(names, action, args, arch)| {
        let rule = Rule::new(action, names).when(args).because("random");
        arch.into_iter().fold(rule, Rule::only_on)
    })
}

/// A policy about these calls, with conditions on the first arguments.
pub(crate) fn policy(names: &'static [&'static str], args: u8) -> impl Strategy<Value = Policy> {
    let unknown = prop_oneof![Just(Unknown::Default), Just(Unknown::Enosys)];
    (action(), prop::collection::vec(rule(names, args), 0..14), unknown).prop_map(
        |(default, rules, unknown)| Policy {
            rules,
            unknown,
            ..Policy::new(default)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_filters_of_any_policy_agree_with_it(policy in policy(&NAMES, 6), args in prop::array::uniform6(value())) {
        for arch in Arch::ALL {
            let mut proof = Verifier::new(&policy, arch).unwrap();
            for call in NAMES.iter().filter_map(|name| arch.call(name).ok()) {
                proof.check_edges(call.nr()).unwrap();
                proof.check(arch.audit(), call.nr(), args).unwrap();
                proof.check(arch.audit(), call.nr() | callgate_abi::Abi::X32_BIT, args).unwrap();
                proof.check(callgate_abi::Abi::I386.audit(), call.nr(), args).unwrap();
            }
            proof.check(arch.audit(), 700, args).unwrap();
        }
    }

    #[test]
    fn the_whole_proof_of_any_policy_succeeds(policy in policy(&NAMES, 6), arch in prop::sample::select(&Arch::ALL[..])) {
        // A few only: each is some ten thousand calls.
        if policy.rules.len() % 8 == 0 {
            verify(&policy, arch).unwrap();
        }
    }

    #[test]
    fn any_policy_without_contradiction_survives_its_file(policy in policy(&NAMES, 6)) {
        let text = policy.to_json().unwrap();
        match Policy::parse(&text) {
            Ok(read) => prop_assert_eq!(read, policy),
            Err(error) => prop_assert!(error.to_string().contains("always wins"), "{}", error),
        }
    }

    /// What is asked for opens, no more; what ran before runs on.
    #[test]
    fn a_conditional_allowance_opens_nothing_but_what_was_asked_for(
        policy in policy(&NAMES, 6),
        name in prop::sample::select(NAMES[..11].to_vec()),
        asked in prop::collection::vec(prop::collection::vec(simple(), 1..3), 1..3),
        args in prop::collection::vec(prop::array::uniform6(value()), 16),
    ) {
        let call = Arch::X86_64.call(name).unwrap();
        let mut after = policy.clone();
        let done = after.allow_when(call, &asked, "asked for", Some(Arch::X86_64));
        if done.is_err() {
            prop_assert_eq!(&after, &policy);
        }
        let mut tried: Vec<[u64; 6]> = args.clone();
        let edges = edges(&policy, Arch::X86_64, call.nr()).into_iter().chain(edges(&after, Arch::X86_64, call.nr()));
        for (index, value) in edges {
            for from in args.iter().take(4) {
                let mut changed = *from;
                changed[usize::from(index)] = value;
                tried.push(changed);
            }
        }
        for args in tried {
            let (ran, runs) = (policy.decide(call, &args).runs(), after.decide(call, &args).runs());
            let wanted = asked.iter().any(|all| all.iter().all(|condition| condition.holds(&args)));
            prop_assert!(runs || !ran, "{args:x?} ran before");
            prop_assert!(ran || !runs || wanted, "{args:x?} was not asked for: {after:#?}");
        }
        for other in Arch::ALL.into_iter().flat_map(Arch::calls).filter(|other| *other != call) {
            prop_assert_eq!(policy.decide(other, &args[0]), after.decide(other, &args[0]), "{}", other);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", cut in 0..900usize) {
        let _ = Policy::parse(&text);
        let whole = callgate_policy::shipped::get("python").unwrap();
        let _ = Policy::parse(whole.get(..cut).unwrap_or(whole));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// A program that runs under a policy made on one architecture runs under its translation as before.
    #[test]
    fn a_translation_changes_nothing_where_it_comes_from(
        policy in policy(&NAMES, 6),
        args in prop::collection::vec(prop::array::uniform6(value()), 8),
    ) {
        let Ok(translated) = policy.translate(Arch::X86_64, Arch::Aarch64) else { return Ok(()) };
        for call in NAMES.iter().filter_map(|name| Arch::X86_64.call(name).ok()) {
            for args in &args {
                prop_assert_eq!(policy.decide(call, args), translated.policy.decide(call, args), "{}", call);
            }
        }
    }
}
