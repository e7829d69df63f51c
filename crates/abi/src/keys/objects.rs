//! Keys of files and descriptors: open flags, fcntl commands, ioctl requests.

use super::names::{constant, find, flags};
use super::tables::{FCNTL, IOCTL, Table};
use super::{ArgKey, word};
use crate::Abi;

/// The lowest two bits are no flags (`O_ACCMODE`).
const ACCESS: Table = &[("O_RDONLY", 0), ("O_WRONLY", 1), ("O_RDWR", 2)];
const O_ACCMODE: u64 = 0o3;

// asm-generic/fcntl.h; O_SYNC contains O_DSYNC. O_TMPFILE contains O_DIRECTORY, which the ABIs differ in.
const OPEN: Table = &[
    ("O_CREAT", 0o100),
    ("O_EXCL", 0o200),
    ("O_NOCTTY", 0o400),
    ("O_TRUNC", 0o1000),
    ("O_APPEND", 0o2000),
    ("O_NONBLOCK", 0o4000),
    ("O_SYNC", 0o4_010_000),
    ("O_DSYNC", 0o10_000),
    ("FASYNC", 0o20_000),
    ("O_NOATIME", 0o1_000_000),
    ("O_CLOEXEC", 0o2_000_000),
    ("O_PATH", 0o10_000_000),
];
const OPEN_X86: Table = &[
    ("O_TMPFILE", 0o20_200_000),
    ("O_DIRECT", 0o40_000),
    ("O_LARGEFILE", 0o100_000),
    ("O_DIRECTORY", 0o200_000),
    ("O_NOFOLLOW", 0o400_000),
];
// arch/arm64/include/uapi/asm/fcntl.h
const OPEN_ARM: Table = &[
    ("O_TMPFILE", 0o20_040_000),
    ("O_DIRECTORY", 0o40_000),
    ("O_NOFOLLOW", 0o100_000),
    ("O_DIRECT", 0o200_000),
    ("O_LARGEFILE", 0o400_000),
];

/// The names that count under an ABI.
pub(super) fn tables(abi: Abi) -> [Table; 3] {
    [ACCESS, OPEN, own_flags(abi)]
}

fn own_flags(abi: Abi) -> Table {
    match abi {
        Abi::X86_64 | Abi::X32 | Abi::I386 => OPEN_X86,
        Abi::Aarch64 | Abi::Arm => OPEN_ARM,
    }
}

pub(super) fn open_flags(abi: Abi, index: u8, args: &[u64; 6]) -> ArgKey {
    let value = word(args, index);
    let (base, rest) = match find(ACCESS, value & O_ACCMODE) {
        Some(name) => (Some(name), value & !O_ACCMODE),
        None => (None, value),
    };
    ArgKey::new(index, value, flags(base, &[OPEN, own_flags(abi)], rest))
}

/// Commands of 32-bit ABIs alone, for offsets of 64 bits (asm-generic/fcntl.h).
const FCNTL64: Table = &[("F_GETLK64", 12), ("F_SETLK64", 13), ("F_SETLKW64", 14)];

pub(super) fn fcntl(abi: Abi, args: &[u64; 6]) -> ArgKey {
    let value = word(args, 1);
    let wide = matches!(abi, Abi::I386 | Abi::Arm)
        .then(|| find(FCNTL64, value))
        .flatten();
    let name = wide.map_or_else(|| constant(FCNTL, value), str::to_owned);
    ArgKey::new(1, value, name)
}

pub(super) fn ioctl(args: &[u64; 6]) -> ArgKey {
    let value = word(args, 1);
    ArgKey::new(1, value, constant(IOCTL, value))
}
