//! Words → values: what a header's name means as an argument, for conditions that people write.

use super::tables::{self, Table};
use super::{keys, memory, objects, process, sockets};
use crate::{Abi, Syscall};

/// The value of a constant, of several joined by `|`, or of a number (decimal or `0x…`): `AF_UNIX` is 1,
/// `PROT_READ|PROT_WRITE` 3. `None` for a word that is neither a number nor in the headers' tables; some flags
/// of open differ by the ABI.
///
/// ```
/// use callgate_abi::{Abi, argument_value};
///
/// assert_eq!(argument_value(Abi::X86_64, "SOCK_STREAM|SOCK_CLOEXEC"), Some(0o2_000_001));
/// assert_eq!(argument_value(Abi::X86_64, "0x5412"), Some(0x5412));
/// ```
pub fn argument_value(abi: Abi, words: &str) -> Option<u64> {
    words.split('|').try_fold(0, |all, word| {
        let word = word.trim();
        number(word).or_else(|| named(abi, word)).map(|value| all | value)
    })
}

fn number(word: &str) -> Option<u64> {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    }
}

fn named(abi: Abi, word: &str) -> Option<u64> {
    let own: [&[Table]; 5] = [
        &objects::tables(abi),
        &memory::tables(abi),
        sockets::TABLES,
        process::TABLES,
        tables::ALL,
    ];
    let mut all = own.into_iter().flatten().flat_map(|table| table.iter());
    all.find(|(name, _)| *name == word).map(|(_, value)| *value)
}

/// Whether this argument of the call is a key: one that chooses what the call does, of which the kernel
/// reads 32 bits. The target of kill is none, as it is any process's number.
pub fn is_key(call: Syscall, index: u8) -> bool {
    call.known_name() != Some("kill") && keys(call, &[0; 6]).iter().any(|key| key.index == index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_a_key_has_leads_back_to_its_value() {
        for (call, args) in [
            ("socket", [10, 0o2_000_001, 6, 0, 0, 0]),
            ("openat", [0, 0, 0o1_101 | 0o200_000, 0, 0, 0]),
            ("mmap", [0, 0, 7, 0x22, 0, 0]),
            ("clone", [0x3d_0f00, 0, 0, 0, 0, 0]),
            ("futex", [0, 128 | 256 | 9, 0, 0, 0, 0]),
            ("ioctl", [0, 0x5413, 0, 0, 0, 0]),
            ("prctl", [38, 0, 0, 0, 0, 0]),
            ("setsockopt", [0, 1, 2, 0, 0, 0]),
        ] {
            let call = Syscall::named(Abi::X86_64, call).unwrap();
            for key in keys(call, &args) {
                assert_eq!(argument_value(Abi::X86_64, &key.name), Some(key.value), "{key:?}");
                assert!(is_key(call, key.index));
            }
        }
        assert_eq!(argument_value(Abi::Aarch64, "O_DIRECTORY"), Some(0o40_000));
        assert_eq!(argument_value(Abi::X86_64, "AF_NOPE"), None);
        assert!(!is_key(Syscall::named(Abi::X86_64, "kill").unwrap(), 0));
    }
}
