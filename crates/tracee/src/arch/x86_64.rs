//! Register layout of x86-64 (`user_regs_struct`, sys/user.h).

use nix::libc::user_regs_struct as Registers;

use crate::stopped::Frame;

/// `syscall`.
pub(crate) const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

/// `AUDIT_ARCH_I386`: a 64-bit tracer sees a 32-bit call's arguments in other registers.
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// Number and arguments of the call that the tracee is in.
pub(crate) fn call(r: &Registers, audit_arch: u32) -> (u64, [u64; 6]) {
    if audit_arch == AUDIT_ARCH_I386 {
        let low = |v: u64| v & 0xffff_ffff;
        return (
            low(r.orig_rax),
            [
                low(r.rbx),
                low(r.rcx),
                low(r.rdx),
                low(r.rsi),
                low(r.rdi),
                low(r.rbp),
            ],
        );
    }
    (r.orig_rax, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9])
}

/// Where the tracee goes on.
pub(crate) fn instruction_pointer(r: &Registers) -> u64 {
    r.rip
}

/// The registers that an unwinder starts from.
pub(crate) fn frame(r: &Registers) -> Frame {
    Frame {
        instruction: r.rip,
        stack: r.rsp,
        frame: r.rbp,
        link: 0,
    }
}

/// Makes the tracee perform this call with the instruction at `at`.
pub(crate) fn prepare(r: &mut Registers, at: u64, nr: u64, args: &[u64; 6]) {
    r.rip = at;
    r.rax = nr;
    // Not in a call: the kernel must not restart anything.
    r.orig_rax = u64::MAX;
    [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9] = *args;
}

/// Sets what the call returned.
pub(crate) fn set_result(r: &mut Registers, value: i64) {
    r.rax = value as u64;
    r.orig_rax = u64::MAX;
}

/// Sets an argument of the call that the tracee is about to make, or puts it back after the call: the
/// program finds its registers as it left them.
pub(crate) fn set_argument(r: &mut Registers, index: usize, value: u64) {
    let registers = [
        &mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9,
    ];
    if let Some(register) = registers.into_iter().nth(index) {
        *register = value;
    }
}

/// Whether the first argument's register takes the result.
pub(crate) const RESULT_IN_FIRST: bool = false;

/// Makes the kernel skip the call that the tracee is about to make, which fails with this errno.
pub(crate) fn skip(tid: i32, r: &mut Registers, errno: i32) -> nix::Result<()> {
    let _ = tid;
    r.orig_rax = u64::MAX;
    r.rax = i64::from(-errno) as u64;
    Ok(())
}

/// A loop over calls, each of seven words (number and arguments), at RBX; RBP is how many are left. It ends with
/// a trap, after the last or the first that fails, whose result is in RAX then.
pub(crate) const LOOP: [u8; 47] = [
    0x48, 0x8b, 0x03, // loop: mov (%rbx),%rax
    0x48, 0x8b, 0x7b, 0x08, // mov 8(%rbx),%rdi
    0x48, 0x8b, 0x73, 0x10, // mov 16(%rbx),%rsi
    0x48, 0x8b, 0x53, 0x18, // mov 24(%rbx),%rdx
    0x4c, 0x8b, 0x53, 0x20, // mov 32(%rbx),%r10
    0x4c, 0x8b, 0x43, 0x28, // mov 40(%rbx),%r8
    0x4c, 0x8b, 0x4b, 0x30, // mov 48(%rbx),%r9
    0x0f, 0x05, // syscall
    0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, // cmp $-4095,%rax
    0x73, 0x09, // jae end
    0x48, 0x83, 0xc3, 0x38, // add $56,%rbx
    0x48, 0xff, 0xcd, // dec %rbp
    0x75, 0xd2, // jne loop
    0xcc, // end: int3
];

/// Makes the tracee go through [`LOOP`], which stands at `at`, for this many calls at `list`.
pub(crate) fn prepare_loop(r: &mut Registers, at: u64, list: u64, count: u64) {
    r.rip = at;
    r.orig_rax = u64::MAX;
    (r.rbx, r.rbp) = (list, count);
}

/// How many calls were left at the end of [`LOOP`], and what the last one returned.
pub(crate) fn after_loop(r: &Registers) -> (u64, i64) {
    (r.rbp, r.rax as i64)
}
