//! The filter that lets pass what has been seen and stops on everything else.
//!
//! It must be cheap for what passes. A binary search over the numbers is not only short: where a call passes
//! whatever its arguments, the kernel finds out when the filter is loaded and does not run it at all then
//! (Linux 5.11, `seccomp_cache_prepare`), which it only can if such calls are decided by architecture and
//! number alone.

use callgate_abi::{Abi, Action, Arch, Filter, Instruction};

use crate::learned::{Learned, Shape};
use crate::traits::{Traits, traits};

/// A call that is known by where it is made and by a pointer that it passes: see `files`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fstat {
    /// The number of `newfstatat`.
    pub(crate) nr: u32,
    /// After the instruction that enters the kernel.
    pub(crate) instruction: u64,
    /// The address of an empty path.
    pub(crate) path: u64,
}

// linux/bpf_common.h
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_OR_EQUAL: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

// struct seccomp_data; the lower half of an argument comes first on both architectures.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const INSTRUCTION: u32 = 8;
const fn argument(index: u8) -> u32 {
    16 + 8 * index as u32
}

const PASS: Instruction = line(RETURN, 0, 0, Action::Allow.ret());

const fn line(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// Makes the filter. Other ABIs, and what is not known of the machine's own, always stop. `tag` comes with
/// these stops: a probe's filter can ask for a tracer too.
pub(crate) fn program(learned: &Learned, fstats: &[Fstat], tag: u16) -> Filter {
    let stop = line(RETURN, 0, 0, Action::Trace(tag).ret());
    let mut calls: Vec<(u32, Vec<Instruction>)> = Vec::new();
    for (nr, shapes) in learned.calls() {
        let call = callgate_abi::Syscall::new(Arch::NATIVE.abi(), *nr);
        let traits = traits(call);
        let own: Vec<&Fstat> = fstats.iter().filter(|fstat| fstat.nr == *nr).collect();
        if !traits.always {
            calls.push((*nr, decide(&traits, shapes, stop)));
        } else if !own.is_empty() {
            calls.push((*nr, own.into_iter().flat_map(fstat).chain([stop]).collect()));
        }
    }
    let mut out = vec![
        line(LOAD, 0, 0, ARCH),
        line(EQUAL, 1, 0, Arch::NATIVE.audit()),
        stop,
        line(LOAD, 0, 0, NUMBER),
        // x32 shares the architecture's name.
        line(GREATER_OR_EQUAL, 0, 1, Abi::X32_BIT),
        stop,
    ];
    out.extend(search(&calls, stop));
    Filter(out)
}

/// Finds a number. Every way through ends in a return.
fn search(calls: &[(u32, Vec<Instruction>)], stop: Instruction) -> Vec<Instruction> {
    let over = |skipped: &[Instruction]| line(JUMP, 0, 0, skipped.len() as u32);
    if calls.len() <= 2 {
        let mut out = Vec::new();
        for (nr, body) in calls {
            out.push(line(EQUAL, 1, 0, *nr));
            out.push(over(body));
            out.extend_from_slice(body);
        }
        out.push(stop);
        return out;
    }
    let (left, right) = calls.split_at(calls.len() / 2);
    let below = search(left, stop);
    let mut out = vec![line(GREATER_OR_EQUAL, 0, 1, right[0].0), over(&below)];
    out.extend(below);
    out.extend(search(right, stop));
    out
}

/// Decides on a call by its arguments.
fn decide(traits: &Traits, shapes: &[Shape], stop: Instruction) -> Vec<Instruction> {
    let mut out = Vec::new();
    for value in traits.stop_values {
        out.extend([line(LOAD, 0, 0, argument(0)), line(EQUAL, 0, 1, *value), stop]);
    }
    if traits.stop_bits != 0 {
        out.extend([
            line(LOAD, 0, 0, argument(0)),
            line(ANY_BIT, 0, 1, traits.stop_bits),
            stop,
        ]);
    }
    if shapes.iter().any(Vec::is_empty) {
        out.push(PASS);
        return out;
    }
    for shape in shapes {
        let tests: Vec<(u32, u32, u32)> = shape
            .iter()
            .map(|(index, range)| (argument(*index), *range.start(), *range.end()))
            .collect();
        out.extend(all(&tests));
    }
    out.push(stop);
    out
}

fn fstat(call: &Fstat) -> Vec<Instruction> {
    let is = |offset: u32, value: u64| {
        let (low, high) = (value as u32, (value >> 32) as u32);
        [(offset, low, low), (offset + 4, high, high)]
    };
    let flags = libc::AT_EMPTY_PATH as u32;
    let mut tests = vec![(argument(3), flags, flags)];
    tests.extend(is(argument(1), call.path));
    tests.extend(is(INSTRUCTION, call.instruction));
    all(&tests)
}

/// Passes if each word (at this offset) is in its range; goes on behind it if not.
fn all(tests: &[(u32, u32, u32)]) -> Vec<Instruction> {
    let sizes = tests.iter().map(|(_, from, to)| if from == to { 2 } else { 3 });
    let total: u8 = sizes.sum::<u8>() + 1;
    let mut out = Vec::new();
    for (offset, from, to) in tests {
        out.push(line(LOAD, 0, 0, *offset));
        let left = |out: &Vec<Instruction>| total - out.len() as u8 - 1;
        if from == to {
            out.push(line(EQUAL, 0, left(&out), *from));
        } else {
            out.push(line(GREATER_OR_EQUAL, 0, left(&out), *from));
            out.push(line(GREATER, left(&out), 0, *to));
        }
    }
    out.push(PASS);
    out
}

#[cfg(test)]
#[path = "passing/tests.rs"]
mod tests;
