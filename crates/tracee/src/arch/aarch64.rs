//! Register layout of arm64 (`user_regs_struct`, sys/user.h).

use nix::libc::user_regs_struct as Registers;

use crate::stopped::Frame;

/// `svc #0`.
pub(crate) const INSTRUCTION: [u8; 4] = 0xd400_0001_u32.to_le_bytes();

/// Number and arguments of the call that the tracee is in. The first argument's register also takes
/// the result, but a refused call was rolled back by the kernel.
pub(crate) fn call(r: &Registers, _audit_arch: u32) -> (u64, [u64; 6]) {
    let x = &r.regs;
    (x[8], [x[0], x[1], x[2], x[3], x[4], x[5]])
}

/// Where the tracee goes on.
pub(crate) fn instruction_pointer(r: &Registers) -> u64 {
    r.pc
}

/// The registers that an unwinder starts from.
pub(crate) fn frame(r: &Registers) -> Frame {
    Frame {
        instruction: r.pc,
        stack: r.sp,
        frame: r.regs[29],
        link: r.regs[30],
    }
}

/// Makes the tracee perform this call with the instruction at `at`.
pub(crate) fn prepare(r: &mut Registers, at: u64, nr: u64, args: &[u64; 6]) {
    r.pc = at;
    r.regs[8] = nr;
    r.regs[..6].copy_from_slice(args);
}

/// Sets what the call returned.
pub(crate) fn set_result(r: &mut Registers, value: i64) {
    r.regs[0] = value as u64;
}

/// Sets an argument of the call that the tracee is about to make, or puts it back after the call.
pub(crate) fn set_argument(r: &mut Registers, index: usize, value: u64) {
    if let Some(register) = r.regs[..6].get_mut(index) {
        *register = value;
    }
}

/// Whether the first argument's register takes the result.
pub(crate) const RESULT_IN_FIRST: bool = true;

/// Makes the kernel skip the call that the tracee is about to make, which fails with this errno.
pub(crate) fn skip(tid: i32, r: &mut Registers, errno: i32) -> nix::Result<()> {
    r.regs[0] = i64::from(-errno) as u64;
    crate::sys::set_number(tid, -1)
}

/// A loop over calls, each of seven words (number and arguments), at X19; X20 is how many are left. It ends with
/// a trap, after the last or the first that fails, whose result is in X0 then.
pub(crate) const LOOP: [u8; 44] = instructions([
    0xa940_0268, // loop: ldp x8, x0, [x19]
    0xa941_0a61, // ldp x1, x2, [x19, #16]
    0xa942_1263, // ldp x3, x4, [x19, #32]
    0xf940_1a65, // ldr x5, [x19, #48]
    0xd400_0001, // svc #0
    0xb13f_fc1f, // cmn x0, #4095
    0x5400_0082, // b.hs end
    0x9100_e273, // add x19, x19, #56
    0xf100_0694, // subs x20, x20, #1
    0x54ff_fee1, // b.ne loop
    0xd420_0000, // end: brk #0
]);

/// Instructions as they stand in memory.
const fn instructions(words: [u32; 11]) -> [u8; 44] {
    let mut bytes = [0; 44];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = words[at / 4].to_le_bytes()[at % 4];
        at += 1;
    }
    bytes
}

/// Makes the tracee go through [`LOOP`], which stands at `at`, for this many calls at `list`.
pub(crate) fn prepare_loop(r: &mut Registers, at: u64, list: u64, count: u64) {
    r.pc = at;
    (r.regs[19], r.regs[20]) = (list, count);
}

/// How many calls were left at the end of [`LOOP`], and what the last one returned.
pub(crate) fn after_loop(r: &Registers) -> (u64, i64) {
    (r.regs[20], r.regs[0] as i64)
}
