//! What a proof says: what was tried, or the call that refutes it.

use std::fmt;

use callgate_abi::{Abi, Action, Arch, Syscall};

/// What was tried, without a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The architecture that the programs are for.
    pub arch: Arch,
    /// The programs.
    pub programs: Vec<ProvedProgram>,
    /// All numbers below this were tried.
    pub numbers: u32,
    /// How many numbers beyond.
    pub far: usize,
    /// Through how many architecture words each, with and without the bit of x32.
    pub words: usize,
    /// How many calls have conditions on their arguments.
    pub conditioned: usize,
    /// How many boundary values these have.
    pub edges: usize,
    /// How many calls were tried in all.
    pub calls: u64,
}

/// Programs that are loaded together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedProgram {
    /// `the program`, or what it was called.
    pub name: String,
    /// The length of each, in instructions, in the order in which they are loaded.
    pub instructions: Vec<usize>,
}

/// A call that a program answers otherwise than the policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// The architecture that the program is for.
    pub arch: Arch,
    /// The program.
    pub program: String,
    /// The architecture word of the call (`AUDIT_ARCH_*`).
    pub audit: u32,
    /// Its number, with the bit of x32.
    pub nr: u32,
    /// Its arguments.
    pub args: [u64; 6],
    /// What the policy says.
    pub wanted: Action,
    /// What the program returned (`SECCOMP_RET_*`).
    pub answer: u32,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = Abi::of(self.audit, u64::from(self.nr));
        match entry {
            Some(abi) => write!(f, "{} (number {}, {abi}", Syscall::new(abi, self.nr), self.nr)?,
            None => write!(f, "number {} (no architecture that Linux has here", self.nr)?,
        }
        let args: Vec<String> = self.args.iter().map(|arg| format!("{arg:#x}")).collect();
        write!(
            f,
            ", arch {:#010x}) with arguments {}: ",
            self.audit,
            args.join(", ")
        )?;
        write!(f, "{} answers ", self.program)?;
        match Action::from_ret(self.answer) {
            Some(action) => write!(f, "{action}")?,
            None => write!(f, "user notification")?,
        }
        write!(
            f,
            " ({:#010x}), the policy says {} on {}",
            self.answer, self.wanted, self.arch
        )
    }
}
