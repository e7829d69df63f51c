//! The raw kernel calls of the child: after the clone, nothing here allocates, locks or unwinds.
#![allow(unsafe_code)]

mod capabilities;
mod files;
mod nursery;
mod steps;

use std::ffi::{CString, c_char, c_long};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

use self::capabilities::{CAPABILITY_VERSION_3, CapHeader};
pub(crate) use self::nursery::{Number, Nursing, Own, nurse};
use self::steps::{close_except, run};
use crate::launch::Init;
use crate::report::Record;
use crate::step::Step;

/// Everything that the child needs, made before the clone.
pub(crate) struct Image<'a> {
    pub(crate) program: &'a CString,
    /// NULL-terminated, pointing into strings that outlive the call.
    pub(crate) argv: &'a [*const c_char],
    pub(crate) envp: &'a [*const c_char],
    pub(crate) init: Option<&'a Init>,
    pub(crate) steps: &'a [Step],
    /// The descriptors that an init keeps, ascending: 0, 1, 2 and what steps name.
    pub(crate) keep: &'a [RawFd],
    pub(crate) go: RawFd,
    pub(crate) go_write: RawFd,
    pub(crate) report: RawFd,
}

/// The NULL-terminated array that execve(2) takes; it borrows from `strings`.
pub(crate) fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// Clones the calling process (in the init's namespaces, if there is an init); the copy runs `image`
/// and never returns.
pub(crate) fn start(image: &Image<'_>) -> nix::Result<i32> {
    let namespaces = image.init.map_or(0, |init| init.namespaces);
    let pid = match image.init.and_then(|init| init.cgroup) {
        Some(cgroup) => clone_into(namespaces, cgroup),
        None => {
            let flags = namespaces as c_long | c_long::from(libc::SIGCHLD);
            // SAFETY: without CLONE_VM and with a null stack, clone is a fork: the child has its own copy
            // of all memory. It calls nothing but raw system calls on memory that was made before.
            unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }
        }
    };
    match pid {
        -1 => Err(nix::Error::last()),
        0 => first_process(image),
        pid => Ok(pid as i32),
    }
}

/// `CLONE_INTO_CGROUP` (linux/sched.h), which does not fit libc's type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// As a fork with these namespaces, whose child is in this cgroup from its first instruction on.
fn clone_into(namespaces: u64, cgroup: RawFd) -> c_long {
    // SAFETY: an all-zero clone_args is a valid one: no stack, no CLONE_VM, no pointers to write to.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = namespaces | CLONE_INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.cgroup = cgroup as u64;
    // SAFETY: as in `start`; the kernel reads a live local of the size that is given.
    unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) }
}

/// Whether [`clone_into`] can be had. Asked with a cgroup that can't be, so that nothing is made, whoever answers.
pub(crate) fn clones_into() -> bool {
    // SAFETY: an all-zero clone_args is a valid one, and the kernel reads a live local of the size that is given.
    let answer = unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = u64::MAX;
        libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>())
    };
    answer == -1 && errno() == libc::EINVAL
}

/// The first process: the init or the child, which wait for the word.
fn first_process(image: &Image<'_>) -> ! {
    restore_signals();
    // A supervisor can be undumpable (prctl(2)), and we are its copy: then we could not be traced.
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) };
    // SAFETY: `go_write` is the supervisor's end, open in this copy of the descriptor table; with it
    // open we would never see that the supervisor is gone.
    unsafe { libc::close(image.go_write) };
    if image.init.is_some() {
        // An init lives as long as its run. It must not hold open what is another thread's business:
        // pipes of other runs would never come to their end, locks would never be given back.
        if let Err(errno) = close_except(image.keep, &[image.go, image.report]) {
            report(image.report, Record::failed(Record::CLOSE, 0, errno));
            exit();
        }
    }
    match image.init {
        None => {
            wait_for_word(image);
            child(image)
        }
        Some(init) => init_process(image, init),
    }
}

/// Waits until the supervisor says that it is ready for what comes; ends if it gives up.
fn wait_for_word(image: &Image<'_>) {
    let mut word = 0u8;
    // SAFETY: one byte is read into a local.
    let read = unsafe { libc::read(image.go, (&raw mut word).cast(), 1) };
    if read != 1 {
        exit(); // the supervisor gave up
    }
    // SAFETY: the descriptor is ours and not used again.
    unsafe { libc::close(image.go) };
}

/// The child: its steps, then the command.
fn child(image: &Image<'_>) -> ! {
    run_all(image.report, image.steps, Record::CHILD_STEP);
    // SAFETY: the path and both arrays are NUL-terminated and live.
    unsafe { libc::execve(image.program.as_ptr(), image.argv.as_ptr(), image.envp.as_ptr()) };
    report(image.report, Record::failed(Record::EXEC, 0, errno()));
    exit()
}

/// The init: its steps, the child, then whatever is left.
fn init_process(image: &Image<'_>, init: &Init) -> ! {
    run_all(image.report, &init.eager, Record::EAGER_STEP);
    // Before, only those steps can fail: who has something to do to it finds it.
    wait_for_word(image);
    // SAFETY: prctl with plain numbers. As subreaper it gets what the command's processes abandon.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
        report(image.report, Record::failed(Record::SUBREAPER, 0, errno()));
        exit();
    }
    run_all(image.report, &init.steps, Record::INIT_STEP);
    match born_within(image) {
        -1 => {
            report(image.report, Record::failed(Record::FORK, 0, errno()));
            exit()
        }
        pid => reap(image.report, pid, init.sweep),
    }
}

/// Makes the child, which has our memory until it executes the command (as after vfork(2), we don't go on before): to copy
/// it would take longer than all steps of a child together.
fn born_within(image: &Image<'_>) -> i32 {
    extern "C" fn begin(image: *mut libc::c_void) -> i32 {
        // SAFETY: it is the address of the image below, whose owner does not go on before we are done with it.
        child(unsafe { &*image.cast::<Image<'_>>() })
    }
    /// Several times what the steps take, of which one copies a whole filter (32 KiB). What is not used is not there; of
    /// 16 bytes, to which stacks are aligned.
    type Stack = [u128; (256 << 10) / 16];
    let mut stack = MaybeUninit::<Stack>::uninit();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: stacks grow downwards, and this one ends where the local does; we stand still until nobody uses it any more.
    unsafe {
        let top = stack.as_mut_ptr().add(1);
        libc::clone(begin, top.cast(), flags, ptr::from_ref(image).cast_mut().cast())
    }
}

/// Waits for the command, kills and reaps what it left, reports what all of it used.
fn reap(pipe: RawFd, command: i32, sweep: Option<u32>) -> ! {
    loop {
        // SAFETY: no status is asked for.
        let pid = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::__WALL) };
        if pid == command || (pid == -1 && errno() != libc::EINTR) {
            break;
        }
    }
    kill_rest(sweep);
    loop {
        // SAFETY: as above. Everything that is left has been killed: this ends with ECHILD.
        let pid = unsafe { libc::waitpid(-1, ptr::null_mut(), libc::__WALL) };
        if pid == -1 && errno() != libc::EINTR {
            break;
        }
    }
    // SAFETY: an all-zero rusage is a valid one, and getrusage fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let micros = |t: libc::timeval| (t.tv_sec as u64) * 1_000_000 + t.tv_usec as u64;
    report(
        pipe,
        Record::usage(
            micros(usage.ru_utime) + micros(usage.ru_stime),
            usage.ru_maxrss as u64,
        ),
    );
    exit()
}

/// The real uid of an init while it sweeps: nobody's, and as good as never that of another sweep, which would kill
/// this init by it. (Debian Policy Manual, 9.2.2: 65000 to 65533 are reserved; runs get those below 65400.)
fn sweeper(target: u32) -> u32 {
    const FIRST: u32 = 65_400;
    const COUNT: u32 = 133;
    let number = FIRST + target % COUNT;
    if number == target { 65_533 } else { number }
}

/// Kills every process of the run but the init itself.
fn kill_rest(sweep: Option<u32>) {
    match sweep {
        // SAFETY: plain numbers. Only pid 1 of a namespace may do this: it reaches everything in the
        // namespace but ourselves. Anywhere else it would reach everything on the host.
        None => unsafe {
            if libc::getpid() == 1 {
                libc::kill(-1, libc::SIGKILL);
            }
        },
        Some(uid) => sweep_uid(uid),
    }
}

/// Without a pid namespace: kills every process of `uid`, all in one call, so that none can fork away.
///
/// A signal may be sent by whose real or effective uid is the target's real or saved uid (kill(2)). So
/// the effective uid becomes theirs; the real one becomes nobody's, lest root's processes be reached as
/// well, and lest they reach us; the saved one stays root's, which leads back. CAP_KILL is out of
/// effect meanwhile, which is made sure of: with it, all processes there are would be reached.
fn sweep_uid(uid: u32) {
    // SAFETY: the raw calls with plain numbers, and capget on live locals.
    unsafe {
        let (target, real) = (c_long::from(uid), c_long::from(sweeper(uid)));
        if uid == 0 || target == real || libc::syscall(libc::SYS_setresuid, real, target, 0) != 0 {
            return;
        }
        let header = CapHeader {
            version: CAPABILITY_VERSION_3,
            pid: 0,
        };
        // Effective, permitted, inheritable, for the low 32 capabilities and then the others.
        let mut sets = [u32::MAX; 6];
        let known = libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) == 0;
        if known && sets[0] == 0 && sets[3] == 0 && libc::getuid() != 0 && libc::geteuid() == uid {
            libc::kill(-1, libc::SIGKILL);
        }
        libc::syscall(libc::SYS_setresuid, 0, 0, 0);
    }
}

/// Runs steps in order; the first that fails is reported and ends this process.
fn run_all(pipe: RawFd, steps: &[Step], kind: u32) {
    for (index, step) in steps.iter().enumerate() {
        if let Err(errno) = run(step, pipe) {
            report(pipe, Record::failed(kind, index, errno));
            exit();
        }
    }
}

/// Signals that the supervisor ignores or blocks are not the command's business.
fn restore_signals() {
    // SAFETY: plain signal calls on locals; SIG_DFL is always valid.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        // With those of real time, but for what libc keeps to itself and refuses (signal(7)).
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

fn errno() -> i32 {
    // SAFETY: the location is this thread's own and always valid.
    unsafe { *libc::__errno_location() }
}

fn exit() -> ! {
    // SAFETY: ends the process without running destructors that belong to the supervisor.
    unsafe { libc::_exit(125) }
}

fn report(pipe: RawFd, record: Record) {
    let bytes = record.to_bytes();
    // SAFETY: the buffer is a local of that length; less than PIPE_BUF, so it is written whole.
    unsafe { libc::write(pipe, bytes.as_ptr().cast(), bytes.len()) };
}
