//! How the network is kept closed where there is no namespace for it, and what is said of an open one.

use callgate_abi::{Abi, Action, Arch, Filter, Instruction, Syscall};

use crate::bpf::{AND, ARCHITECTURE, JUMP_EQUAL, LOAD, NUMBER, RETURN, argument};

/// Where socket(2) has its family: the low half of the argument, as the kernel reads an int.
const DOMAIN: u32 = argument(0);

/// A filter of our own, besides the policy's, that refuses sockets of every family but AF_UNIX, which the file
/// system and Landlock keep inside; and that only if Landlock does (`local`). Through the 32-bit entry all are
/// refused; and io_uring, which makes sockets without the call.
pub(crate) fn no_sockets(local: bool) -> Filter {
    let refuse = Action::Errno(libc::EACCES as u16);
    let unknown = Action::Errno(libc::ENOSYS as u16);
    let (native, compat) = match Arch::NATIVE {
        Arch::X86_64 => (Abi::X86_64, Abi::I386),
        Arch::Aarch64 => (Abi::Aarch64, Abi::Arm),
    };
    let number = |abi, name| Syscall::named(abi, name).ok().map(Syscall::nr);
    let mut program = vec![load(ARCHITECTURE)];

    let mut entry = vec![load(NUMBER)];
    if native == Abi::X86_64 {
        // x32 has the same numbers, with a bit of its own.
        entry.push(instruction(AND, 0, 0, !Abi::X32_BIT));
    }
    if let Some(nr) = number(native, "io_uring_setup") {
        entry.extend([instruction(JUMP_EQUAL, 0, 1, nr), ret(unknown)]);
    }
    if let Some(nr) = number(native, "socket") {
        let family = if local { libc::AF_UNIX } else { libc::AF_UNSPEC } as u32;
        entry.extend([
            instruction(JUMP_EQUAL, 0, 3, nr),
            load(DOMAIN),
            instruction(JUMP_EQUAL, 1, 0, family),
            ret(refuse),
        ]);
    }
    entry.push(ret(Action::Allow));
    section(&mut program, native, entry);

    let mut entry = vec![load(NUMBER)];
    for (name, action) in [
        ("io_uring_setup", unknown),
        ("socket", refuse),
        ("socketcall", refuse),
    ] {
        if let Some(nr) = number(compat, name) {
            entry.extend([instruction(JUMP_EQUAL, 0, 1, nr), ret(action)]);
        }
    }
    entry.push(ret(Action::Allow));
    section(&mut program, compat, entry);
    // There is no third; if there were, what it calls could not be told.
    program.push(ret(refuse));
    Filter(program)
}

/// What the reader of an outcome should know whose code has the host's network. `scoped`: Landlock keeps it from
/// abstract sockets.
pub(crate) fn opened(scoped: bool) -> String {
    let and = if scoped { "" } else { ", and its abstract sockets" };
    format!(
        "the code has the host's network: what listens on its loopback, its neighbours and a cloud's metadata \
         service are in reach{and}"
    )
}

/// Instructions for calls of one ABI; others skip them.
fn section(program: &mut Vec<Instruction>, abi: Abi, entry: Vec<Instruction>) {
    program.push(instruction(JUMP_EQUAL, 0, entry.len() as u8, abi.audit()));
    program.extend(entry);
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD, 0, 0, offset)
}

fn ret(action: Action) -> Instruction {
    instruction(RETURN, 0, 0, action.ret())
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use callgate_policy::bpf::{Program, SeccompData};

    use super::*;

    fn answer(filter: &Filter, call: Syscall, first: u64) -> Action {
        let data = SeccompData::new(call, [first, 1, 0, 0, 0, 0]);
        Action::from_ret(Program::new(filter).unwrap().run(&data)).unwrap()
    }

    #[test]
    fn sockets_are_refused_by_every_entry_and_nothing_else_is() {
        let (refused, unknown) = (
            Action::Errno(libc::EACCES as u16),
            Action::Errno(libc::ENOSYS as u16),
        );
        let entries: &[Abi] = match Arch::NATIVE {
            Arch::X86_64 => &[Abi::X86_64, Abi::X32, Abi::I386],
            Arch::Aarch64 => &[Abi::Aarch64, Abi::Arm],
        };
        for local in [true, false] {
            let filter = no_sockets(local);
            for abi in entries {
                let bit = if *abi == Abi::X32 { Abi::X32_BIT } else { 0 };
                let numbers = if *abi == Abi::X32 { Abi::X86_64 } else { *abi };
                let name = |nr| Syscall::new(numbers, nr).known_name();
                let native = matches!(abi, Abi::X86_64 | Abi::X32 | Abi::Aarch64);
                for nr in (0..600).chain([0x3fff_ffff]) {
                    // The kernel reads an int: what is above it does not make another family of it.
                    for family in [0, 1, 2, 10, 16, 17, 38, 40, 1 << 32 | 1, 1 << 32 | 2, u64::MAX] {
                        let kept = native && local && family as u32 == libc::AF_UNIX as u32;
                        let expected = match name(nr) {
                            Some("io_uring_setup") => unknown,
                            Some("socketcall") if !native => refused,
                            // No such family: the kernel refuses it itself.
                            Some("socket") if native && !local && family as u32 == 0 => Action::Allow,
                            Some("socket") if !kept => refused,
                            _ => Action::Allow,
                        };
                        let call = Syscall::new(*abi, bit | nr);
                        assert_eq!(
                            answer(&filter, call, family),
                            expected,
                            "{call} {family:#x} {local}"
                        );
                    }
                }
            }
        }
    }
}
