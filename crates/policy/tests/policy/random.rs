//! Random policies: their filters agree with them, and their files with both.

use callgate_abi::{Action, Arch, ArgCondition, CompareOp};
use callgate_policy::{Policy, Rule, Unknown, Verifier, verify};
use proptest::prelude::*;

const NAMES: [&str; 12] = [
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

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}", cut in 0..900usize) {
        let _ = Policy::parse(&text);
        let whole = callgate_policy::shipped::get("python").unwrap();
        let _ = Policy::parse(whole.get(..cut).unwrap_or(whole));
    }
}
