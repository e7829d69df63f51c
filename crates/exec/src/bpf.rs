//! The words of classic BPF (linux/bpf_common.h, linux/filter.h) as seccomp takes them, for the filters of our own.

/// BPF_LD | BPF_W | BPF_ABS: a word of [`struct seccomp_data`](NUMBER) is loaded.
pub(crate) const LOAD: u16 = 0x20;
/// BPF_ALU | BPF_AND | BPF_K
pub(crate) const AND: u16 = 0x54;
/// BPF_JMP | BPF_JA
pub(crate) const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_JEQ | BPF_K
pub(crate) const JUMP_EQUAL: u16 = 0x15;
/// BPF_JMP | BPF_JGE | BPF_K
pub(crate) const JUMP_AT_LEAST: u16 = 0x35;
/// BPF_JMP | BPF_JSET | BPF_K
pub(crate) const JUMP_ANY_BIT: u16 = 0x45;
/// BPF_RET | BPF_K
pub(crate) const RETURN: u16 = 0x06;

/// Offset of the call's number in `struct seccomp_data` (linux/seccomp.h).
pub(crate) const NUMBER: u32 = 0;
/// Offset of the architecture word (`AUDIT_ARCH_*`).
pub(crate) const ARCHITECTURE: u32 = 4;

/// Offset of the low half of an argument, which is the first on both architectures.
pub(crate) const fn argument(index: u8) -> u32 {
    16 + 8 * index as u32
}
