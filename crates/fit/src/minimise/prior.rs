//! How likely a program is not to mind that a call is refused, before anything was tried.
//!
//! A wrong guess costs runs and nothing else: every verdict comes from a run. The guesses are from what libc
//! and language runtimes do with a failure: advice and questions are optional, work is not.

use callgate_abi::{Group, about};

/// Calls that only start-up makes are not made under the lock at all.
pub(crate) const NOT_MADE: f64 = 0.995;

/// Failing is ordinary, or nobody looks at the result.
const OPTIONAL: &[&str] = &[
    "access",
    "arch_prctl",
    "close_range",
    "faccessat",
    "faccessat2",
    "fadvise64",
    "get_mempolicy",
    "getcpu",
    "getegid",
    "geteuid",
    "getgid",
    "getpgid",
    "getpgrp",
    "getpid",
    "getppid",
    "getpriority",
    "getrandom",
    "getresgid",
    "getresuid",
    "getrusage",
    "getsid",
    "gettid",
    "getuid",
    "ioctl",
    "madvise",
    "mbind",
    "membarrier",
    "mlock",
    "prctl",
    "prlimit64",
    "readlink",
    "readlinkat",
    "rt_sigaction",
    "rt_sigprocmask",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_yield",
    "set_mempolicy",
    "set_robust_list",
    "set_tid_address",
    "setpriority",
    "sigaltstack",
    "statfs",
    "statx",
    "sysinfo",
    "umask",
];

/// Some programs do without.
const PERHAPS: &[&str] = &[
    "fstatfs",
    "fsync",
    "fdatasync",
    "fstat",
    "getsockname",
    "mremap",
    "setsockopt",
    "shutdown",
    "utimensat",
];

/// Nothing goes on without them. An errno from brk is an address to glibc (brk(2), "C library/kernel
/// differences"); a thread whose rseq fails when the first one's did not ends the process (glibc 2.35).
const WORK: &[&str] = &[
    "brk",
    "clone",
    "clone3",
    "close",
    "dup",
    "dup2",
    "epoll_ctl",
    "epoll_wait",
    "fcntl",
    "fork",
    "futex",
    "getcwd",
    "getdents64",
    "lseek",
    "lstat",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "open",
    "openat",
    "read",
    "rseq",
    "stat",
    "uname",
    "vfork",
    "wait4",
    "write",
];

/// The chance, between 0 and 1.
pub(crate) fn hope(name: &str) -> f64 {
    if OPTIONAL.contains(&name) {
        return 0.93;
    }
    if PERHAPS.contains(&name) {
        return 0.55;
    }
    if WORK.contains(&name) {
        return 0.04;
    }
    match about(name).map(|about| about.group) {
        Some(Group::Scheduling | Group::Limits | Group::Kernel | Group::Inspection) => 0.9,
        Some(Group::Signals | Group::Identity | Group::Time) => 0.7,
        Some(Group::Security) => 0.5,
        Some(Group::Memory | Group::Sync | Group::Process) => 0.2,
        _ => 0.12,
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;

    #[test]
    fn every_listed_name_is_a_call_and_is_listed_once() {
        let all: Vec<&str> = [OPTIONAL, PERHAPS, WORK].concat();
        for name in &all {
            assert!(Arch::ALL.iter().any(|arch| arch.call(name).is_ok()), "{name}");
            assert_eq!(all.iter().filter(|other| other == &name).count(), 1, "{name}");
        }
        assert!(hope("read") < hope("kexec_load") && hope("no_such_call") < 0.5);
    }
}
