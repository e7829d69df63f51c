//! The filter in front: only native calls get past it.

use callgate_abi::{Abi, Action, Arch, Filter, Instruction};

use crate::bpf::instruction;

// linux/bpf_common.h and linux/seccomp.h
pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_BIT: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;
const NR_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;

/// The check of the architecture with which every program begins, here and in seccompiler's: the number
/// is looked at only after it.
pub(super) fn arch_check(arch: Arch) -> [Instruction; 3] {
    [
        instruction(LOAD, 0, 0, ARCH_OFFSET),
        instruction(JUMP_EQUAL, 1, 0, arch.audit()),
        instruction(RETURN, 0, 0, Action::KillProcess.ret()),
    ]
}

/// Kills what is not a native call of this architecture and lets the rest pass.
pub(super) fn guard(arch: Arch) -> Filter {
    let mut program = arch_check(arch).to_vec();
    if arch == Arch::X86_64 {
        // x32 shares amd64's architecture word; bit 30 of the number tells it apart.
        program.extend([
            instruction(LOAD, 0, 0, NR_OFFSET),
            instruction(JUMP_BIT, 0, 1, Abi::X32_BIT),
            instruction(RETURN, 0, 0, Action::KillProcess.ret()),
        ]);
    }
    program.push(instruction(RETURN, 0, 0, Action::Allow.ret()));
    Filter(program)
}
