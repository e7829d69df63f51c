//! What a child does between fork and exec: takes a descriptor along, puts itself under a filter.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Lets the command inherit a descriptor under this number.
pub fn inherit(command: &mut Command, fd: i32, number: i32) {
    // SAFETY: dup2 is async-signal-safe and takes plain numbers.
    unsafe {
        command.pre_exec(move || match libc::dup2(fd, number) {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
}

/// One call that a filter answers with an errno: if these arguments (index, low 32 bits) are as given.
pub struct Refusal<'a> {
    /// The call's number.
    pub nr: i64,
    /// The arguments that it must have.
    pub args: &'a [(u32, u32)],
    /// What it is answered with.
    pub errno: i32,
}

/// Runs the command under a filter that refuses this call and lets everything else pass. The filter
/// is loaded by a superuser, so no_new_privs is not set.
pub fn refuse(command: &mut Command, refusal: &Refusal<'_>) {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let line = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut tests = vec![(0, refusal.nr as u32)];
    // The low half of a 64-bit argument comes first on both architectures.
    tests.extend(refusal.args.iter().map(|(index, value)| (16 + 8 * index, *value)));
    let mut program = Vec::new();
    for (i, (offset, value)) in tests.iter().enumerate() {
        program.push(line(LOAD, 0, *offset));
        program.push(line(EQUAL, ((tests.len() - i - 1) * 2 + 1) as u8, *value));
    }
    program.push(line(RETURN, 0, libc::SECCOMP_RET_ERRNO | refusal.errno as u32));
    program.push(line(RETURN, 0, libc::SECCOMP_RET_ALLOW));
    load(command, program);
}

/// Runs the command under a filter that refuses new user namespaces, as a host does that has them switched
/// off (`user.max_user_namespaces=0`), or an outer sandbox. Loaded by a superuser, as that of [`refuse`].
pub fn refuse_user_namespaces(command: &mut Command) {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const HAS: u16 = 0x45;
    const RETURN: u16 = 0x06;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let program = vec![
        line(LOAD, 0, 0, 0),
        // Its flags can't be seen.
        line(EQUAL, 0, 1, libc::SYS_clone3 as u32),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        line(EQUAL, 1, 0, libc::SYS_clone as u32),
        line(EQUAL, 0, 3, libc::SYS_unshare as u32),
        line(LOAD, 0, 0, 16),
        line(HAS, 0, 1, libc::CLONE_NEWUSER as u32),
        line(RETURN, 0, 0, refused),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    load(command, program);
}

/// Has the command load this filter before it begins.
fn load(command: &mut Command, program: Vec<libc::sock_filter>) {
    // SAFETY: the closure makes one system call on memory that it owns; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog {
                len: program.len() as u16,
                filter: program.as_ptr().cast_mut(),
            };
            match libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            ) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// A call that waits for an answer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    id: u64,
    /// The thread that makes it.
    pub pid: u32,
    flags: u32,
    /// Its number.
    pub nr: i32,
    arch: u32,
    ip: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

#[repr(C)]
struct Answer {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// Puts the calling thread, and whatever it starts, under a filter that asks about these calls, and returns the
/// descriptor to answer at (seccomp_unotify(2)). For a superuser.
pub fn ask_about(calls: &[i64]) -> OwnedFd {
    // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (Linux 5.19): a signal or a tracer does not take back what has been
    // asked, which would be asked again.
    const WAIT: libc::c_ulong = 1 << 5;
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut program = vec![line(0x20, 0, 0, 0)];
    for nr in calls {
        program.push(line(0x15, 0, 1, *nr as u32));
        program.push(line(0x06, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    }
    program.push(line(0x06, 0, 0, libc::SECCOMP_RET_ALLOW));
    let header = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the header and the program that it points to live until the call returns; what comes back is a new
    // descriptor that nobody else has.
    unsafe {
        let fd = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT,
            &raw const header,
        );
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd as i32)
    }
}

/// Answers until nobody is left to ask: an errno, or `None` for a call that goes on.
pub fn answer(listener: i32, mut decide: impl FnMut(&Asked) -> Option<i32>) {
    const RECEIVE: libc::c_ulong = 0xc050_2100; // SECCOMP_IOCTL_NOTIF_RECV (linux/seccomp.h)
    const SEND: libc::c_ulong = 0xc018_2101; // SECCOMP_IOCTL_NOTIF_SEND
    loop {
        let mut poll = libc::pollfd {
            fd: listener,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live pollfd.
        unsafe { libc::poll(&raw mut poll, 1, -1) };
        if poll.revents & libc::POLLIN == 0 {
            return;
        }
        let mut asked = Asked::default();
        // SAFETY: the kernel writes a struct of the size that is in the request's number to a live local.
        if unsafe { libc::ioctl(listener, RECEIVE, &raw mut asked) } != 0 {
            continue; // who asked has been killed
        }
        // Nothing is allocated for a thread of ours: one that forks holds the allocator's locks.
        // SAFETY: plain numbers; signal 0 only asks.
        let ours = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), asked.pid, 0) } == 0;
        let error = if ours { None } else { decide(&asked) };
        let answer = Answer {
            id: asked.id,
            value: 0,
            error: -error.unwrap_or(0),
            flags: u32::from(error.is_none()), // SECCOMP_USER_NOTIF_FLAG_CONTINUE
        };
        // SAFETY: the kernel reads a struct of the size that is in the request's number from a live local.
        unsafe { libc::ioctl(listener, SEND, &raw const answer) };
    }
}
