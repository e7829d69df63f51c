//! A filter for what Landlock does not hold, where nothing else would: it comes before the policy's own and
//! can't be taken back by it. Sockets of the network are another's business ([`crate::network`]).

use callgate_abi::{Action, Arch, Filter, Instruction};

use crate::bpf::{self, AND, ARCHITECTURE, JUMP_ANY_BIT, JUMP_AT_LEAST, JUMP_EQUAL, LOAD, NUMBER, RETURN};

/// Refused with EPERM.
const SHUT: &[&str] = &[
    // What Landlock does not look at (landlock(7)): the user owns files that it may not change.
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "removexattrat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
    "file_setattr",
    // What others do with files.
    "inotify_add_watch",
    "fanotify_init",
    // What the user's other processes share, and what would be left after the run.
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
    // Namespaces bring capabilities of their own.
    "unshare",
    "setns",
];

/// Refused with ENOSYS, so that libraries do without: calls whose arguments a filter can't see.
const ABSENT: &[&str] = &["clone3", "io_uring_setup"];

/// Calls upon another process, by the argument that names it: only 0, the caller itself, may stand there.
const UPON: &[(&str, u8)] = &[
    ("prlimit64", 0),
    ("sched_setparam", 0),
    ("sched_setscheduler", 0),
    ("sched_setattr", 0),
    ("sched_setaffinity", 0),
    ("setpriority", 1),
    ("ioprio_set", 1),
];

/// `CLONE_UNTRACED`, by which a process would get out of our sight, and all `CLONE_NEW*` but
/// `CLONE_NEWTIME`, which clone(2) does not take.
const FLAGS: u32 = 0x0080_0000 | 0x7e02_0000;

/// `FS_IOC_SETFLAGS` and `FS_IOC_FSSETXATTR` (linux/fs.h), which ask for no more than ownership.
const IOCTLS: [u32; 2] = [0x4008_6602, 0x401c_5820];

/// The filter. Calls of other architectures than the native one are refused with ENOSYS.
pub(crate) fn filter() -> Filter {
    let eperm = Action::Errno(libc::EPERM as u16).ret();
    let enosys = Action::Errno(libc::ENOSYS as u16).ret();
    let mut program = Program(Vec::new());
    program.push(LOAD, 0, 0, ARCHITECTURE);
    program.push(JUMP_EQUAL, 1, 0, Arch::NATIVE.audit());
    program.push(RETURN, 0, 0, enosys);
    program.push(LOAD, 0, 0, NUMBER);
    // x32 calls: __X32_SYSCALL_BIT (asm/unistd.h). No other architecture has numbers like that.
    program.push(JUMP_AT_LEAST, 0, 1, 0x4000_0000);
    program.push(RETURN, 0, 0, enosys);
    for (names, answer) in [(SHUT, eperm), (ABSENT, enosys)] {
        for name in names {
            program.call(name, |program| program.push(RETURN, 0, 0, answer));
        }
    }
    for (name, argument) in UPON {
        program.call(name, |program| {
            program.push(LOAD, 0, 0, bpf::argument(*argument));
            program.push(JUMP_EQUAL, 1, 0, 0);
            program.push(RETURN, 0, 0, eperm);
        });
    }
    program.call("clone", |program| {
        program.push(LOAD, 0, 0, bpf::argument(0));
        program.push(JUMP_ANY_BIT, 0, 1, FLAGS);
        program.push(RETURN, 0, 0, eperm);
    });
    // The sockets of the user's own services, which would run anything for it, are reached by paths, and
    // Landlock lets it. One end of a pair can only be sent elsewhere if it is one for datagrams (unix(7)).
    program.call("socket", |program| {
        program.push(LOAD, 0, 0, bpf::argument(0));
        program.push(JUMP_EQUAL, 0, 1, libc::AF_UNIX as u32);
        program.push(RETURN, 0, 0, eperm);
    });
    program.call("socketpair", |program| {
        program.push(LOAD, 0, 0, bpf::argument(1));
        program.push(AND, 0, 0, 0xf); // without SOCK_CLOEXEC and SOCK_NONBLOCK
        program.push(JUMP_EQUAL, 0, 1, libc::SOCK_DGRAM as u32);
        program.push(RETURN, 0, 0, eperm);
    });
    program.call("ioctl", |program| {
        program.push(LOAD, 0, 0, bpf::argument(1));
        for request in IOCTLS {
            program.push(JUMP_EQUAL, 0, 1, request);
            program.push(RETURN, 0, 0, eperm);
        }
    });
    program.push(RETURN, 0, 0, Action::Allow.ret());
    Filter(program.0)
}

struct Program(Vec<Instruction>);

impl Program {
    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.0.push(Instruction { code, jt, jf, k });
    }

    /// What is done about a call, if the architecture has it. The number is loaded before and after.
    fn call(&mut self, name: &str, then: impl FnOnce(&mut Self)) {
        let Ok(call) = Arch::NATIVE.call(name) else { return };
        let mut body = Self(Vec::new());
        then(&mut body);
        body.push(LOAD, 0, 0, NUMBER);
        self.push(JUMP_EQUAL, 0, body.0.len() as u8, call.nr());
        self.0.append(&mut body.0);
    }
}
