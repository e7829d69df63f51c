//! What a program answers to each call: a foreign filter explained.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use callgate_abi::{Abi, Action, Arch, Syscall};
use serde::{Serialize, Serializer};

use crate::bpf::{Program, SeccompData};
use crate::partial::{self, Graph, Known, Node, Place};

/// What a program does with a call, before its arguments are known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    /// Every action that it can get, the least restrictive first; none stands for user notification.
    pub actions: BTreeSet<Option<Action>>,
    /// The arguments that decide, if more than one action is possible.
    pub args: BTreeSet<u8>,
    /// Whether the program was too unusual to be followed: it was tried with some arguments, and others
    /// may get other actions.
    pub sampled: bool,
}

/// One kind of entry into the kernel, and what all its calls get, if that is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The entry.
    pub abi: Abi,
    /// What each of its named calls gets, and how many do.
    pub answers: Vec<(Answer, usize)>,
}

/// What a program answers on one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    /// The architecture.
    pub arch: Arch,
    /// Every call with a name, by number.
    pub calls: Vec<(Syscall, Answer)>,
    /// Numbers below 1024 that have no name, in ranges of one answer.
    pub unnamed: Vec<(u32, u32, Answer)>,
    /// The compatibility entries of the machine.
    pub entries: Vec<Entry>,
}

/// What the program answers to every number below 1024 of this architecture, and to the calls of its
/// compatibility entries. Exact for what seccompiler and libseccomp write.
pub fn verdicts(program: &Program, arch: Arch) -> Verdicts {
    const NUMBERS: u32 = 1024;
    let native = |nr| Syscall::new(arch.abi(), nr);
    let mut unnamed: Vec<(u32, u32, Answer)> = Vec::new();
    let mut follower = Follower { program, facts: true };
    for nr in (0..NUMBERS).filter(|nr| native(*nr).known_name().is_none()) {
        let own = follower.answer(native(nr));
        match unnamed.last_mut() {
            Some((_, last, same)) if *last + 1 == nr && *same == own => *last = nr,
            _ => unnamed.push((nr, nr, own)),
        }
    }
    let compatibility: &[Abi] = match arch {
        Arch::X86_64 => &[Abi::I386, Abi::X32],
        Arch::Aarch64 => &[Abi::Arm],
    };
    Verdicts {
        arch,
        calls: arch.calls().map(|call| (call, follower.answer(call))).collect(),
        unnamed,
        entries: compatibility.iter().map(|abi| follower.entry(*abi)).collect(),
    }
}

struct Follower<'a> {
    program: &'a Program,
    /// Whether what is learned about arguments is kept; no more once that was too much.
    facts: bool,
}

impl Follower<'_> {
    fn entry(&mut self, abi: Abi) -> Entry {
        let first = if abi == Abi::X32 { Abi::X32_BIT } else { 0 };
        let mut answers: BTreeMap<Answer, usize> = BTreeMap::new();
        let calls = (first..first + 1024).map(|nr| Syscall::new(abi, nr));
        for call in calls.filter(|call| call.known_name().is_some()) {
            *answers.entry(self.answer(call)).or_default() += 1;
        }
        Entry {
            abi,
            answers: answers.into_iter().collect(),
        }
    }

    fn answer(&mut self, call: Syscall) -> Answer {
        let known = Known {
            audit: call.abi().audit(),
            nr: call.nr(),
        };
        let mut graph = Graph::default();
        if self.facts {
            if let Some(root) = partial::body(&mut graph, self.program.ops(), known, true) {
                return reached(&graph, root);
            }
        }
        match partial::body(&mut graph, self.program.ops(), known, false) {
            Some(root) => {
                self.facts = false;
                reached(&graph, root)
            }
            None => sampled(self.program, call),
        }
    }
}

/// The answers that the part of the graph below `root` can give, and the arguments that it looks at.
fn reached(graph: &Graph, root: Place) -> Answer {
    let mut answer = Answer {
        actions: BTreeSet::new(),
        args: BTreeSet::new(),
        sampled: false,
    };
    let (mut open, mut seen) = (vec![root], BTreeSet::from([root]));
    while let Some(place) = open.pop() {
        let nexts = match graph.node(place) {
            Node::Return(value) => {
                answer.actions.insert(Action::from_ret(value));
                vec![]
            }
            Node::Load(offset, next) => {
                // struct seccomp_data: six arguments of 8 bytes from 16 on.
                let arg = offset.checked_sub(16).and_then(|at| u8::try_from(at / 8).ok());
                answer.args.extend(arg);
                vec![next]
            }
            Node::And(_, next) => vec![next],
            Node::Test(_, _, yes, no) => vec![yes, no],
        };
        open.extend(nexts.into_iter().filter(|next| seen.insert(*next)));
    }
    answer
}

/// What the interpreter answers with some arguments.
fn sampled(program: &Program, call: Syscall) -> Answer {
    let some = [0, 1, u64::from(u32::MAX), u64::MAX];
    let mut tried: Vec<[u64; 6]> = some.iter().map(|value| [*value; 6]).collect();
    tried.extend((0..6).flat_map(|index| {
        some.map(|value| {
            let mut args = [0; 6];
            args[index] = value;
            args
        })
    }));
    let ran = tried
        .into_iter()
        .map(|args| program.run(&SeccompData::new(call, args)));
    Answer {
        actions: ran.map(Action::from_ret).collect(),
        args: BTreeSet::new(),
        sampled: true,
    }
}

impl Answer {
    /// Whether the call runs for some arguments at least.
    pub fn may_run(&self) -> bool {
        self.actions.iter().flatten().any(|action| action.runs())
    }
}

impl fmt::Display for Answer {
    /// `allow`, or `allow or errno(EPERM), by arg0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |action: &Option<Action>| match action {
            Some(action) => action.to_string(),
            None => "notify".to_owned(),
        };
        let actions: Vec<String> = self.actions.iter().map(word).collect();
        f.write_str(&actions.join(" or "))?;
        if self.actions.len() > 1 && !self.args.is_empty() {
            let args: Vec<String> = self.args.iter().map(|arg| format!("arg{arg}")).collect();
            write!(f, ", by {}", args.join(" and "))?;
        }
        match self.sampled {
            true => f.write_str(" (tried with some arguments)"),
            false => Ok(()),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::{ArgCondition, CompareOp, Filter};

    use super::*;
    use crate::bpf::instruction;
    use crate::{Policy, Rule, compile};

    #[test]
    fn of_a_compiled_policy_each_call_gets_what_the_policy_says() {
        let eq = |index, value| ArgCondition::new(index, CompareOp::Eq, value).unwrap();
        let policy = Policy {
            rules: vec![
                Rule::new(Action::Allow, ["read"]),
                Rule::new(Action::Errno(38), ["clone3"]),
                Rule::new(Action::Allow, ["socket"]).when([eq(0, 1), eq(2, 0)]),
            ],
            unknown: crate::Unknown::Enosys,
            ..Policy::new(Action::KillProcess)
        };
        for arch in Arch::ALL {
            let program = Program::new(&compile(&policy, arch).unwrap().link().unwrap()).unwrap();
            let found = verdicts(&program, arch);
            for (call, answer) in &found.calls {
                let wanted = match &*call.name() {
                    "read" => "allow",
                    "clone3" => "errno(ENOSYS)",
                    "socket" => "allow or kill, by arg0 and arg2",
                    _ => "kill",
                };
                assert_eq!(answer.to_string(), wanted, "{call}");
            }
            let (first, last, answer) = found.unnamed.last().unwrap();
            assert_eq!((*first, *last), (arch.newest() + 1, 1023));
            assert_eq!(answer.to_string(), "errno(ENOSYS)");
            for entry in found.entries {
                assert_eq!(entry.answers.len(), 1);
                assert_eq!(entry.answers[0].0.to_string(), "kill");
                assert!(entry.answers[0].1 > 300);
            }
        }
    }

    #[test]
    fn a_program_that_computes_is_tried_with_arguments_and_says_so() {
        // A = arg0.low; A += 1; return A == 0 ? allow : kill
        let filter = Filter(vec![
            instruction(0x20, 0, 0, 16),
            instruction(0x04, 0, 0, 1),
            instruction(0x15, 0, 1, 0),
            instruction(0x06, 0, 0, 0x7fff_0000),
            instruction(0x06, 0, 0, 0x8000_0000),
        ]);
        let found = verdicts(&Program::new(&filter).unwrap(), Arch::X86_64);
        assert_eq!(
            found.calls[0].1.to_string(),
            "allow or kill (tried with some arguments)"
        );
    }
}
