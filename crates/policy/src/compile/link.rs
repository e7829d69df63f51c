//! A stack of filters as one program.

use callgate_abi::{Action, Arch, BPF_MAXINSNS, Filter, Instruction};

use super::CompileError;
use super::guard::{JUMP, RETURN, arch_check};
use crate::bpf::instruction;

/// Puts the programs one after the other, so that "allow" of one means "ask the next". That gives the
/// stack's answer if the more restrictive filters come first, as [`Compiled`](super::Compiled) has them.
///
/// The architecture is checked once: the check at the head of later programs is left out. All jumps are
/// relative and go forward, so neither step moves a target.
pub(super) fn link(arch: Arch, filters: &[Filter]) -> Result<Filter, CompileError> {
    let check = arch_check(arch);
    let bodies: Vec<&[Instruction]> = filters
        .iter()
        .enumerate()
        .map(|(place, filter)| match filter.0.strip_prefix(&check) {
            Some(body) if place > 0 => body,
            _ => filter.0.as_slice(),
        })
        .collect();
    let instructions = bodies.iter().map(|body| body.len()).sum();
    if instructions > BPF_MAXINSNS {
        return Err(CompileError::TooLong { arch, instructions });
    }
    let mut linked: Vec<Instruction> = Vec::with_capacity(instructions);
    let pass = instruction(RETURN, 0, 0, Action::Allow.ret());
    for (place, body) in bodies.iter().enumerate() {
        let last = place + 1 == bodies.len();
        for (at, original) in body.iter().enumerate() {
            linked.push(if last || *original != pass {
                *original
            } else {
                // At most 4096; a jump too far would be refused when it is loaded.
                let rest = u32::try_from(body.len() - at - 1).unwrap_or(u32::MAX);
                instruction(JUMP, 0, 0, rest)
            });
        }
    }
    Ok(Filter(linked))
}
