//! A classic-BPF program as text, with the names of what it compares.
//!
//! Any program can be shown, also one that the kernel would refuse: what can't be decoded is shown as
//! its four parts.

mod follow;

use callgate_abi::{Abi, Action, Arch, Filter, Instruction, Syscall};

use crate::bpf::{Alu, Op, Source, Test, decode};
use follow::{Loaded, State, follow};

/// One instruction as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its place, from 0.
    pub at: usize,
    /// The instruction: `jeq read(0), 7, 8` jumps to 7 if the loaded word is 0, else to 8.
    pub text: String,
}

/// The instructions of a program. Numbers get the names of the architecture that the program itself has
/// checked by then; before such a check, and without one, those of `fallback`.
pub fn disassemble(filter: &Filter, fallback: Arch) -> Vec<Line> {
    let ops: Vec<Option<Op>> = filter
        .0
        .iter()
        .map(|instruction| decode(instruction).ok())
        .collect();
    let states = follow(&ops);
    let lines = filter.0.iter().zip(ops).zip(states).enumerate();
    lines
        .map(|(at, ((instruction, op), state))| Line {
            at,
            text: match op {
                Some(op) => text(at, op, state, fallback),
                None => raw(instruction),
            },
        })
        .collect()
}

fn raw(i: &Instruction) -> String {
    format!(
        "not for seccomp: code {:#06x} jt {} jf {} k {:#010x}",
        i.code, i.jt, i.jf, i.k
    )
}

fn text(at: usize, op: Op, state: State, fallback: Arch) -> String {
    let target = |skip: usize| at.saturating_add(1).saturating_add(skip);
    match op {
        Op::Load(offset) => format!("ld {}", word(offset)),
        Op::Immediate(k) => format!("ld {k:#x}"),
        Op::IndexImmediate(k) => format!("ldx {k:#x}"),
        Op::Memory(slot) => format!("ld M[{slot}]"),
        Op::IndexMemory(slot) => format!("ldx M[{slot}]"),
        Op::Store(slot) => format!("st M[{slot}]"),
        Op::StoreIndex(slot) => format!("stx M[{slot}]"),
        Op::ToIndex => "tax".into(),
        Op::FromIndex => "txa".into(),
        Op::Negate => "neg".into(),
        Op::Compute(alu, source) => format!("{} {}", mnemonic(alu), operand(source)),
        Op::Always(skip) => format!("ja {}", target(skip)),
        Op::Jump {
            test,
            source,
            yes,
            no,
        } => {
            let operand = match source {
                Source::Constant(k) => constant(test, k, state, fallback),
                Source::Index => "x".into(),
            };
            let name = match test {
                Test::Equal => "jeq",
                Test::Greater => "jgt",
                Test::GreaterOrEqual => "jge",
                Test::AnyBit => "jset",
            };
            format!("{name} {operand}, {}, {}", target(yes), target(no))
        }
        Op::Return(k) => format!("ret {}", answer(k)),
        Op::ReturnAccumulator => "ret a".into(),
    }
}

/// What is at an offset of `struct seccomp_data` (linux/seccomp.h).
fn word(offset: usize) -> String {
    let half = if offset % 8 == 0 { "low" } else { "high" };
    match offset {
        0 => "nr".into(),
        4 => "arch".into(),
        8 | 12 => format!("ip.{half}"),
        _ => format!("arg{}.{half}", (offset - 16) / 8),
    }
}

fn mnemonic(alu: Alu) -> &'static str {
    match alu {
        Alu::Add => "add",
        Alu::Sub => "sub",
        Alu::Mul => "mul",
        Alu::Div => "div",
        Alu::And => "and",
        Alu::Or => "or",
        Alu::Xor => "xor",
        Alu::ShiftLeft => "lsh",
        Alu::ShiftRight => "rsh",
    }
}

fn operand(source: Source) -> String {
    match source {
        Source::Constant(k) => format!("{k:#x}"),
        Source::Index => "x".into(),
    }
}

/// The right side of a comparison, in the words of what is compared.
fn constant(test: Test, k: u32, state: State, fallback: Arch) -> String {
    match state.loaded {
        Loaded::Nr if test == Test::AnyBit && k == Abi::X32_BIT => "x32 bit".into(),
        Loaded::Nr if test == Test::AnyBit => format!("{k:#x}"),
        Loaded::Nr => {
            let audit = state.audit.unwrap_or(fallback.audit());
            let abi = Abi::of(audit, u64::from(k)).unwrap_or(fallback.abi());
            let call = Syscall::new(abi, k);
            match (call.known_name(), abi) {
                (Some(name), Abi::X32) => format!("{name}(x32 {})", k - Abi::X32_BIT),
                (Some(name), _) => format!("{name}({k})"),
                (None, _) => k.to_string(),
            }
        }
        Loaded::Arch if test == Test::Equal => match Abi::of(k, 0) {
            Some(abi) => format!("{abi}({k:#x})"),
            None => format!("{k:#x}"),
        },
        Loaded::Arch | Loaded::Other => format!("{k:#x}"),
    }
}

/// `ALLOW`, `ERRNO(EPERM)` …, as `SECCOMP_RET_*` without its prefix.
fn answer(k: u32) -> String {
    match Action::from_ret(k) {
        Some(action @ (Action::Errno(_) | Action::Trace(_))) => {
            let (name, data) = (action.scmp_name(), k & 0xffff);
            let data = match action {
                Action::Errno(errno) => callgate_abi::errno_name(errno).into_owned(),
                _ => data.to_string(),
            };
            format!("{}({data})", name.trim_start_matches("SCMP_ACT_"))
        }
        // Any action that the kernel does not know kills the process.
        Some(Action::KillProcess) if k != Action::KillProcess.ret() => format!("KILL_PROCESS ({k:#010x})"),
        Some(action) => action.scmp_name().trim_start_matches("SCMP_ACT_").to_owned(),
        None => "USER_NOTIF".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, Rule, compile};

    fn lines(filter: &[(u16, u8, u8, u32)], fallback: Arch) -> Vec<String> {
        let instruction = |(code, jt, jf, k): &(u16, u8, u8, u32)| Instruction {
            code: *code,
            jt: *jt,
            jf: *jf,
            k: *k,
        };
        let filter = Filter(filter.iter().map(instruction).collect());
        disassemble(&filter, fallback)
            .into_iter()
            .map(|line| line.text)
            .collect()
    }

    #[test]
    fn a_compiled_policy_is_shown_with_the_names_of_its_architecture_whatever_the_fallback() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["write"]),
            Rule::new(Action::Errno(38), ["clone3"]),
        ];
        for (arch, write) in [(Arch::X86_64, "jge write(1),"), (Arch::Aarch64, "jge write(64),")] {
            let linked = compile(&policy, arch).unwrap().link().unwrap();
            for fallback in Arch::ALL {
                let text = disassemble(&linked, fallback);
                let has = |start: &str| text.iter().any(|line| line.text.starts_with(start));
                assert_eq!(text[0].text, "ld arch");
                assert!(has(write) && has("jeq clone3(435),"), "{text:?}");
                assert!(
                    has("ret ALLOW") && has("ret ERRNO(ENOSYS)") && has("ret KILL_PROCESS"),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn a_program_for_several_architectures_has_each_ones_names_behind_its_check() {
        let text = lines(
            &[
                (0x20, 0, 0, 4),
                (0x15, 0, 2, 0xc000_00b7),
                (0x20, 0, 0, 0),
                (0x15, 4, 3, 63),
                (0x15, 0, 2, 0x4000_0003),
                (0x20, 0, 0, 0),
                (0x15, 1, 0, 3),
                (0x06, 0, 0, 0),
                (0x06, 0, 0, 0x7fff_0000),
            ],
            Arch::X86_64,
        );
        assert_eq!(text[1], "jeq aarch64(0xc00000b7), 2, 4");
        assert_eq!(text[3], "jeq read(63), 8, 7");
        assert_eq!(text[4], "jeq i386(0x40000003), 5, 7");
        assert_eq!(text[6], "jeq read(3), 8, 7");
        assert_eq!(text[7], "ret KILL_THREAD");
    }

    #[test]
    fn arguments_x32_and_what_is_no_instruction_are_shown_as_what_they_are() {
        let text = lines(
            &[
                (0x20, 0, 0, 0),
                (0x45, 1, 0, 0x4000_0000),
                (0x15, 0, 0, 999),
                (0x20, 0, 0, 28),
                (0x15, 0, 0, 5),
                (0x28, 1, 2, 3),
                (0x06, 0, 0, 0x0005_0001),
                (0x06, 0, 0, 0x7fc0_0000),
                (0x06, 0, 0, 0x1234_0000),
            ],
            Arch::X86_64,
        );
        assert_eq!(text[1], "jset x32 bit, 3, 2");
        assert_eq!(text[2], "jeq 999, 3, 3");
        assert_eq!(text[3], "ld arg1.high");
        assert_eq!(text[4], "jeq 0x5, 5, 5");
        assert_eq!(text[5], "not for seccomp: code 0x0028 jt 1 jf 2 k 0x00000003");
        assert_eq!(&text[6..8], ["ret ERRNO(EPERM)", "ret USER_NOTIF"]);
        assert!(text[8].starts_with("ret KILL_PROCESS (0x12340000"));
    }
}
