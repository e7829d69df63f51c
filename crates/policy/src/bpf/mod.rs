//! An interpreter for the classic BPF that seccomp runs: the judge of compiled filters.
//!
//! [`Program::new`] refuses what the kernel would refuse to load (`seccomp_check_filter` in
//! kernel/seccomp.c and `bpf_check_classic` in net/core/filter.c, Linux 6.12); [`Program::run`] answers
//! what the kernel's own interpreter would.

mod check;
mod data;
mod op;

use callgate_abi::{Action, Filter, Instruction};

pub use check::InvalidProgram;
pub use data::SeccompData;
pub(crate) use op::{Alu, Op, Source, Test, decode};

/// A program that the kernel would load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program(Vec<Op>);

impl Program {
    /// Checks a filter as the kernel does when it is loaded.
    ///
    /// # Errors
    /// [`InvalidProgram`] with the place of the instruction that the kernel would refuse.
    pub fn new(filter: &Filter) -> Result<Self, InvalidProgram> {
        check::check(&filter.0).map(Self)
    }

    /// The operations.
    pub(crate) fn ops(&self) -> &[Op] {
        &self.0
    }

    /// The value that the program returns for a call (`SECCOMP_RET_*` with its data).
    pub fn run(&self, data: &SeccompData) -> u32 {
        self.execute(data).0
    }

    /// How many instructions the program executes for a call.
    pub fn count(&self, data: &SeccompData) -> usize {
        self.execute(data).1
    }

    fn execute(&self, data: &SeccompData) -> (u32, usize) {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
        let (mut pc, mut executed) = (0, 0);
        // Jumps only go forward and the last instruction returns (both checked): this ends.
        while let Some(op) = self.0.get(pc) {
            pc += 1;
            executed += 1;
            match *op {
                Op::Load(offset) => a = data.word(offset),
                Op::Immediate(k) => a = k,
                Op::IndexImmediate(k) => x = k,
                Op::Memory(slot) => a = memory[slot],
                Op::IndexMemory(slot) => x = memory[slot],
                Op::Store(slot) => memory[slot] = a,
                Op::StoreIndex(slot) => memory[slot] = x,
                Op::ToIndex => x = a,
                Op::FromIndex => a = x,
                Op::Negate => a = a.wrapping_neg(),
                Op::Compute(alu, source) => match alu.apply(a, source.value(x)) {
                    Some(value) => a = value,
                    // The kernel ends a program that divides by zero with 0, which kills the thread.
                    None => return (0, executed),
                },
                Op::Always(skip) => pc += skip,
                Op::Jump {
                    test,
                    source,
                    yes,
                    no,
                } => {
                    pc += if test.holds(a, source.value(x)) { yes } else { no };
                }
                Op::Return(k) => return (k, executed),
                Op::ReturnAccumulator => return (a, executed),
            }
        }
        (Action::KillProcess.ret(), executed)
    }
}

/// What the kernel answers with several programs loaded, given oldest first: every one is run, the
/// newest first, and the first of the most restrictive answers counts (`seccomp_run_filters`).
pub fn run_stack(oldest_first: &[Program], data: &SeccompData) -> u32 {
    // Without any filter a call runs.
    let mut answer = Action::Allow.ret();
    for program in oldest_first.iter().rev() {
        let ret = program.run(data);
        let class = |value: u32| (value & 0xffff_0000) as i32;
        if class(ret) < class(answer) {
            answer = ret;
        }
    }
    answer
}

impl Source {
    fn value(self, x: u32) -> u32 {
        match self {
            Self::Constant(k) => k,
            Self::Index => x,
        }
    }
}

impl Test {
    pub(crate) fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::AnyBit => a & b != 0,
        }
    }
}

impl Alu {
    fn apply(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Sub => a.wrapping_sub(b),
            Self::Mul => a.wrapping_mul(b),
            Self::Div => a.checked_div(b)?,
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            // The kernel masks a shift by the index register to five bits.
            Self::ShiftLeft => a.wrapping_shl(b),
            Self::ShiftRight => a.wrapping_shr(b),
        })
    }
}

/// An instruction from its four parts, as linux/bpf_common.h composes codes.
pub(crate) const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;

    fn run(instructions: &[(u16, u8, u8, u32)]) -> Result<u32, InvalidProgram> {
        let filter = Filter(
            instructions
                .iter()
                .map(|(c, t, f, k)| instruction(*c, *t, *f, *k))
                .collect(),
        );
        let read = Arch::X86_64.call("write").unwrap();
        Ok(Program::new(&filter)?.run(&SeccompData::new(read, [7, 0xffff_ffff_0000_0001, 0, 0, 0, 9])))
    }

    #[test]
    fn loads_read_the_number_the_architecture_and_both_halves_of_arguments() {
        assert_eq!(run(&[(0x20, 0, 0, 0), (0x16, 0, 0, 0)]), Ok(1));
        assert_eq!(run(&[(0x20, 0, 0, 4), (0x16, 0, 0, 0)]), Ok(0xc000_003e));
        assert_eq!(run(&[(0x20, 0, 0, 24), (0x16, 0, 0, 0)]), Ok(1));
        assert_eq!(run(&[(0x20, 0, 0, 28), (0x16, 0, 0, 0)]), Ok(0xffff_ffff));
        assert_eq!(run(&[(0x20, 0, 0, 56), (0x16, 0, 0, 0)]), Ok(9));
        assert_eq!(run(&[(0x80, 0, 0, 0), (0x16, 0, 0, 0)]), Ok(64));
    }

    #[test]
    fn arithmetic_and_jumps_do_what_the_kernel_does() {
        // A = 12; X = A; A = 5; A -= X wraps; A >>= 28
        let program = [
            (0x00, 0, 0, 12),
            (0x07, 0, 0, 0),
            (0x00, 0, 0, 5),
            (0x1c, 0, 0, 0),
            (0x74, 0, 0, 28),
            (0x16, 0, 0, 0),
        ];
        assert_eq!(run(&program), Ok(15));
        let jump = |code, k| run(&[(0x00, 0, 0, 6), (code, 1, 0, k), (0x06, 0, 0, 1), (0x06, 0, 0, 2)]);
        assert_eq!((jump(0x15, 6), jump(0x15, 7)), (Ok(2), Ok(1)));
        assert_eq!((jump(0x25, 5), jump(0x25, 6)), (Ok(2), Ok(1)));
        assert_eq!((jump(0x35, 6), jump(0x35, 7)), (Ok(2), Ok(1)));
        assert_eq!((jump(0x45, 2), jump(0x45, 8)), (Ok(2), Ok(1)));
        assert_eq!(
            run(&[
                (0x00, 0, 0, 3),
                (0x02, 0, 0, 4),
                (0x00, 0, 0, 0),
                (0x60, 0, 0, 4),
                (0x16, 0, 0, 0)
            ]),
            Ok(3)
        );
        assert_eq!(run(&[(0x01, 0, 0, 0), (0x3c, 0, 0, 0), (0x06, 0, 0, 5)]), Ok(0));
    }

    #[test]
    fn what_the_kernel_would_not_load_is_refused_with_its_place() {
        let refused = |program: &[(u16, u8, u8, u32)]| run(program).unwrap_err().to_string();
        assert!(refused(&[]).contains("empty"));
        assert!(refused(&[(0x20, 0, 0, 0)]).contains("instruction 0: the program does not end"));
        assert!(refused(&[(0x28, 0, 0, 0), (0x06, 0, 0, 0)]).contains("instruction 0"));
        assert!(refused(&[(0x20, 0, 0, 3), (0x06, 0, 0, 0)]).contains("seccomp_data"));
        assert!(refused(&[(0x20, 0, 0, 64), (0x06, 0, 0, 0)]).contains("seccomp_data"));
        assert!(refused(&[(0x15, 1, 0, 0), (0x06, 0, 0, 0)]).contains("past the end"));
        assert!(refused(&[(0x05, 0, 0, u32::MAX), (0x06, 0, 0, 0)]).contains("past the end"));
        assert!(refused(&[(0x34, 0, 0, 0), (0x06, 0, 0, 0)]).contains("by zero"));
        assert!(refused(&[(0x64, 0, 0, 32), (0x06, 0, 0, 0)]).contains("shift"));
        assert!(refused(&[(0x60, 0, 0, 2), (0x06, 0, 0, 0)]).contains("before it is written"));
        assert!(refused(&[(0x02, 0, 0, 16), (0x06, 0, 0, 0)]).contains("slot"));
        assert!(refused(&vec![(0x06, 0, 0, 0); 4097]).contains("4097"));
    }

    #[test]
    fn of_a_stack_the_most_restrictive_answer_counts_and_among_errnos_the_newest() {
        let answer =
            |action: Action| Program::new(&Filter(vec![instruction(0x06, 0, 0, action.ret())])).unwrap();
        let read = SeccompData::new(Arch::X86_64.call("read").unwrap(), [0; 6]);
        let stack =
            |actions: &[Action]| run_stack(&actions.iter().map(|a| answer(*a)).collect::<Vec<_>>(), &read);
        assert_eq!(
            stack(&[Action::Errno(1), Action::Allow, Action::KillThread]),
            Action::KillThread.ret()
        );
        assert_eq!(
            stack(&[Action::KillProcess, Action::Errno(1)]),
            Action::KillProcess.ret()
        );
        assert_eq!(
            stack(&[Action::Errno(38), Action::Errno(1)]),
            Action::Errno(1).ret()
        );
        assert_eq!(stack(&[]), Action::Allow.ret());
    }
}
