//! Proves programs: what they answer is what the policy says, over all that can make a difference.
//!
//! The policy's own meaning ([`Policy::decide`]) is one side, the programs run by our interpreter
//! ([`crate::bpf`]) the other; the compiler is between them and is not trusted.

mod edges;
mod report;

use std::collections::BTreeSet;

use callgate_abi::{Abi, Action, Arch, Filter, Syscall};

pub(crate) use edges::conditional;
pub use edges::edges;
pub use report::{Counterexample, Proof, ProvedProgram};

use crate::bpf::{InvalidProgram, Program, SeccompData, run_stack};
use crate::{CompileError, Policy, compile};

/// Why a policy is not proved.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It has no filter.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The kernel would not load a program.
    #[error("{program}: {source}")]
    Invalid {
        /// Which program.
        program: String,
        /// What the kernel would say of it.
        source: InvalidProgram,
    },
    /// A call that a program answers otherwise than the policy says.
    #[error("{0}")]
    Wrong(Box<Counterexample>),
}

/// All numbers below this are tried.
const NUMBERS: u32 = 1024;
/// Numbers that are far from any table: each of the higher bits alone, and all below bits 30, 31 and 32.
const FAR: [u32; 25] = far();
/// Architecture words of no machine that we know: 0, riscv64's and all bits.
const NO_ARCH: [u32; 3] = [0, 0xc000_00f3, u32::MAX];

const fn far() -> [u32; 25] {
    let mut far = [u32::MAX; 25];
    let mut bit = 0;
    while bit < 22 {
        far[bit] = NUMBERS << bit;
        bit += 1;
    }
    far[22] = u32::MAX >> 1;
    far[23] = u32::MAX >> 2;
    far
}

/// Programs that should do what a policy says on one architecture.
#[derive(Debug)]
pub struct Verifier<'a> {
    policy: &'a Policy,
    arch: Arch,
    subjects: Vec<Subject>,
    calls: u64,
}

/// Programs that are loaded together.
#[derive(Debug)]
struct Subject {
    name: String,
    instructions: Vec<usize>,
    oldest_first: Vec<Program>,
}

impl<'a> Verifier<'a> {
    /// For the policy's own program.
    ///
    /// # Errors
    /// [`VerifyError::Compile`] if there are none, [`VerifyError::Invalid`] if the kernel would not load
    /// them.
    pub fn new(policy: &'a Policy, arch: Arch) -> Result<Self, VerifyError> {
        let linked = compile(policy, arch)?.link()?;
        Self::of(policy, arch, "the program", &[linked])
    }

    /// For programs from elsewhere that should do what the policy says, in the order in which they are
    /// loaded; `name` is what a report calls them.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] if the kernel would not load them.
    pub fn of(
        policy: &'a Policy,
        arch: Arch,
        name: &str,
        oldest_first: &[Filter],
    ) -> Result<Self, VerifyError> {
        let program = |filter: &Filter| {
            Program::new(filter).map_err(|source| VerifyError::Invalid {
                program: name.to_owned(),
                source,
            })
        };
        let subject = Subject {
            name: name.to_owned(),
            instructions: oldest_first.iter().map(|filter| filter.0.len()).collect(),
            oldest_first: oldest_first.iter().map(program).collect::<Result<_, _>>()?,
        };
        Ok(Self {
            policy,
            arch,
            subjects: vec![subject],
            calls: 0,
        })
    }

    /// One call as the kernel reports it: the architecture word, the number, the arguments.
    ///
    /// # Errors
    /// [`VerifyError::Wrong`] if a program answers otherwise than the policy.
    pub fn check(&mut self, audit: u32, nr: u32, args: [u64; 6]) -> Result<(), VerifyError> {
        let data = SeccompData {
            nr,
            arch: audit,
            instruction_pointer: 0x1234,
            args,
        };
        let wanted = match Abi::of(audit, u64::from(nr)) {
            Some(abi) if abi.arch() == Some(self.arch) => self.policy.decide(Syscall::new(abi, nr), &args),
            _ => Action::KillProcess,
        };
        self.answers(data, wanted)
    }

    fn answers(&mut self, data: SeccompData, wanted: Action) -> Result<(), VerifyError> {
        self.calls += 1;
        for subject in &self.subjects {
            let answer = run_stack(&subject.oldest_first, &data);
            if Action::from_ret(answer) != Some(wanted) {
                return Err(VerifyError::Wrong(Box::new(Counterexample {
                    arch: self.arch,
                    program: subject.name.clone(),
                    audit: data.arch,
                    nr: data.nr,
                    args: data.args,
                    wanted,
                    answer,
                })));
            }
        }
        Ok(())
    }

    /// One number with the boundary values of its conditions: each with the other arguments 0, all ones,
    /// and such that another rule for the call holds; and in pairs within a rule.
    ///
    /// # Errors
    /// As [`Verifier::check`].
    pub fn check_edges(&mut self, nr: u32) -> Result<(), VerifyError> {
        let (policy, audit) = (self.policy, self.arch.audit());
        let rules = edges::conditional(policy, self.arch, nr);
        let all = edges::edges(policy, self.arch, nr);
        let fillers = [[0; 6], [u64::MAX; 6]];
        let witnesses = rules.iter().filter_map(|rule| edges::witness(rule));
        for filler in fillers.into_iter().chain(witnesses) {
            for (index, value) in &all {
                let mut args = filler;
                args[usize::from(*index)] = *value;
                self.check(audit, nr, args)?;
            }
        }
        for rule in rules {
            let own = edges::edges_of(rule);
            for filler in fillers.into_iter().chain(edges::witness(rule)) {
                for (first, value) in &own {
                    for (second, other) in own.iter().filter(|(second, _)| second > first) {
                        let mut args = filler;
                        args[usize::from(*first)] = *value;
                        args[usize::from(*second)] = *other;
                        self.check(audit, nr, args)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// One number with the arguments for which some rule of another call holds: a number that has no
    /// conditions must not be taken for one that has.
    fn check_foreign(&mut self, nr: u32, witnesses: &BTreeSet<[u64; 6]>) -> Result<(), VerifyError> {
        let audit = self.arch.audit();
        let unconditioned = edges::conditional(self.policy, self.arch, nr).is_empty();
        let wanted = self.policy.decide(Syscall::new(self.arch.abi(), nr), &[0; 6]);
        for args in witnesses {
            if unconditioned {
                self.answers(SeccompData::native(self.arch, nr, *args), wanted)?;
            } else {
                self.check(audit, nr, *args)?;
            }
        }
        Ok(())
    }

    /// All numbers below 1024 and some far ones, through every architecture word that Linux has for these
    /// machines and some that it has not, with and without the bit of x32, and the boundary values of
    /// every condition. Every number is also tried with the arguments for which some other call's rule holds.
    ///
    /// # Errors
    /// As [`Verifier::check`]: the first counterexample.
    pub fn check_all(mut self) -> Result<Proof, VerifyError> {
        let words = [Abi::X86_64, Abi::I386, Abi::Aarch64, Abi::Arm].map(Abi::audit);
        let words: Vec<u32> = words.into_iter().chain(NO_ARCH).collect();
        let rules = self.policy.rules_for(self.arch);
        let witnesses: BTreeSet<[u64; 6]> = rules.filter_map(|(_, rule)| edges::witness(rule)).collect();
        let (mut conditioned, mut edges) = (0, 0);
        for nr in (0..NUMBERS).chain(FAR) {
            for audit in &words {
                self.check(*audit, nr, [0; 6])?;
                self.check(*audit, nr | Abi::X32_BIT, [0; 6])?;
            }
            self.check(self.arch.audit(), nr, [u64::MAX; 6])?;
            self.check_foreign(nr, &witnesses)?;
            self.check_edges(nr)?;
            let own = edges::edges(self.policy, self.arch, nr).len();
            conditioned += usize::from(own > 0);
            edges += own;
        }
        Ok(Proof {
            arch: self.arch,
            programs: self.subjects.into_iter().map(Subject::proved).collect(),
            numbers: NUMBERS,
            far: FAR.len(),
            words: words.len(),
            conditioned,
            edges,
            calls: self.calls,
        })
    }
}

impl Subject {
    fn proved(self) -> ProvedProgram {
        ProvedProgram {
            name: self.name,
            instructions: self.instructions,
        }
    }
}

/// Proves the policy's own programs for one architecture: [`Verifier::new`] and [`Verifier::check_all`].
///
/// # Errors
/// [`VerifyError`]: no program, or one that the kernel would not load, or the first counterexample.
pub fn verify(policy: &Policy, arch: Arch) -> Result<Proof, VerifyError> {
    Verifier::new(policy, arch)?.check_all()
}

#[cfg(test)]
mod tests {
    use callgate_abi::{ArgCondition, CompareOp};

    use super::*;
    use crate::Rule;

    fn policy() -> Policy {
        let eq = |index, value| ArgCondition::new(index, CompareOp::Eq, value).unwrap();
        let mut policy = Policy::new(Action::Errno(1));
        policy.rules = vec![
            Rule::new(Action::Allow, ["read", "exit_group"]),
            Rule::new(Action::Allow, ["ioctl"]).when([eq(1, 0x1_0000_0007), eq(2, 3), eq(3, 9)]),
            Rule::new(Action::Errno(38), ["clone3"]),
        ];
        policy
    }

    #[test]
    fn a_policys_own_programs_are_proved_and_the_report_says_what_was_tried() {
        for arch in Arch::ALL {
            let proof = verify(&policy(), arch).unwrap();
            assert_eq!(proof.programs[0].instructions.len(), 1);
            assert_eq!((proof.conditioned, proof.arch), (1, arch));
            assert!(proof.edges > 20 && proof.calls > 1030 * 15, "{proof:?}");
        }
    }

    #[test]
    fn a_program_with_any_comparison_changed_is_refuted() {
        const JUMP: u16 = 0x05;
        let policy = policy();
        let linked = compile(&policy, Arch::X86_64).unwrap().link().unwrap();
        let compares = |i: &callgate_abi::Instruction| i.code & 7 == JUMP && i.code != JUMP;
        let places: Vec<usize> = (0..linked.0.len())
            .filter(|at| compares(&linked.0[*at]))
            .collect();
        assert!(places.len() >= 12, "{linked:x?}");
        for at in places {
            for flip in [1, 0x1000_0000] {
                let mut changed = linked.clone();
                changed.0[at].k ^= flip;
                let verifier = Verifier::of(&policy, Arch::X86_64, "changed", &[changed]).unwrap();
                let Err(VerifyError::Wrong(found)) = verifier.check_all() else {
                    panic!("proved with instruction {at} changed by {flip:#x}: {linked:x?}")
                };
                assert_ne!(Action::from_ret(found.answer), Some(found.wanted));
            }
        }
    }

    #[test]
    fn a_condition_in_the_upper_half_that_a_program_ignores_is_found() {
        let policy = policy();
        let mut weak = policy.clone();
        let low = CompareOp::MaskedEq(0xffff_ffff);
        weak.rules[1].args[0] = ArgCondition::new(1, low, 7).unwrap();
        let weak = compile(&weak, Arch::X86_64).unwrap().link().unwrap();
        let verifier = Verifier::of(&policy, Arch::X86_64, "weak", &[weak]).unwrap();
        let Err(VerifyError::Wrong(found)) = verifier.check_all() else {
            panic!("proved")
        };
        let text = found.to_string();
        assert!(
            text.contains("ioctl") && text.contains("weak answers allow"),
            "{text}"
        );
    }
}
