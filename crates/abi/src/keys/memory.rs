//! Keys of mappings: protection, flags, advice.

use super::names::{constant, flags};
use super::tables::{ADVICE, Table};
use super::{ArgKey, word};
use crate::Abi;

// asm-generic/mman-common.h
const PROTECTION: Table = &[
    ("PROT_READ", 0x1),
    ("PROT_WRITE", 0x2),
    ("PROT_EXEC", 0x4),
    ("PROT_SEM", 0x8),
    ("PROT_GROWSDOWN", 0x0100_0000),
    ("PROT_GROWSUP", 0x0200_0000),
];
// arch/arm64/include/uapi/asm/mman.h
const PROTECTION_ARM64: Table = &[("PROT_BTI", 0x10), ("PROT_MTE", 0x20)];

/// The kinds of a mapping: the lowest four bits (`MAP_TYPE`).
const MAP_TYPE: u64 = 0xf;
const MAP: Table = &[
    ("MAP_FIXED", 0x10),
    ("MAP_ANONYMOUS", 0x20),
    ("MAP_GROWSDOWN", 0x100),
    ("MAP_DENYWRITE", 0x800),
    ("MAP_EXECUTABLE", 0x1000),
    ("MAP_LOCKED", 0x2000),
    ("MAP_NORESERVE", 0x4000),
    ("MAP_POPULATE", 0x8000),
    ("MAP_NONBLOCK", 0x1_0000),
    ("MAP_STACK", 0x2_0000),
    ("MAP_HUGETLB", 0x4_0000),
    ("MAP_SYNC", 0x8_0000),
    ("MAP_FIXED_NOREPLACE", 0x10_0000),
];
// arch/x86/include/uapi/asm/mman.h
const MAP_X86: Table = &[("MAP_32BIT", 0x40), ("MAP_ABOVE4G", 0x80)];

/// The kinds of a mapping by name, and no protection at all.
const KINDS: Table = &[
    ("MAP_SHARED", 1),
    ("MAP_PRIVATE", 2),
    ("MAP_SHARED_VALIDATE", 3),
    ("PROT_NONE", 0),
];

/// The names that count under an ABI.
pub(super) fn tables(abi: Abi) -> [Table; 4] {
    let own = if is_x86(abi) { MAP_X86 } else { PROTECTION_ARM64 };
    [PROTECTION, KINDS, MAP, own]
}

fn is_x86(abi: Abi) -> bool {
    matches!(abi, Abi::X86_64 | Abi::X32 | Abi::I386)
}

pub(super) fn protection(abi: Abi, index: u8, args: &[u64; 6]) -> ArgKey {
    let value = word(args, index);
    let own: Table = if abi == Abi::Aarch64 {
        PROTECTION_ARM64
    } else {
        &[]
    };
    let none = (value == 0).then_some("PROT_NONE");
    ArgKey::new(index, value, flags(none, &[PROTECTION, own], value))
}

pub(super) fn mmap(abi: Abi, args: &[u64; 6]) -> Vec<ArgKey> {
    let value = word(args, 3);
    let (base, rest) = match value & MAP_TYPE {
        1 => (Some("MAP_SHARED"), value & !MAP_TYPE),
        2 => (Some("MAP_PRIVATE"), value & !MAP_TYPE),
        3 => (Some("MAP_SHARED_VALIDATE"), value & !MAP_TYPE),
        _ => (None, value),
    };
    let own: Table = if is_x86(abi) { MAP_X86 } else { &[] };
    vec![
        protection(abi, 2, args),
        ArgKey::new(3, value, flags(base, &[MAP, own], rest)),
    ]
}

pub(super) fn advice(index: u8, args: &[u64; 6]) -> ArgKey {
    let value = word(args, index);
    ArgKey::new(index, value, constant(ADVICE, value))
}
