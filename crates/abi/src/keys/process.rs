//! Keys of processes: clone flags, prctl options, personality, resources, futex operations, kill's target.

use std::ops::RangeInclusive;

use super::names::{constant, find, flags};
use super::tables::{
    ARCH_CODE, CLONE_FLAG, FUTEX, PERSONALITY, PERSONALITY_FLAG, PRCTL, RESOURCE, SIGNAL, Table,
};
use super::{ArgKey, word};

/// The lowest byte is the signal that the parent gets (`CSIGNAL`).
const CSIGNAL: u64 = 0xff;

pub(super) fn clone(args: &[u64; 6]) -> ArgKey {
    let value = word(args, 0);
    ArgKey::new(0, value, clone_name(value & !CSIGNAL, value & CSIGNAL))
}

/// Flags of clone3 alone, above the lower half (linux/sched.h).
const CLONE3_FLAG: Table = &[
    ("CLONE_CLEAR_SIGHAND", 0x1_0000_0000),
    ("CLONE_INTO_CGROUP", 0x2_0000_0000),
];

/// All of the flags and the signal, as clone would have them in one word; the signal has its own field.
pub(super) fn clone3(flag_bits: u64, signal: u64) -> ArgKey {
    ArgKey::new(0, flag_bits | signal & CSIGNAL, clone_name(flag_bits, signal))
}

fn clone_name(flag_bits: u64, signal: u64) -> String {
    let mut parts = Vec::new();
    if flag_bits != 0 || signal == 0 {
        parts.push(flags(None, &[CLONE_FLAG, CLONE3_FLAG], flag_bits));
    }
    if signal != 0 {
        parts.push(constant(SIGNAL, signal));
    }
    parts.join("|")
}

/// The names that are no table of headers alone.
pub(super) const TABLES: &[Table] = &[FUTEX_FLAGS];

const FUTEX_FLAGS: Table = &[("FUTEX_PRIVATE_FLAG", 128), ("FUTEX_CLOCK_REALTIME", 256)];

pub(super) fn futex(args: &[u64; 6]) -> ArgKey {
    let value = word(args, 1);
    let flag_bits = FUTEX_FLAGS.iter().fold(0, |all, (_, bit)| all | bit) & value;
    let operation = constant(FUTEX, value & !flag_bits);
    ArgKey::new(1, value, flags(Some(&operation), &[FUTEX_FLAGS], flag_bits))
}

/// Which processes a signal goes to (kill(2)): 32 bits with a sign.
pub(super) fn kill(args: &[u64; 6]) -> ArgKey {
    let target = word(args, 0) as u32 as i32;
    let (kind, name) = match target {
        1.. => (1, "one process"),
        0 => (0, "own process group"),
        -1 => (-1, "every process"),
        ..=-2 => (-2, "another process group"),
    };
    ArgKey::new(0, i64::from(kind) as u64, name.to_owned())
}

/// The targets of one kind, by the kind's value, as the lower half of the argument.
pub(super) fn targets(kind: i32) -> RangeInclusive<u32> {
    match kind {
        1.. => 1..=i32::MAX as u32,
        0 => 0..=0,
        -1 => u32::MAX..=u32::MAX,
        ..=-2 => i32::MIN as u32..=u32::MAX - 1,
    }
}

pub(super) fn prctl(args: &[u64; 6]) -> ArgKey {
    let value = word(args, 0);
    ArgKey::new(0, value, constant(PRCTL, value))
}

pub(super) fn arch_prctl(args: &[u64; 6]) -> ArgKey {
    let value = word(args, 0);
    ArgKey::new(0, value, constant(ARCH_CODE, value))
}

/// The lowest byte is the personality proper (`PER_MASK`).
const PER_MASK: u64 = 0xff;
/// Asks for the personality without changing it (personality(2)).
const ASK: u64 = 0xffff_ffff;

pub(super) fn personality(args: &[u64; 6]) -> ArgKey {
    let value = word(args, 0);
    let name = match find(PERSONALITY, value) {
        Some(name) => name.to_owned(),
        None if value == ASK => format!("{value:#x}"),
        None => {
            let base = constant(PERSONALITY, value & PER_MASK);
            flags(Some(&base), &[PERSONALITY_FLAG], value & !PER_MASK)
        }
    };
    ArgKey::new(0, value, name)
}

pub(super) fn resource(index: u8, args: &[u64; 6]) -> ArgKey {
    let value = word(args, index);
    ArgKey::new(index, value, constant(RESOURCE, value))
}
