//! The operations of classic BPF that seccomp permits, decoded.

use callgate_abi::Instruction;

/// One decoded instruction; memory slots are below 16, loads are aligned and inside `seccomp_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Load(usize),
    Immediate(u32),
    IndexImmediate(u32),
    Memory(usize),
    IndexMemory(usize),
    Store(usize),
    StoreIndex(usize),
    ToIndex,
    FromIndex,
    Negate,
    Compute(Alu, Source),
    Always(usize),
    Jump {
        test: Test,
        source: Source,
        yes: usize,
        no: usize,
    },
    Return(u32),
    ReturnAccumulator,
}

/// The right operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Constant(u32),
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// Why one instruction can't be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Code,
    Offset,
    Slot,
    Zero,
    Shift,
}

/// `sizeof(struct seccomp_data)`.
pub(super) const DATA_LEN: u32 = 64;
const SLOTS: u32 = 16;

/// Decodes an instruction, as `seccomp_check_filter` does: only what it lists, `BPF_LEN` made a constant.
pub(crate) fn decode(i: &Instruction) -> Result<Op, Fault> {
    let slot = || {
        if i.k < SLOTS {
            Ok(i.k as usize)
        } else {
            Err(Fault::Slot)
        }
    };
    let source = if i.code & 0x08 == 0 {
        Source::Constant(i.k)
    } else {
        Source::Index
    };
    let jump = |test| Op::Jump {
        test,
        source,
        yes: usize::from(i.jt),
        no: usize::from(i.jf),
    };
    Ok(match i.code {
        0x20 if i.k % 4 == 0 && i.k < DATA_LEN => Op::Load(i.k as usize),
        0x20 => return Err(Fault::Offset),
        0x80 => Op::Immediate(DATA_LEN),
        0x81 => Op::IndexImmediate(DATA_LEN),
        0x00 => Op::Immediate(i.k),
        0x01 => Op::IndexImmediate(i.k),
        0x60 => Op::Memory(slot()?),
        0x61 => Op::IndexMemory(slot()?),
        0x02 => Op::Store(slot()?),
        0x03 => Op::StoreIndex(slot()?),
        0x07 => Op::ToIndex,
        0x87 => Op::FromIndex,
        0x84 => Op::Negate,
        0x04 | 0x0c => Op::Compute(Alu::Add, source),
        0x14 | 0x1c => Op::Compute(Alu::Sub, source),
        0x24 | 0x2c => Op::Compute(Alu::Mul, source),
        0x34 if i.k == 0 => return Err(Fault::Zero),
        0x34 | 0x3c => Op::Compute(Alu::Div, source),
        0x44 | 0x4c => Op::Compute(Alu::Or, source),
        0x54 | 0x5c => Op::Compute(Alu::And, source),
        0x64 | 0x74 if i.k >= u32::BITS => return Err(Fault::Shift),
        0x64 | 0x6c => Op::Compute(Alu::ShiftLeft, source),
        0x74 | 0x7c => Op::Compute(Alu::ShiftRight, source),
        0xa4 | 0xac => Op::Compute(Alu::Xor, source),
        0x05 => Op::Always(i.k as usize),
        0x15 | 0x1d => jump(Test::Equal),
        0x25 | 0x2d => jump(Test::Greater),
        0x35 | 0x3d => jump(Test::GreaterOrEqual),
        0x45 | 0x4d => jump(Test::AnyBit),
        0x06 => Op::Return(i.k),
        0x16 => Op::ReturnAccumulator,
        _ => return Err(Fault::Code),
    })
}
