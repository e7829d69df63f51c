//! The program that is loaded in the place of the policy's, so that refusals are told.

use callgate_abi::{Abi, Action, Arch, BPF_MAXINSNS, Filter, Instruction, Syscall};

use super::Filtering;
use super::exceptions::{Exceptions, Only};
use super::mark::{Fate, Mark};
use crate::bpf::{ARCHITECTURE, JUMP, JUMP_ANY_BIT, JUMP_EQUAL, LOAD, NUMBER, RETURN, argument};

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
#[error(
    "with the refusals reported the filter has {0} BPF instructions, the kernel takes at most {BPF_MAXINSNS}"
)]
pub(crate) struct Unloadable(usize);

/// The program to load for a policy's filter; `separate` tells whether the run has namespaces of its own.
pub(crate) fn program(filter: &Filter, filtering: Filtering, separate: bool) -> Result<Filter, Unloadable> {
    let explained = || answering(filter, soften);
    let mut assembly = match filtering {
        Filtering::Enforced => return Ok(filter.clone()),
        Filtering::Explained => Assembly {
            bodies: vec![explained()],
            ..Assembly::default()
        },
        Filtering::Learned => Assembly {
            bodies: vec![answering(filter, learn), explained()],
            ..Assembly::default()
        },
    };
    // With a listener of its own the code could let run what is only told to us.
    assembly.bodies.push(answering(filter, no_listener));
    let listener = assembly.bodies.len() - 1;
    assembly.guard(listener);
    if filtering == Filtering::Learned {
        assembly.except(&Exceptions::of(Arch::NATIVE, separate), 1);
    }
    let program = assembly.link();
    match program.0.len() {
        long if long > BPF_MAXINSNS => Err(Unloadable(long)),
        _ => Ok(program),
    }
}

/// The program to load for another filter of ours, a layer of its own. While a policy is learned it is loaded as
/// it is: of two that tell, the kernel hears the later one, which would let run what this one refuses.
pub(crate) fn layer(filter: Filter, filtering: Filtering) -> Filter {
    match filtering {
        Filtering::Explained => Filter(answering(&filter, |answer| told(answer, Fate::Withhold))),
        Filtering::Enforced | Filtering::Learned => filter,
    }
}

/// The same program with other answers.
fn answering(filter: &Filter, answer: fn(Action) -> Action) -> Vec<Instruction> {
    let mut body = filter.0.clone();
    for instruction in body.iter_mut().filter(|instruction| instruction.code == RETURN) {
        if let Some(action) = Action::from_ret(instruction.k) {
            instruction.k = answer(action).ret();
        }
    }
    body
}

fn told(answer: Action, fate: Fate) -> Action {
    Mark { answer, fate }.bits().map_or(answer, Action::Trace)
}

fn soften(action: Action) -> Action {
    told(action, Fate::Refuse)
}

fn learn(action: Action) -> Action {
    told(action, Fate::Allow)
}

fn no_listener(action: Action) -> Action {
    match action {
        // As if there were one already, which is what the kernel allows one of.
        Action::Allow | Action::Log => Action::Errno(libc::EBUSY as u16),
        refused => soften(refused),
    }
}

/// Tests that send calls to one of several bodies; the first body gets what no test sends elsewhere.
#[derive(Default)]
struct Assembly {
    head: Vec<Instruction>,
    /// The jumps in the head, and the body that each leads to.
    jumps: Vec<(usize, usize)>,
    bodies: Vec<Vec<Instruction>>,
}

impl Assembly {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.head.push(Instruction { code, jt, jf, k });
    }

    fn jump(&mut self, body: usize) {
        self.jumps.push((self.head.len(), body));
        self.push(JUMP, 0, 0, 0);
    }

    /// Sends seccomp(2) with `SECCOMP_FILTER_FLAG_NEW_LISTENER` to this body, whatever entry it uses.
    fn guard(&mut self, body: usize) {
        let entries: &[Abi] = match Arch::NATIVE {
            Arch::X86_64 => &[Abi::X86_64, Abi::X32, Abi::I386],
            Arch::Aarch64 => &[Abi::Aarch64, Abi::Arm],
        };
        for abi in entries.iter().copied() {
            let Ok(call) = Syscall::named(abi, "seccomp") else {
                continue;
            };
            self.push(LOAD, 0, 0, ARCHITECTURE);
            self.push(JUMP_EQUAL, 0, 5, abi.audit());
            self.push(LOAD, 0, 0, NUMBER);
            self.push(JUMP_EQUAL, 0, 3, call.nr());
            self.push(LOAD, 0, 0, argument(1));
            self.push(JUMP_ANY_BIT, 0, 1, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32);
            self.jump(body);
        }
    }

    /// Sends what stays refused to this body.
    fn except(&mut self, exceptions: &Exceptions, body: usize) {
        // Other entries.
        self.push(LOAD, 0, 0, ARCHITECTURE);
        self.push(JUMP_EQUAL, 1, 0, Arch::NATIVE.audit());
        self.jump(body);
        self.push(LOAD, 0, 0, NUMBER);
        if Arch::NATIVE == Arch::X86_64 {
            self.push(JUMP_ANY_BIT, 0, 1, Abi::X32_BIT);
            self.jump(body);
        }
        for nr in &exceptions.whole {
            self.push(JUMP_EQUAL, 0, 1, *nr);
            self.jump(body);
        }
        for only in &exceptions.some {
            // The tests, and behind them a load of the number for what comes next.
            let tests = match only {
                Only::AnyBit { .. } => 3,
                Only::Values { values, .. } => 1 + 2 * values.len(),
                Only::Besides { values, .. } => 2 + values.len(),
            };
            let past = u8::try_from(tests).unwrap_or(u8::MAX);
            match only {
                Only::AnyBit { nr, index, bits } => {
                    self.push(JUMP_EQUAL, 0, past, *nr);
                    self.push(LOAD, 0, 0, argument(*index));
                    self.push(JUMP_ANY_BIT, 0, 1, *bits);
                    self.jump(body);
                }
                Only::Values { nr, index, values } => {
                    self.push(JUMP_EQUAL, 0, past, *nr);
                    self.push(LOAD, 0, 0, argument(*index));
                    for value in *values {
                        self.push(JUMP_EQUAL, 0, 1, *value);
                        self.jump(body);
                    }
                }
                Only::Besides { nr, index, values } => {
                    self.push(JUMP_EQUAL, 0, past, *nr);
                    self.push(LOAD, 0, 0, argument(*index));
                    for (place, value) in values.iter().enumerate() {
                        let left = u8::try_from(values.len() - place).unwrap_or(u8::MAX);
                        self.push(JUMP_EQUAL, left, 0, *value);
                    }
                    self.jump(body);
                }
            }
            self.push(LOAD, 0, 0, NUMBER);
        }
    }

    fn link(mut self) -> Filter {
        let mut starts = Vec::new();
        let mut at = self.head.len();
        for body in &self.bodies {
            starts.push(at);
            at += body.len();
        }
        for (place, body) in &self.jumps {
            if let (Some(jump), Some(start)) = (self.head.get_mut(*place), starts.get(*body)) {
                // Counted from the instruction after it.
                jump.k = u32::try_from(start - place - 1).unwrap_or(u32::MAX);
            }
        }
        self.head.extend(self.bodies.into_iter().flatten());
        Filter(self.head)
    }
}

#[cfg(test)]
mod tests {
    use callgate_policy::bpf::{Program, SeccompData};
    use callgate_policy::{Policy, compile, shipped};

    use super::super::exceptions::NAMESPACES;
    use super::*;

    /// The shipped policies, and one that refuses softly.
    fn policies() -> Vec<Policy> {
        let parse = |name: &&str| Policy::parse(shipped::get(name).unwrap()).unwrap();
        let mut all: Vec<Policy> = shipped::names().iter().map(parse).collect();
        let mut soft = Policy::parse(shipped::get("python").unwrap()).unwrap();
        soft.default = Action::Errno(1);
        all.push(soft);
        all
    }

    /// Every number through every entry, with arguments that the exceptions ask about.
    fn calls() -> Vec<SeccompData> {
        let entries: &[Abi] = match Arch::NATIVE {
            Arch::X86_64 => &[Abi::X86_64, Abi::X32, Abi::I386, Abi::Arm],
            Arch::Aarch64 => &[Abi::Aarch64, Abi::Arm, Abi::I386],
        };
        let arguments = [
            0,
            1,
            2,
            8,
            16,
            17,
            0x11,
            0x5412,
            0x5413,
            0x0080_0000,
            0x1000_0011,
            u64::MAX,
        ];
        let mut all = Vec::new();
        for abi in entries {
            let bit = if *abi == Abi::X32 { Abi::X32_BIT } else { 0 };
            for nr in (0..600).chain([999, 0x3fff_ffff]) {
                let call = Syscall::new(*abi, bit | nr);
                for value in arguments {
                    all.push(SeccompData::new(call, [value, 0, 0, 0, 0, 0]));
                    all.push(SeccompData::new(call, [2, value, 0, 0, 0, 0]));
                }
            }
        }
        all
    }

    fn answers(filter: &Filter, calls: &[SeccompData]) -> Vec<Action> {
        let program = Program::new(filter).unwrap();
        let answer = |data: &SeccompData| Action::from_ret(program.run(data)).unwrap();
        calls.iter().map(answer).collect()
    }

    fn is_new_listener(data: &SeccompData) -> bool {
        let name =
            Abi::of(data.arch, u64::from(data.nr)).and_then(|abi| Syscall::new(abi, data.nr).known_name());
        name == Some("seccomp") && data.args[1] & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
    }

    #[test]
    fn what_is_told_is_what_the_policy_refuses_and_what_is_allowed_is_the_same() {
        let calls = calls();
        for policy in policies() {
            let filter = compile(&policy, Arch::NATIVE).unwrap().link().unwrap();
            let told = program(&filter, Filtering::Explained, true).unwrap();
            let pairs = answers(&filter, &calls).into_iter().zip(answers(&told, &calls));
            for (data, (plain, told)) in calls.iter().zip(pairs) {
                let expected = match plain {
                    Action::Errno(errno) => Action::Trace(0x8000 | errno),
                    runs if runs.runs() && is_new_listener(data) => Action::Errno(libc::EBUSY as u16),
                    other => other,
                };
                assert_eq!(told, expected, "{data:?}");
            }
        }
    }

    #[test]
    fn learning_allows_what_is_refused_but_for_what_opens_other_layers() {
        let calls = calls();
        for separate in [true, false] {
            let exceptions = Exceptions::of(Arch::NATIVE, separate);
            for policy in policies() {
                let filter = compile(&policy, Arch::NATIVE).unwrap().link().unwrap();
                let learned = program(&filter, Filtering::Learned, separate).unwrap();
                let told = program(&filter, Filtering::Explained, separate).unwrap();
                let told = answers(&told, &calls);
                let pairs = answers(&filter, &calls)
                    .into_iter()
                    .zip(answers(&learned, &calls));
                for ((data, (plain, learned)), told) in calls.iter().zip(pairs).zip(told) {
                    let native = data.arch == Arch::NATIVE.audit() && data.nr & Abi::X32_BIT == 0;
                    let low = |index: u8| data.args[usize::from(index)] as u32;
                    let some = |only: &Only| match only {
                        Only::AnyBit { nr, index, bits } => *nr == data.nr && low(*index) & bits != 0,
                        Only::Values { nr, index, values } => *nr == data.nr && values.contains(&low(*index)),
                        Only::Besides { nr, index, values } => {
                            *nr == data.nr && !values.contains(&low(*index))
                        }
                    };
                    let stays =
                        !native || exceptions.whole.contains(&data.nr) || exceptions.some.iter().any(some);
                    if stays || plain.runs() {
                        assert_eq!(learned, told, "{data:?}");
                    } else {
                        let Action::Trace(bits) = learned else {
                            panic!("{data:?}: {learned}");
                        };
                        let mark = Mark::of(u32::from(bits)).unwrap();
                        assert_eq!((mark.answer, mark.fate), (plain, Fate::Allow), "{data:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_opens_other_layers_is_known_by_name() {
        let exceptions = Exceptions::of(Arch::NATIVE, true);
        for name in [
            "ptrace",
            "process_vm_writev",
            "pidfd_getfd",
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "move_mount",
            "fsopen",
            "unshare",
            "setns",
            "bpf",
            "io_uring_setup",
            "io_uring_enter",
            "userfaultfd",
            "keyctl",
            "add_key",
            "perf_event_open",
            "seccomp",
            "init_module",
            "open_by_handle_at",
        ] {
            let nr = Arch::NATIVE.call(name).unwrap().nr();
            assert!(exceptions.whole.contains(&nr), "{name}");
        }
        let shared = Arch::NATIVE.call("shmget").unwrap().nr();
        assert!(!exceptions.whole.contains(&shared));
        assert!(Exceptions::of(Arch::NATIVE, false).whole.contains(&shared));
        // All of them, and no bit of the signal that the child sends at its end.
        let all = [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ];
        assert_eq!(
            NAMESPACES,
            all.into_iter().fold(0, |bits, flag| bits | flag as u32)
        );
    }
}
