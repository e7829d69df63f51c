//! `struct seccomp_data`: what a filter sees of a call (linux/seccomp.h).

use callgate_abi::{Arch, Syscall};

/// A call as a filter sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeccompData {
    /// The number, with bit 30 for x32.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// The six arguments.
    pub args: [u64; 6],
}

impl SeccompData {
    /// The call with these arguments, made from nowhere in particular.
    pub fn new(call: Syscall, args: [u64; 6]) -> Self {
        Self {
            nr: call.nr(),
            arch: call.abi().audit(),
            instruction_pointer: 0,
            args,
        }
    }

    /// The call with this number through an architecture's own entry.
    pub(crate) fn native(arch: Arch, nr: u32, args: [u64; 6]) -> Self {
        Self::new(Syscall::new(arch.abi(), nr), args)
    }

    /// The 32-bit word at this offset, a multiple of 4 below 64. Both architectures are little-endian:
    /// the low half of an argument comes first.
    pub(super) fn word(&self, offset: usize) -> u32 {
        let half = |value: u64, high: bool| (if high { value >> 32 } else { value & 0xffff_ffff }) as u32;
        let high = offset % 8 == 4;
        match offset {
            0 => self.nr,
            4 => self.arch,
            8 | 12 => half(self.instruction_pointer, high),
            _ => half(self.args[(offset - 16) / 8], high),
        }
    }
}
