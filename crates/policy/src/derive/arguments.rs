//! `--args`: which calls get conditions from the values that were seen of them, on which bits, and why not.
//!
//! A condition is written where the value is the program's choice of what the call does, and the kernel reads it
//! from the register: compared in the 32 bits that it reads (CVE-2019-10063). Where the value follows from data,
//! load or timing, the next run has another one, and the call stays open for all.

use std::collections::BTreeMap;

use callgate_abi::{ArgCondition, CompareOp, KeySet, Syscall};

use crate::amend::Alternative;
use crate::when::LOW;

/// The bits of an argument that are compared.
type Bits = (u8, u64);

/// What is done with the values of a call.
enum Plan {
    /// They become conditions, on these bits.
    On(&'static [Bits]),
    /// They don't, for this reason.
    Any(&'static str),
}

use Plan::{Any, On};

/// `SOCK_TYPE_MASK`: without SOCK_CLOEXEC and SOCK_NONBLOCK, which differ by the caller's mood.
const SOCKET_TYPE: u64 = 0xf;
/// `PROT_WRITE|PROT_EXEC`: whether memory is written, executed or both.
const WRITE_EXECUTE: u64 = 0x6;
/// Namespaces, CLONE_THREAD, CLONE_PTRACE and CLONE_UNTRACED; the rest says what is shared.
const CLONE: u64 = 0x7e02_0000 | 0x1_0000 | 0x2000 | 0x80_0000;

/// The judgement on every call that has keys.
#[rustfmt::skip]
const PLANS: &[(&[&str], Plan)] = &[
    // The family and the type; the protocol follows from them, or names one that their pair allows.
    (&["socket", "socketpair"], On(&[(0, LOW), (1, SOCKET_TYPE)])),
    // Requests, commands, options and codes are constants of the program.
    (&["ioctl", "fcntl"], On(&[(1, LOW)])),
    (&["prctl", "arch_prctl", "personality"], On(&[(0, LOW)])),
    (&["getrlimit", "setrlimit"], On(&[(0, LOW)])),
    (&["prlimit64"], On(&[(1, LOW)])),
    (&["clone"], On(&[(0, CLONE)])),
    (&["mmap", "mprotect", "pkey_mprotect"], On(&[(2, WRITE_EXECUTE)])),
    (&["open", "openat", "open_by_handle_at"], Any("how a file is opened follows from its path and from data")),
    (&["futex"], Any("which operation is needed depends on contention")),
    (&["madvise", "process_madvise"], Any("the allocator's advice depends on load")),
    (&["setsockopt", "getsockopt"], Any("options differ by the peer and by errors")),
    (&["kill"], Any("its target is a number that each run has anew")),
];

/// The most rules that one call gets.
const MOST: usize = 24;

/// One way in which a call was seen: its conditions, and the values in words.
pub(super) type Seen = (Alternative, String);

/// The conditions for a call of which these keys were seen; an error says why there are none. `None` for a call
/// without keys.
pub(super) fn conditions(call: Syscall, seen: &KeySet) -> Option<Result<Vec<Seen>, &'static str>> {
    let name = call.known_name()?;
    let (_, plan) = PLANS.iter().find(|(names, _)| names.contains(&name))?;
    let bits = match plan {
        Any(reason) => return Some(Err(reason)),
        On(bits) => *bits,
    };
    if seen.is_empty() {
        return Some(Err("the recording does not tell its arguments"));
    }
    let mut ways: Vec<Seen> = vec![(Vec::new(), String::new())];
    for (index, mask) in bits {
        if seen.is_many(*index) || seen.of(*index).count() == 0 {
            return Some(Err("its values were too many to tell"));
        }
        let mut values: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for key in seen.of(*index) {
            values.entry(key.value & mask).or_default().push(&key.name);
        }
        ways = ways
            .iter()
            .flat_map(|(before, words)| {
                values.iter().filter_map(move |(value, names)| {
                    let condition = ArgCondition::new(*index, CompareOp::MaskedEq(*mask), *value).ok()?;
                    let conditions: Alternative = before.iter().copied().chain([condition]).collect();
                    let comma = if words.is_empty() { "" } else { ", " };
                    Some((conditions, format!("{words}{comma}{}", names.join(" or "))))
                })
            })
            .collect();
    }
    Some(match ways.len() > MOST {
        true => Err("its values have too many combinations"),
        false => Ok(ways),
    })
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Arch, keys};

    use super::*;

    fn seen(name: &str, all: &[[u64; 6]]) -> (Syscall, KeySet) {
        let call = Arch::X86_64.call(name).unwrap();
        let mut set = KeySet::default();
        for args in all {
            for key in keys(call, args) {
                set.insert(key);
            }
        }
        (call, set)
    }

    #[test]
    fn every_call_that_has_keys_is_judged_and_on_arguments_that_are_keys() {
        for call in Arch::ALL.into_iter().flat_map(Arch::calls) {
            let own = keys(call, &[0; 6]);
            let judged = conditions(call, &KeySet::default());
            assert_eq!(own.is_empty(), judged.is_none(), "{call}");
            let name = call.name();
            let plan = PLANS.iter().find(|(names, _)| names.contains(&&*name));
            if let Some((_, On(bits))) = plan {
                for (index, _) in *bits {
                    assert!(own.iter().any(|key| key.index == *index), "{call} {index}");
                }
            }
        }
    }

    #[test]
    fn values_become_conditions_on_the_bits_that_matter_and_the_comment_names_them() {
        let (mmap, set) = seen(
            "mmap",
            &[[0, 0, 1, 2, 0, 0], [0, 0, 3, 0x22, 0, 0], [0, 0, 5, 2, 0, 0]],
        );
        let ways = conditions(mmap, &set).unwrap().unwrap();
        let told: Vec<(u64, &str)> = ways
            .iter()
            .map(|(c, words)| (c[0].value(), words.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (0, "PROT_READ"),
                (2, "PROT_READ|PROT_WRITE"),
                (4, "PROT_READ|PROT_EXEC")
            ]
        );
        let (socket, set) = seen("socket", &[[1, 1 | 0o2_000_000, 0, 0, 0, 0], [2, 1, 6, 0, 0, 0]]);
        let ways = conditions(socket, &set).unwrap().unwrap();
        assert_eq!(ways.len(), 2, "{ways:?}");
        assert_eq!(ways[1].1, "AF_INET, SOCK_STREAM or SOCK_STREAM|SOCK_CLOEXEC");
        let (futex, set) = seen("futex", &[[0; 6]]);
        assert!(
            conditions(futex, &set)
                .unwrap()
                .unwrap_err()
                .contains("contention")
        );
    }

    #[test]
    fn many_values_are_no_conditions() {
        let all: Vec<[u64; 6]> = (0..20).map(|request| [0, 0x5400 + request, 0, 0, 0, 0]).collect();
        let (ioctl, set) = seen("ioctl", &all);
        assert!(conditions(ioctl, &set).unwrap().is_err());
    }
}
