//! The head of every program: only native calls get past it.

use callgate_abi::{Abi, Action, Arch, Instruction};

use crate::bpf::instruction;

// linux/bpf_common.h and linux/seccomp.h
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
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

/// What every program begins with: it kills what is not a native call of this architecture, and has the
/// number loaded for what follows.
pub(super) fn head(arch: Arch) -> Vec<Instruction> {
    let mut program = arch_check(arch).to_vec();
    program.push(instruction(LOAD, 0, 0, NR_OFFSET));
    if arch == Arch::X86_64 {
        // x32 shares amd64's architecture word; bit 30 of the number tells it apart.
        program.extend([
            instruction(JUMP_BIT, 0, 1, Abi::X32_BIT),
            instruction(RETURN, 0, 0, Action::KillProcess.ret()),
        ]);
    }
    program
}
