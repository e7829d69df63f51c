//! Keeps the code from the kernel's keyrings (keyrings(7)), which no namespace of a run separates: the session's
//! come down from the supervisor, with whatever its login put there, and those of a uid outlive the run.

use callgate_abi::{Abi, Action, Arch, Filter, Instruction, Syscall};

use crate::bpf::{AND, ARCHITECTURE, JUMP_EQUAL, LOAD, NUMBER, RETURN};

const CALLS: [&str; 3] = ["add_key", "request_key", "keyctl"];

/// A filter of our own, besides the policy's: as if the kernel had no keyrings, through every entry.
pub(crate) fn no_keyrings() -> Filter {
    let entries = match Arch::NATIVE {
        Arch::X86_64 => [Abi::X86_64, Abi::I386],
        Arch::Aarch64 => [Abi::Aarch64, Abi::Arm],
    };
    let absent = Action::Errno(libc::ENOSYS as u16).ret();
    let mut program = vec![instruction(LOAD, 0, 0, ARCHITECTURE)];
    for abi in entries {
        let mut entry = vec![instruction(LOAD, 0, 0, NUMBER)];
        if abi == Abi::X86_64 {
            // x32 has the same numbers, with a bit of its own.
            entry.push(instruction(AND, 0, 0, !Abi::X32_BIT));
        }
        for name in CALLS {
            if let Ok(call) = Syscall::named(abi, name) {
                entry.push(instruction(JUMP_EQUAL, 0, 1, call.nr()));
                entry.push(instruction(RETURN, 0, 0, absent));
            }
        }
        entry.push(instruction(RETURN, 0, 0, Action::Allow.ret()));
        program.push(instruction(JUMP_EQUAL, 0, entry.len() as u8, abi.audit()));
        program.extend(entry);
    }
    // There is no third; if there were, what it calls could not be told.
    program.push(instruction(RETURN, 0, 0, absent));
    Filter(program)
}

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use callgate_policy::bpf::{Program, SeccompData};

    use super::*;

    #[test]
    fn keys_are_refused_by_every_entry_and_nothing_else_is() {
        let filter = no_keyrings();
        let program = Program::new(&filter).unwrap();
        let entries: &[Abi] = match Arch::NATIVE {
            Arch::X86_64 => &[Abi::X86_64, Abi::X32, Abi::I386],
            Arch::Aarch64 => &[Abi::Aarch64, Abi::Arm],
        };
        for abi in entries {
            let bit = if *abi == Abi::X32 { Abi::X32_BIT } else { 0 };
            let numbers = if *abi == Abi::X32 { Abi::X86_64 } else { *abi };
            let mut refused = 0;
            for nr in (0..600).chain([0x3fff_ffff]) {
                let name = Syscall::new(numbers, nr).known_name();
                let expected = match name.is_some_and(|name| CALLS.contains(&name)) {
                    true => Action::Errno(libc::ENOSYS as u16),
                    false => Action::Allow,
                };
                refused += usize::from(expected != Action::Allow);
                let data = SeccompData::new(Syscall::new(*abi, bit | nr), [0; 6]);
                assert_eq!(
                    Action::from_ret(program.run(&data)),
                    Some(expected),
                    "{abi:?} {nr}"
                );
            }
            assert_eq!(refused, 3, "{abi:?}");
        }
    }
}
