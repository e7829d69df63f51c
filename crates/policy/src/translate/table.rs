//! What libc calls on arm64 for each name that amd64 alone has, argument by argument.
//!
//! arm64 came late and was given no call that a newer one replaces, so 58 of amd64's names are missing
//! there; amd64 has every name of arm64. What glibc calls instead is from its generic Linux sources
//! (sysdeps/unix/sysv/linux, 2.36).

use callgate_abi::Arch;

/// Where an argument of the counterpart comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The same value as this argument of the original.
    Arg(u8),
    /// The same flags of open(2), some of which have other bits on the other architecture.
    Flags(u8),
    /// Always this value (32 bits).
    Const(u64),
    /// Something that can't be told: another type, or a pointer to it.
    Other,
}

use Slot::{Arg, Const, Flags, Other};

/// A call that libc makes in the place of another one, with its arguments.
pub(crate) type Target = (&'static str, &'static [Slot]);

/// amd64's name, the calls that libc makes on arm64 (the likeliest first), and a note.
pub(crate) type Row = (&'static str, &'static [Target], Option<&'static str>);

/// `AT_FDCWD` (-100) as 32 bits.
const CWD: Slot = Const(0xffff_ff9c);
const NONE: Slot = Const(0);
const AT_SYMLINK_NOFOLLOW: Slot = Const(0x100);
const AT_REMOVEDIR: Slot = Const(0x200);
/// `O_WRONLY|O_CREAT|O_TRUNC`, the same on both.
const CREAT: Slot = Const(0o1101);
/// `CLONE_CHILD_SETTID|CLONE_CHILD_CLEARTID|SIGCHLD`, as glibc's fork has it.
const FORK: Slot = Const(0x0120_0011);
/// `CLONE_VM|CLONE_VFORK|SIGCHLD`.
const VFORK: Slot = Const(0x4111);

const AT_FORM: Option<&str> =
    Some("the *at form: a directory descriptor comes first, the other arguments shift by one");
const REMOVED: Option<&str> = Some("no longer in the kernel");
const NEVER: Option<&str> = Some("never implemented in the kernel");
const X86_ONLY: Option<&str> = Some("x86 hardware only");

/// By amd64's numbers.
#[rustfmt::skip]
pub(crate) const AMD64_ONLY: [Row; 58] = [
    ("open", &[("openat", &[CWD, Arg(0), Flags(1), Arg(2)])], AT_FORM),
    ("stat", &[("newfstatat", &[CWD, Arg(0), Arg(1), NONE])], AT_FORM),
    ("lstat", &[("newfstatat", &[CWD, Arg(0), Arg(1), AT_SYMLINK_NOFOLLOW])], AT_FORM),
    ("poll", &[("ppoll", &[Arg(0), Arg(1), Other, NONE])], Some("the timeout is a pointer")),
    ("access", &[("faccessat", &[CWD, Arg(0), Arg(1)])], AT_FORM),
    ("pipe", &[("pipe2", &[Arg(0), NONE])], None),
    ("select", &[("pselect6", &[Arg(0), Arg(1), Arg(2), Arg(3), Other, Other])],
        Some("the timeout is a timespec, and a signal mask follows it")),
    ("dup2", &[("dup3", &[Arg(0), Arg(1), NONE])],
        Some("a descriptor duplicated onto itself is asked by fcntl instead")),
    ("pause", &[("ppoll", &[NONE, NONE, NONE, NONE])], Some("without descriptors and timeout")),
    ("alarm", &[("setitimer", &[NONE, Other, Other])], None),
    ("fork", &[("clone", &[FORK, NONE])], Some("with SIGCHLD alone")),
    ("vfork", &[("clone", &[VFORK, NONE])], Some("with CLONE_VM and CLONE_VFORK")),
    ("getdents", &[("getdents64", &[Arg(0), Arg(1), Arg(2)])], None),
    ("rename", &[("renameat", &[CWD, Arg(0), CWD, Arg(1)]), ("renameat2", &[CWD, Arg(0), CWD, Arg(1), NONE])],
        AT_FORM),
    ("mkdir", &[("mkdirat", &[CWD, Arg(0), Arg(1)])], AT_FORM),
    ("rmdir", &[("unlinkat", &[CWD, Arg(0), AT_REMOVEDIR])], Some("with AT_REMOVEDIR")),
    ("creat", &[("openat", &[CWD, Arg(0), CREAT, Arg(1)])], Some("with O_CREAT, O_WRONLY and O_TRUNC")),
    ("link", &[("linkat", &[CWD, Arg(0), CWD, Arg(1), NONE])], AT_FORM),
    ("unlink", &[("unlinkat", &[CWD, Arg(0), NONE])], AT_FORM),
    ("symlink", &[("symlinkat", &[Arg(0), CWD, Arg(1)])],
        Some("the directory descriptor stands between the two paths")),
    ("readlink", &[("readlinkat", &[CWD, Arg(0), Arg(1), Arg(2)])], AT_FORM),
    ("chmod", &[("fchmodat", &[CWD, Arg(0), Arg(1)])], AT_FORM),
    ("chown", &[("fchownat", &[CWD, Arg(0), Arg(1), Arg(2), NONE])], AT_FORM),
    ("lchown", &[("fchownat", &[CWD, Arg(0), Arg(1), Arg(2), AT_SYMLINK_NOFOLLOW])],
        Some("with AT_SYMLINK_NOFOLLOW")),
    ("getpgrp", &[("getpgid", &[NONE])], Some("with 0")),
    ("utime", &[("utimensat", &[CWD, Arg(0), Other, NONE])], AT_FORM),
    ("mknod", &[("mknodat", &[CWD, Arg(0), Arg(1), Arg(2)])], AT_FORM),
    ("uselib", &[], Some("shared libraries of the a.out format only")),
    ("ustat", &[], Some("glibc has dropped it; statfs tells the same")),
    ("sysfs", &[], Some("obsolete; /proc/filesystems tells the same")),
    ("modify_ldt", &[], X86_ONLY),
    ("_sysctl", &[], REMOVED),
    ("arch_prctl", &[], Some("arm64 sets its thread register without a call")),
    ("iopl", &[], X86_ONLY),
    ("ioperm", &[], X86_ONLY),
    ("create_module", &[], REMOVED),
    ("get_kernel_syms", &[], REMOVED),
    ("query_module", &[], REMOVED),
    ("getpmsg", &[], NEVER),
    ("putpmsg", &[], NEVER),
    ("afs_syscall", &[], NEVER),
    ("tuxcall", &[], NEVER),
    ("security", &[], NEVER),
    ("time", &[("clock_gettime", &[Other, Other])], Some("mostly answered by the vDSO, without a call")),
    ("set_thread_area", &[], X86_ONLY),
    ("get_thread_area", &[], X86_ONLY),
    ("epoll_create", &[("epoll_create1", &[NONE])], Some("flags stand in place of the size")),
    ("epoll_ctl_old", &[], NEVER),
    ("epoll_wait_old", &[], NEVER),
    ("epoll_wait", &[("epoll_pwait", &[Arg(0), Arg(1), Arg(2), Arg(3), NONE])], Some("a signal mask follows")),
    ("utimes", &[("utimensat", &[CWD, Arg(0), Other, NONE])], AT_FORM),
    ("vserver", &[], NEVER),
    ("inotify_init", &[("inotify_init1", &[NONE])], None),
    ("futimesat", &[("utimensat", &[Arg(0), Arg(1), Other, NONE])], None),
    ("signalfd", &[("signalfd4", &[Arg(0), Arg(1), Arg(2), NONE])], None),
    ("eventfd", &[("eventfd2", &[Arg(0), NONE])], None),
    ("uretprobe", &[], Some("the kernel makes it on amd64 only")),
    ("uprobe", &[], Some("the kernel makes it on amd64 only")),
];

/// Every argument where it was.
pub(crate) const SAME: &[Slot] = &[Arg(0), Arg(1), Arg(2), Arg(3), Arg(4), Arg(5)];

/// How the arguments of a call stand under its own name on the other architecture.
pub(crate) fn same_name(name: &str) -> &'static [Slot] {
    match name {
        // amd64: flags, stack, parent_tid, child_tid, tls; arm64 has the last two the other way round.
        "clone" => &[Arg(0), Arg(1), Arg(2), Arg(4), Arg(3)],
        "open" => &[Arg(0), Flags(1), Arg(2), Arg(3), Arg(4), Arg(5)],
        "openat" | "open_by_handle_at" => &[Arg(0), Arg(1), Flags(2), Arg(3), Arg(4), Arg(5)],
        "pipe2" => &[Arg(0), Flags(1)],
        // The third argument is flags of open for F_SETFL and other things for other commands.
        "fcntl" => &[Arg(0), Arg(1), Other],
        // Codes and structures of one machine.
        "ptrace" => &[Arg(0), Arg(1), Other, Other],
        _ => SAME,
    }
}

/// Flags of open under the other architecture's bits: arm64 has `O_DIRECTORY` and `O_NOFOLLOW` where amd64
/// has `O_DIRECT` and `O_LARGEFILE`, and the other way round.
pub(crate) fn other_flags(flags: u64) -> u64 {
    const LOW: u64 = 0o140_000;
    const HIGH: u64 = LOW << 2;
    flags & !(LOW | HIGH) | (flags & LOW) << 2 | (flags & HIGH) >> 2
}

/// The note on an older name that libc on amd64 may call in the place of one that both have.
pub(crate) const GUESS: &str = "a guess: on amd64, libc may call this older name";

/// The names that libc on amd64 may call where arm64's calls this one, each with its row.
pub(crate) fn older_names(name: &str, on: Arch) -> impl Iterator<Item = (&'static str, &'static [Slot])> {
    let wanted = name.to_owned();
    AMD64_ONLY
        .iter()
        .filter(move |_| on == Arch::X86_64)
        .flat_map(|(older, targets, _)| targets.iter().map(move |(there, slots)| (*older, *there, *slots)))
        .filter(move |(_, there, _)| *there == wanted)
        .map(|(older, _, slots)| (older, slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_calls_that_arm64_has_and_amd64_has_too() {
        for (name, there, note) in AMD64_ONLY {
            assert!(
                Arch::X86_64.call(name).is_ok() && Arch::Aarch64.call(name).is_err(),
                "{name}"
            );
            assert!(
                there
                    .iter()
                    .all(|(n, _)| Arch::ALL.iter().all(|arch| arch.call(n).is_ok())),
                "{name}"
            );
            assert!(!there.is_empty() || note.is_some(), "{name} disappears silently");
        }
        assert!(
            AMD64_ONLY
                .iter()
                .map(|(name, ..)| Arch::X86_64.call(name).unwrap().nr())
                .is_sorted()
        );
    }

    #[test]
    fn flags_of_open_change_their_bits_there_and_back() {
        // O_DIRECTORY|O_CLOEXEC, O_NOFOLLOW, O_DIRECT, O_LARGEFILE.
        for (amd64, arm64) in [
            (0o2_200_000, 0o2_040_000),
            (0o400_000, 0o100_000),
            (0o40_000, 0o200_000),
            (0o100_000, 0o400_000),
            (0o1101, 0o1101),
        ] {
            assert_eq!((other_flags(amd64), other_flags(arm64)), (arm64, amd64));
        }
    }
}
