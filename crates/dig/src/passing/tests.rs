//! The filter against what the recorder knows: by an interpreter over many calls, and by the kernel.

use callgate_abi::{KeySet, Syscall, keys};
use callgate_launch::Launch;
use callgate_tracee::{Event, Injector, Load, Moment, Options, Place, Reason, Resume, Stopped, Tracer};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;

const TAG: u16 = 0x6467;

fn call(name: &str) -> Syscall {
    Arch::NATIVE.call(name).unwrap()
}

/// What a small program did.
fn seen() -> Learned {
    let mut learned = Learned::default();
    for (name, args) in [
        ("getppid", [0; 6]),
        ("openat", [0; 6]),
        ("prctl", [15, 0, 0, 0, 0, 0]),
        ("prctl", [38, 1, 0, 0, 0, 0]),
        ("fcntl", [3, 1, 0, 0, 0, 0]),
        ("kill", [4242, 0, 0, 0, 0, 0]),
        ("socket", [1, 1, 0, 0, 0, 0]),
        ("socket", [2, 2, 17, 0, 0, 0]),
        ("mmap", [0, 4096, 3, 0x22, 0, 0]),
        ("clone", [0x0080_0011, 0, 0, 0, 0, 0]),
        ("clone", [0x11, 0, 0, 0, 0, 0]),
        ("newfstatat", [3, 0x7f00_1234_5678, 0, 0x1000, 0, 0]),
        ("read", [0; 6]),
        ("seccomp", [0; 6]),
        ("ioctl", [1, 0x5401, 0, 0, 0, 0]),
    ] {
        let call = call(name);
        let found = keys(call, &args);
        learned.learn(call, &found, &KeySet::default());
    }
    let mut many = KeySet::default();
    for value in 0..=KeySet::MOST as u64 {
        many.insert(keys(call("madvise"), &[0, 0, value, 0, 0, 0]).remove(0));
    }
    learned.learn(call("madvise"), &keys(call("madvise"), &[0; 6]), &many);
    learned
}

fn fstats() -> [Fstat; 1] {
    [Fstat {
        nr: call("newfstatat").nr(),
        instruction: 0x7f00_0000_1111,
        path: 0x7f00_1234_5678,
    }]
}

/// What a program answers, by the rules of linux/filter.h.
fn run(filter: &Filter, arch: u32, nr: u32, instruction: u64, args: &[u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(nr.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend(instruction.to_le_bytes());
    args.iter().for_each(|arg| data.extend(arg.to_le_bytes()));
    let (mut at, mut a) = (0, 0);
    loop {
        let Instruction { code, jt, jf, k } = filter.0[at];
        at += 1;
        let holds = match code {
            LOAD => {
                let k = k as usize;
                a = u32::from_le_bytes(data[k..k + 4].try_into().unwrap());
                continue;
            }
            JUMP => {
                at += k as usize;
                continue;
            }
            RETURN => return k,
            EQUAL => a == k,
            GREATER => a > k,
            GREATER_OR_EQUAL => a >= k,
            ANY_BIT => a & k != 0,
            other => panic!("no such operation: {other:#x}"),
        };
        at += usize::from(if holds { jt } else { jf });
    }
}

/// What ought to pass, said without the filter's words.
fn ought_to_pass(learned: &Learned, call: Syscall, args: &[u64; 6]) -> bool {
    let traits = traits(call);
    learned.knows(call, args)
        && traits.paths.is_empty()
        && ![
            "clone3",
            "seccomp",
            "ptrace",
            "sched_getaffinity",
            "sched_setaffinity",
            "landlock_restrict_self",
        ]
        .contains(&call.name().as_ref())
        && !(call.name() == "prctl" && [21, 22, 38, 39].contains(&(args[0] as u32)))
        && !(call.name() == "clone" && args[0] & CLONE_UNTRACED != 0)
}

const CLONE_UNTRACED: u64 = 0x0080_0000;

#[test]
fn exactly_what_was_seen_passes() {
    let learned = seen();
    let filter = program(&learned, &[], TAG);
    let edges = [
        0,
        1,
        2,
        3,
        4,
        9,
        15,
        17,
        0x11,
        0x22,
        38,
        39,
        0x1000,
        0x5401,
        0x5412,
        4242,
        0x7fff_ffff,
        0x8000_0000,
        0x0080_0011,
        0xffff_fffe,
        0xffff_ffff,
        0x1_0000_0001,
        0x1_0000_5401,
        u64::MAX,
        1 << 63,
    ];
    let mut passed = 0;
    for nr in (0..450).chain([Abi::X32_BIT, Abi::X32_BIT + 39, u32::MAX]) {
        for first in edges {
            for second in edges {
                for args in [
                    [first, second, first, second, 0, 0],
                    [first, second, second, first, 0, 0],
                    [first, first, 0, second, 0, 0],
                ] {
                    let answer = run(&filter, Arch::NATIVE.audit(), nr, 7, &args);
                    let expected = nr < Abi::X32_BIT
                        && ought_to_pass(&learned, Syscall::new(Arch::NATIVE.abi(), nr), &args);
                    assert_eq!(answer == Action::Allow.ret(), expected, "{nr} {args:x?}");
                    assert!(expected || answer == Action::Trace(TAG).ret());
                    passed += u32::from(expected);
                }
            }
        }
        for arch in [Abi::I386.audit(), Abi::Arm.audit(), 0, u32::MAX] {
            assert_eq!(run(&filter, arch, nr, 7, &[0; 6]), Action::Trace(TAG).ret());
        }
    }
    assert!(passed > 1000, "that is too little to mean anything: {passed}");
}

#[test]
fn a_status_by_descriptor_passes_where_it_was_seen_only() {
    let filter = program(&seen(), &fstats(), TAG);
    let [known] = fstats();
    let answer = |instruction, args: [u64; 6]| {
        run(&filter, Arch::NATIVE.audit(), known.nr, instruction, &args) == Action::Allow.ret()
    };
    let args = [3, known.path, 0, 0x1000, 0, 0];
    assert!(answer(known.instruction, args));
    assert!(answer(known.instruction, [9, known.path, 5, 0x1000, 0, 0]));
    assert!(!answer(known.instruction + 2, args));
    assert!(!answer(known.instruction ^ 1 << 40, args));
    assert!(!answer(known.instruction, [3, known.path + 1, 0, 0x1000, 0, 0]));
    assert!(!answer(known.instruction, [3, known.path, 0, 0x1100, 0, 0]));
}

/// A process that can be made to make calls.
fn idle() -> Injector {
    let mut started = Launch::new("/bin/true", ["true"], ["PATH=/bin"])
        .unwrap()
        .start()
        .unwrap();
    let mut tracer = Tracer::seize(started.pid().as_raw(), Options::FOLLOW).unwrap();
    started.go().unwrap();
    std::mem::forget(started);
    let mut executed = false;
    loop {
        let Some(Event::Stopped(tracee)) = tracer.wait().unwrap() else {
            panic!("it ended")
        };
        executed |= tracee.reason() == Reason::Exec;
        if executed && at_exit(&tracee) {
            return Injector::new(tracee, true).unwrap();
        }
        tracee
            .resume(if executed {
                Resume::ToNextSyscall
            } else {
                Resume::Freely
            })
            .unwrap();
    }
}

fn at_exit(tracee: &Stopped) -> bool {
    tracee.reason() == Reason::Syscall && matches!(tracee.syscall().unwrap().moment, Moment::Exit { .. })
}

#[test]
fn the_kernel_agrees() {
    // The tracer does not ask for seccomp stops: the kernel answers what would stop with ENOSYS.
    let mut injector = idle();
    let pid = injector.tracee().tid();
    let load = Load {
        no_new_privs: true,
        place: Place::BelowStack,
    };
    injector
        .load_filter(&program(&seen(), &fstats(), TAG), load)
        .unwrap();
    let mut stops = |name: &str, args: [u64; 6]| {
        injector.call(call(name).nr().into(), args).unwrap() == Err(Errno::ENOSYS)
    };
    const BAD: u64 = u64::MAX;
    for (name, args, expected) in [
        ("getppid", [0; 6], false),
        ("getpid", [0; 6], true),
        ("openat", [BAD, 0, 0, 0, 0, 0], true),
        ("prctl", [15, 0, 0, 0, 0, 0], false),
        ("prctl", [38, 1, 0, 0, 0, 0], true),
        ("prctl", [3, 0, 0, 0, 0, 0], true),
        ("fcntl", [BAD, 1, 0, 0, 0, 0], false),
        ("fcntl", [BAD, 1 | 5 << 32, 0, 0, 0, 0], false),
        ("fcntl", [BAD, 2, 0, 0, 0, 0], true),
        ("kill", [pid as u64, 0, 0, 0, 0, 0], false),
        ("kill", [0, 0, 0, 0, 0, 0], true),
        ("socket", [1, 1, 0, 0, 0, 0], false),
        ("socket", [2, 1, 0, 0, 0, 0], true),
        ("mmap", [0, 0, 3, 0x22, 0, 0], false),
        ("mmap", [0, 0, 7, 0x22, 0, 0], true),
        ("clone", [0x0080_0011, 0, 0, 0, 0, 0], true),
        ("madvise", [1, 0, 77, 0, 0, 0], false),
        ("ioctl", [BAD, 0x5401, 0, 0, 0, 0], false),
        ("ioctl", [BAD, 0x5402, 0, 0, 0, 0], true),
        ("newfstatat", [BAD, fstats()[0].path, 0, 0x1000, 0, 0], true),
    ] {
        assert_eq!(stops(name, args), expected, "{name} {args:x?}");
    }
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}
