//! What libc calls on the other architecture where a name does not exist there.
//!
//! arm64 came late and was given no call that a newer one replaces, so 58 of amd64's names are missing
//! there; amd64 has every name of arm64. What glibc calls instead is from its generic Linux sources
//! (sysdeps/unix/sysv/linux, 2.36).

use callgate_abi::{Arch, Syscall};

/// What stands for a call on another architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivalent {
    /// Whether the other architecture has a call of the same name.
    pub same: bool,
    /// The calls there: the one of the same name, or those that libc makes in its place, the likeliest
    /// first; empty where none is needed or possible.
    pub calls: Vec<Syscall>,
    /// What is not exact about it, or why there is none.
    pub note: Option<&'static str>,
}

/// amd64's name, the names that libc uses on arm64, and a note.
type Row = (&'static str, &'static [&'static str], Option<&'static str>);

const AT_FORM: Option<&str> =
    Some("the *at form: a directory descriptor comes first, the other arguments shift by one");
const REMOVED: Option<&str> = Some("no longer in the kernel");
const NEVER: Option<&str> = Some("never implemented in the kernel");
const X86_ONLY: Option<&str> = Some("x86 hardware only");

/// By amd64's numbers.
const AMD64_ONLY: [Row; 58] = [
    ("open", &["openat"], AT_FORM),
    ("stat", &["newfstatat"], AT_FORM),
    ("lstat", &["newfstatat"], AT_FORM),
    ("poll", &["ppoll"], Some("the timeout is a pointer")),
    ("access", &["faccessat"], AT_FORM),
    ("pipe", &["pipe2"], None),
    (
        "select",
        &["pselect6"],
        Some("the timeout is a timespec, and a signal mask follows it"),
    ),
    (
        "dup2",
        &["dup3"],
        Some("a descriptor duplicated onto itself is asked by fcntl instead"),
    ),
    ("pause", &["ppoll"], Some("without descriptors and timeout")),
    ("alarm", &["setitimer"], None),
    ("fork", &["clone"], Some("with SIGCHLD alone")),
    ("vfork", &["clone"], Some("with CLONE_VM and CLONE_VFORK")),
    ("getdents", &["getdents64"], None),
    ("rename", &["renameat", "renameat2"], AT_FORM),
    ("mkdir", &["mkdirat"], AT_FORM),
    ("rmdir", &["unlinkat"], Some("with AT_REMOVEDIR")),
    ("creat", &["openat"], Some("with O_CREAT, O_WRONLY and O_TRUNC")),
    ("link", &["linkat"], AT_FORM),
    ("unlink", &["unlinkat"], AT_FORM),
    (
        "symlink",
        &["symlinkat"],
        Some("the directory descriptor stands between the two paths"),
    ),
    ("readlink", &["readlinkat"], AT_FORM),
    ("chmod", &["fchmodat"], AT_FORM),
    ("chown", &["fchownat"], AT_FORM),
    ("lchown", &["fchownat"], Some("with AT_SYMLINK_NOFOLLOW")),
    ("getpgrp", &["getpgid"], Some("with 0")),
    ("utime", &["utimensat"], AT_FORM),
    ("mknod", &["mknodat"], AT_FORM),
    ("uselib", &[], Some("shared libraries of the a.out format only")),
    ("ustat", &[], Some("glibc has dropped it; statfs tells the same")),
    ("sysfs", &[], Some("obsolete; /proc/filesystems tells the same")),
    ("modify_ldt", &[], X86_ONLY),
    ("_sysctl", &[], REMOVED),
    (
        "arch_prctl",
        &[],
        Some("arm64 sets its thread register without a call"),
    ),
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
    (
        "time",
        &["clock_gettime"],
        Some("mostly answered by the vDSO, without a call"),
    ),
    ("set_thread_area", &[], X86_ONLY),
    ("get_thread_area", &[], X86_ONLY),
    (
        "epoll_create",
        &["epoll_create1"],
        Some("flags stand in place of the size"),
    ),
    ("epoll_ctl_old", &[], NEVER),
    ("epoll_wait_old", &[], NEVER),
    ("epoll_wait", &["epoll_pwait"], Some("a signal mask follows")),
    ("utimes", &["utimensat"], AT_FORM),
    ("vserver", &[], NEVER),
    ("inotify_init", &["inotify_init1"], None),
    ("futimesat", &["utimensat"], None),
    ("signalfd", &["signalfd4"], None),
    ("eventfd", &["eventfd2"], None),
    ("uretprobe", &[], Some("the kernel makes it on amd64 only")),
    ("uprobe", &[], Some("the kernel makes it on amd64 only")),
];

/// What stands for `call` on `to`. For calls through compatibility entries and numbers without a name
/// there is nothing, and the note says so.
pub fn equivalents(call: Syscall, to: Arch) -> Equivalent {
    let none = |note| Equivalent {
        same: false,
        calls: Vec::new(),
        note: Some(note),
    };
    let Some(from) = call.arch() else {
        return none("a call through a compatibility entry: 64-bit arm64 and amd64 code has other numbers");
    };
    if from == to {
        return Equivalent {
            same: true,
            calls: vec![call],
            note: None,
        };
    }
    let Some(name) = call.known_name() else {
        return none("a number without a name: it may mean another call there");
    };
    if let Ok(there) = to.call(name) {
        return Equivalent {
            same: true,
            calls: vec![there],
            note: None,
        };
    }
    match AMD64_ONLY.iter().find(|(missing, ..)| *missing == name) {
        Some((_, names, note)) => {
            let calls = names.iter().filter_map(|name| to.call(name).ok()).collect();
            Equivalent {
                same: false,
                calls,
                note: *note,
            }
        }
        None => none("callgate knows of no equivalent"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_on_the_other_architecture_or_in_the_table() {
        for (from, to) in [(Arch::X86_64, Arch::Aarch64), (Arch::Aarch64, Arch::X86_64)] {
            for call in from.calls() {
                let found = equivalents(call, to);
                let explained = AMD64_ONLY.iter().any(|(name, ..)| *name == call.name());
                assert_eq!(found.same, to.call(&call.name()).is_ok(), "{call}");
                assert!(found.same != explained, "{call}: {found:?}");
                assert!(
                    !found.calls.is_empty() || found.note.is_some(),
                    "{call} disappears silently"
                );
            }
        }
    }

    #[test]
    fn every_row_of_the_table_names_calls_that_arm64_has_and_amd64_has_too() {
        for (name, there, _) in AMD64_ONLY {
            assert!(
                Arch::X86_64.call(name).is_ok() && Arch::Aarch64.call(name).is_err(),
                "{name}"
            );
            assert!(
                there
                    .iter()
                    .all(|n| Arch::ALL.iter().all(|arch| arch.call(n).is_ok())),
                "{name}"
            );
        }
        assert!(
            AMD64_ONLY
                .iter()
                .map(|(name, ..)| Arch::X86_64.call(name).unwrap().nr())
                .is_sorted()
        );
    }

    #[test]
    fn open_becomes_openat_and_an_i386_call_becomes_nothing() {
        let open = Arch::X86_64.call("open").unwrap();
        assert_eq!(
            equivalents(open, Arch::Aarch64).calls,
            [Arch::Aarch64.call("openat").unwrap()]
        );
        let i386 = Syscall::new(callgate_abi::Abi::I386, 5);
        assert!(equivalents(i386, Arch::X86_64).calls.is_empty());
        assert!(
            equivalents(Syscall::new(callgate_abi::Abi::X86_64, 999), Arch::Aarch64)
                .calls
                .is_empty()
        );
    }
}
