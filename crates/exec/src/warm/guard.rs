//! A filter around a template that keeps what its forks need and its modules must not have: capabilities that are in
//! its permitted set and not in its effective one.
//!
//! What could bring them into effect, or change a fork from outside while its tracer has them in effect there, is
//! asked about: the template's tracer refuses it, without a tracer the kernel does (ENOSYS, seccomp(2)), and a
//! fork's tracer makes it in the fork's place, for as long as that takes. In a run, which has no capabilities, it is
//! let go: the policy has been asked before.

use callgate_abi::{Action, Arch, Filter, Instruction};

use crate::bpf::{
    AND, ARCHITECTURE, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, NUMBER, RETURN, argument,
};

/// Where clone(2) has its flags.
const FLAGS: u32 = argument(0);

/// Asked about. The first brings capabilities into effect; the others reach into another process of the same user.
const ASKED: [&str; 4] = ["capset", "ptrace", "process_vm_writev", "vfork"];

/// The filter. It asks with `data`; foreign entries and what would hide a process from its tracer are refused.
pub(super) fn filter(data: u16) -> Filter {
    let ask = Action::Trace(data).ret();
    let eperm = Action::Errno(libc::EPERM as u16).ret();
    let enosys = Action::Errno(libc::ENOSYS as u16).ret();
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let mut program = vec![
        instruction(LOAD, 0, 0, ARCHITECTURE),
        instruction(JUMP_EQUAL, 1, 0, Arch::NATIVE.audit()),
        instruction(RETURN, 0, 0, enosys),
        instruction(LOAD, 0, 0, NUMBER),
        // x32 calls: __X32_SYSCALL_BIT (asm/unistd.h). No other architecture has numbers like that.
        instruction(JUMP_AT_LEAST, 0, 1, 0x4000_0000),
        instruction(RETURN, 0, 0, enosys),
    ];
    let number = |name| Arch::NATIVE.call(name).ok().map(callgate_abi::Syscall::nr);
    for nr in ASKED.into_iter().filter_map(number) {
        program.extend([instruction(JUMP_EQUAL, 0, 1, nr), instruction(RETURN, 0, 0, ask)]);
    }
    if let Some(nr) = number("clone3") {
        // Its flags lie in memory; libc asks clone then.
        program.extend([
            instruction(JUMP_EQUAL, 0, 1, nr),
            instruction(RETURN, 0, 0, enosys),
        ]);
    }
    if let Some(nr) = number("clone") {
        program.extend([
            instruction(JUMP_EQUAL, 0, 6, nr),
            instruction(LOAD, 0, 0, FLAGS),
            instruction(JUMP_ANY_BIT, 0, 1, libc::CLONE_UNTRACED as u32),
            instruction(RETURN, 0, 0, eperm),
            // A process, not a thread, that shares its memory.
            instruction(AND, 0, 0, (libc::CLONE_VM | libc::CLONE_THREAD) as u32),
            instruction(JUMP_EQUAL, 0, 1, libc::CLONE_VM as u32),
            instruction(RETURN, 0, 0, ask),
        ]);
    }
    program.push(instruction(RETURN, 0, 0, Action::Allow.ret()));
    Filter(program)
}

/// What the filter asks with, so that it is told from what the policy asks: never what one of its rules asks with.
pub(super) fn data(policy: &Filter) -> u16 {
    let taken = |data: u16| {
        let ask = Action::Trace(data).ret();
        policy.0.iter().any(|step| step.code == RETURN && step.k == ask)
    };
    // 0 is the marker's.
    (1..u16::MAX).rev().find(|data| !taken(*data)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Abi, Syscall};
    use callgate_policy::bpf::{Program, SeccompData};

    use super::*;

    fn answer(abi: Abi, name: &str, flags: u64) -> Action {
        let call = Syscall::named(abi, name).unwrap();
        let data = SeccompData::new(call, [flags, 0, 0, 0, 0, 0]);
        Action::from_ret(Program::new(&filter(7)).unwrap().run(&data)).unwrap()
    }

    #[test]
    fn what_brings_capabilities_into_effect_is_asked_about() {
        let abi = match Arch::NATIVE {
            Arch::X86_64 => Abi::X86_64,
            Arch::Aarch64 => Abi::Aarch64,
        };
        let flags = |flags: i32| u64::from(flags as u32);
        let ask = Action::Trace(7);
        assert_eq!(answer(abi, "capset", 0), ask);
        assert_eq!(answer(abi, "ptrace", 0), ask);
        assert_eq!(answer(abi, "setresuid", 0), Action::Allow);
        assert_eq!(answer(abi, "clone3", 0), Action::Errno(libc::ENOSYS as u16));
        let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
        assert_eq!(answer(abi, "clone", flags(thread)), Action::Allow);
        assert_eq!(answer(abi, "clone", flags(libc::SIGCHLD)), Action::Allow);
        assert_eq!(
            answer(abi, "clone", flags(libc::CLONE_VM | libc::CLONE_VFORK)),
            ask
        );
        let hidden = flags(libc::CLONE_UNTRACED | libc::SIGCHLD);
        assert_eq!(answer(abi, "clone", hidden), Action::Errno(libc::EPERM as u16));
        if abi == Abi::X86_64 {
            assert_eq!(answer(Abi::I386, "capset", 0), Action::Errno(libc::ENOSYS as u16));
        }
    }

    #[test]
    fn a_rule_of_the_policy_is_not_taken_for_it() {
        let ask = |data| Instruction {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: Action::Trace(data).ret(),
        };
        assert_eq!(data(&Filter(vec![])), u16::MAX - 1);
        assert_eq!(
            data(&Filter(vec![ask(u16::MAX - 1), ask(u16::MAX - 3)])),
            u16::MAX - 2
        );
    }
}
