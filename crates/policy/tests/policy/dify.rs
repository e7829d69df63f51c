//! The shipped dify lists, against the numbers of langgenius/dify-sandbox at a94a466.

use std::collections::BTreeSet;

use callgate_abi::{Action, Arch, Syscall};
use callgate_policy::{Policy, Verdict};

use crate::load;

/// `internal/static/<language>_syscall/syscalls_<arch>.go`, as numbers.
struct Source {
    language: &'static str,
    arch: Arch,
    allowed: &'static [u32],
    refused: &'static [u32],
    network: &'static [u32],
}

const SOURCES: [Source; 4] = [
    Source {
        language: "python",
        arch: Arch::X86_64,
        allowed: &[
            0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 28, 35, 39, 60, 72, 96, 102, 105, 106, 110,
            116, 131, 186, 201, 202, 204, 217, 228, 230, 231, 233, 234, 257, 262, 270, 273, 274, 290, 291,
            318, 334,
        ],
        refused: &[56, 83, 258],
        network: &[
            5, 7, 41, 42, 43, 44, 45, 46, 47, 49, 50, 51, 52, 54, 55, 63, 72, 138, 271, 281, 307,
        ],
    },
    Source {
        language: "python",
        arch: Arch::Aarch64,
        allowed: &[
            19, 20, 21, 25, 29, 56, 57, 61, 62, 63, 64, 72, 80, 85, 86, 87, 93, 94, 98, 99, 100, 101, 113,
            115, 123, 124, 131, 132, 134, 135, 139, 144, 146, 159, 169, 172, 173, 174, 178, 214, 215, 216,
            222, 226, 233, 278, 293,
        ],
        refused: &[34, 220],
        network: &[
            22, 44, 73, 79, 80, 160, 198, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 212, 269,
        ],
    },
    Source {
        language: "nodejs",
        arch: Arch::X86_64,
        allowed: &[
            0, 1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 28, 35, 39, 60, 72, 89, 96, 102, 105,
            106, 116, 131, 186, 201, 202, 204, 228, 231, 233, 234, 257, 262, 273, 281, 290, 292, 334,
        ],
        refused: &[56, 435],
        network: &[
            41, 42, 43, 44, 45, 46, 47, 49, 50, 51, 52, 54, 55, 63, 72, 138, 271,
        ],
    },
    Source {
        language: "nodejs",
        arch: Arch::Aarch64,
        allowed: &[
            19, 21, 22, 25, 29, 56, 57, 63, 64, 78, 80, 93, 94, 98, 99, 101, 123, 124, 131, 132, 134, 135,
            139, 144, 146, 159, 172, 174, 176, 178, 214, 215, 222, 226, 233,
        ],
        refused: &[220, 293],
        network: &[
            44, 62, 73, 79, 160, 198, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 212, 269,
        ],
    },
];

/// The numbers below 1024 that get this action whatever their arguments.
fn numbers(policy: &Policy, arch: Arch, action: Action) -> BTreeSet<u32> {
    let gets = |nr: &u32| policy.verdict(Syscall::new(arch.abi(), *nr)) == Verdict::Always(action);
    (0..1024).filter(gets).collect()
}

#[test]
fn the_dify_policies_allow_and_refuse_the_numbers_of_its_source_and_nothing_more() {
    for source in &SOURCES {
        for network in [false, true] {
            let name = format!(
                "dify-{}{}",
                source.language,
                if network { "-network" } else { "" }
            );
            let policy = load(&name);
            let extra: &[u32] = if network { source.network } else { &[] };
            let allowed: BTreeSet<u32> = source.allowed.iter().chain(extra).copied().collect();
            let refused: BTreeSet<u32> = source.refused.iter().copied().collect();
            assert_eq!(
                numbers(&policy, source.arch, Action::Allow),
                allowed,
                "{name} {}",
                source.arch
            );
            assert_eq!(
                numbers(&policy, source.arch, Action::Errno(1)),
                refused,
                "{name} {}",
                source.arch
            );
            let killed = numbers(&policy, source.arch, Action::KillProcess).len();
            assert_eq!(
                killed,
                1024 - allowed.len() - refused.len(),
                "{name} {}",
                source.arch
            );
        }
    }
}

#[test]
fn the_dify_policies_say_which_source_and_commit_they_are_from() {
    for name in [
        "dify-python",
        "dify-python-network",
        "dify-nodejs",
        "dify-nodejs-network",
    ] {
        let comment = load(name).comment.unwrap();
        assert!(
            comment.contains("langgenius/dify-sandbox") && comment.contains("a94a466"),
            "{name}"
        );
    }
}
