//! What the kernel checks before it loads a program.

use callgate_abi::{BPF_MAXINSNS, Instruction};

use super::op::{DATA_LEN, Fault, Op, decode};

/// Why the kernel would not load a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProgram {
    /// It has no instruction.
    #[error("the program is empty")]
    Empty,
    /// It is too long.
    #[error("the program has {0} instructions, the kernel takes at most {BPF_MAXINSNS}")]
    TooLong(usize),
    /// Its last instruction does not return.
    #[error("instruction {at}: the program does not end with a return")]
    NoReturn {
        /// Its place.
        at: usize,
    },
    /// seccomp does not permit this operation.
    #[error("instruction {at}: seccomp has no operation {code:#x}")]
    Code {
        /// Its place.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// A load from outside `struct seccomp_data`, or not aligned.
    #[error("instruction {at}: offset {offset} is no word of seccomp_data ({DATA_LEN} bytes)")]
    Offset {
        /// Its place.
        at: usize,
        /// Its operand.
        offset: u32,
    },
    /// A memory slot that does not exist.
    #[error("instruction {at}: there is no memory slot {slot} (0 to 15)")]
    Slot {
        /// Its place.
        at: usize,
        /// Its operand.
        slot: u32,
    },
    /// A constant division by zero.
    #[error("instruction {at}: division by zero")]
    Zero {
        /// Its place.
        at: usize,
    },
    /// A constant shift by 32 bits or more.
    #[error("instruction {at}: a shift by 32 bits or more")]
    Shift {
        /// Its place.
        at: usize,
    },
    /// A jump past the last instruction.
    #[error("instruction {at}: a jump past the end")]
    Jump {
        /// Its place.
        at: usize,
    },
    /// A memory slot that some path reads before any wrote it.
    #[error("instruction {at}: memory slot {slot} is read before it is written")]
    Unwritten {
        /// Its place.
        at: usize,
        /// The slot.
        slot: usize,
    },
}

pub(super) fn check(program: &[Instruction]) -> Result<Vec<Op>, InvalidProgram> {
    if program.is_empty() {
        return Err(InvalidProgram::Empty);
    }
    if program.len() > BPF_MAXINSNS {
        return Err(InvalidProgram::TooLong(program.len()));
    }
    let decoded = program.iter().enumerate().map(|(at, i)| {
        decode(i).map_err(|fault| match fault {
            Fault::Code => InvalidProgram::Code { at, code: i.code },
            Fault::Offset => InvalidProgram::Offset { at, offset: i.k },
            Fault::Slot => InvalidProgram::Slot { at, slot: i.k },
            Fault::Zero => InvalidProgram::Zero { at },
            Fault::Shift => InvalidProgram::Shift { at },
        })
    });
    let ops: Vec<Op> = decoded.collect::<Result<_, _>>()?;
    for (at, op) in ops.iter().enumerate() {
        let furthest = match op {
            Op::Always(skip) => *skip,
            Op::Jump { yes, no, .. } => *yes.max(no),
            _ => continue,
        };
        if furthest >= ops.len() - at - 1 {
            return Err(InvalidProgram::Jump { at });
        }
    }
    memory(&ops)?;
    match ops.last() {
        Some(Op::Return(_) | Op::ReturnAccumulator) => Ok(ops),
        _ => Err(InvalidProgram::NoReturn { at: ops.len() - 1 }),
    }
}

/// Follows which slots are written on every path, as `check_load_and_stores` does. Jumps only go forward,
/// so one pass is enough.
fn memory(ops: &[Op]) -> Result<(), InvalidProgram> {
    const ALL: u16 = u16::MAX;
    let mut written_at = vec![ALL; ops.len()];
    let mut written: u16 = 0;
    for (at, op) in ops.iter().enumerate() {
        written &= written_at[at];
        match *op {
            Op::Store(slot) | Op::StoreIndex(slot) => written |= 1 << slot,
            Op::Memory(slot) | Op::IndexMemory(slot) if written & (1 << slot) == 0 => {
                return Err(InvalidProgram::Unwritten { at, slot });
            }
            Op::Always(skip) => {
                written_at[at + 1 + skip] &= written;
                written = ALL;
            }
            Op::Jump { yes, no, .. } => {
                written_at[at + 1 + yes] &= written;
                written_at[at + 1 + no] &= written;
                written = ALL;
            }
            Op::Return(_) | Op::ReturnAccumulator => written = ALL,
            _ => {}
        }
    }
    Ok(())
}
