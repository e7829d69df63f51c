//! Calls that open a sandbox: why, and a flaw that was used through them where one is certain.
//!
//! A CVE stands here only if the call itself is the way to the flaw. The kernel's mend does not lower the
//! risk: the next flaw in the same place is the reason to keep the call closed.

use std::fmt;

use serde::Serialize;

/// How much an open call weakens a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Weakens the sandbox, or breaks programs in it.
    Warning,
    /// Opens the sandbox.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Why a call is dangerous in the hands of code that is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Risk {
    /// How much.
    pub severity: Severity,
    /// Why, in one sentence.
    pub reason: &'static str,
    /// A flaw that was used through this call.
    pub cve: Option<&'static str>,
}

type Row = (
    &'static [&'static str],
    Severity,
    &'static str,
    Option<&'static str>,
);

use Severity::{Error, Note, Warning};

const TABLE: &[Row] = &[
    (
        &["ptrace"],
        Error,
        "controls other processes of the same user, the ones outside the filter among them",
        Some("CVE-2019-13272"),
    ),
    (
        &[
            "process_vm_readv",
            "process_vm_writev",
            "process_madvise",
            "pidfd_getfd",
            "kcmp",
        ],
        Error,
        "reaches into the memory or the descriptors of other processes of the same user",
        None,
    ),
    (
        &["bpf"],
        Error,
        "loads programs into the kernel; its verifier has been passed by wrong programs again and again",
        Some("CVE-2021-3490"),
    ),
    (
        &["io_uring_setup", "io_uring_enter", "io_uring_register"],
        Error,
        "makes calls that no seccomp filter sees, and has a long record of kernel flaws",
        Some("CVE-2022-2602"),
    ),
    (
        &["userfaultfd"],
        Error,
        "stops the kernel in the middle of a copy, which makes races in it easy to win",
        None,
    ),
    (
        &["keyctl", "add_key", "request_key"],
        Error,
        "the kernel's keys are not separated by namespaces, and survive a run",
        Some("CVE-2016-0728"),
    ),
    (
        &[
            "mount",
            "umount2",
            "pivot_root",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "fsmount",
            "fspick",
            "mount_setattr",
        ],
        Error,
        "changes what paths mean, and parses file systems in the kernel",
        None,
    ),
    (
        &["fsopen", "fsconfig"],
        Error,
        "sets up file systems, whose parameters the kernel parses",
        Some("CVE-2022-0185"),
    ),
    (
        &["unshare"],
        Error,
        "gives capabilities in new namespaces, and with them most of the kernel's attack surface",
        Some("CVE-2022-0185"),
    ),
    (
        &["setns"],
        Error,
        "enters the namespaces of other processes",
        None,
    ),
    (
        &["chroot"],
        Error,
        "changes the root, which a privileged process can leave by it",
        None,
    ),
    (
        &["open_by_handle_at"],
        Error,
        "opens any file of a file system by its handle, past the root (needs CAP_DAC_READ_SEARCH)",
        Some("CVE-2014-3519"),
    ),
    (
        &["perf_event_open"],
        Error,
        "a large interface with many kernel flaws",
        Some("CVE-2013-2094"),
    ),
    (
        &[
            "kexec_load",
            "kexec_file_load",
            "init_module",
            "finit_module",
            "delete_module",
            "create_module",
            "reboot",
        ],
        Error,
        "replaces the kernel or puts code into it, or ends it (needs privileges)",
        None,
    ),
    (
        &["iopl", "ioperm"],
        Error,
        "gives access to hardware ports (needs privileges)",
        None,
    ),
    (
        &[
            "swapon",
            "swapoff",
            "acct",
            "quotactl",
            "quotactl_fd",
            "settimeofday",
            "clock_settime",
            "adjtimex",
            "clock_adjtime",
            "sethostname",
            "setdomainname",
            "vhangup",
        ],
        Warning,
        "changes the machine for everyone (needs privileges)",
        None,
    ),
    (
        &["syslog"],
        Warning,
        "shows the kernel's messages, addresses among them",
        None,
    ),
    (
        &["personality"],
        Warning,
        "switches address randomisation off, and old compatibility modes on",
        None,
    ),
    (
        &["modify_ldt"],
        Warning,
        "changes segment descriptors, a source of kernel flaws on x86",
        None,
    ),
    (
        &["vmsplice"],
        Warning,
        "maps the caller's memory into pipes, which has let files be overwritten",
        Some("CVE-2008-0600"),
    ),
    (
        &["splice", "tee"],
        Note,
        "shares pages between pipes and files; a flaw in it let read-only files be overwritten",
        Some("CVE-2022-0847"),
    ),
    (
        &["fanotify_init", "fanotify_mark"],
        Warning,
        "watches and may block file access of other processes",
        None,
    ),
    (
        &["name_to_handle_at"],
        Note,
        "gives the handles that open_by_handle_at takes",
        None,
    ),
    (
        &["clone", "clone3"],
        Note,
        "makes namespaces by its flags; those of clone3 lie in memory, where no filter can read them",
        None,
    ),
    (
        &["execve", "execveat"],
        Note,
        "runs any program that the root has",
        None,
    ),
    (
        &["memfd_create"],
        Note,
        "with execveat, runs code that is in no file",
        None,
    ),
    (
        &["seccomp"],
        Note,
        "loads further filters, which can only tighten; a listener answers calls",
        None,
    ),
    (
        &["socket"],
        Note,
        "opens whatever family the kernel has: allow it for the families that are needed",
        None,
    ),
    (
        &["ioctl"],
        Note,
        "what it does depends on the device; TIOCSTI puts input into a terminal",
        Some("CVE-2017-5226"),
    ),
    (
        &["mmap", "mprotect", "pkey_mprotect", "shmat"],
        Note,
        "can make memory writable and executable at once",
        None,
    ),
    (
        &["prctl"],
        Note,
        "its options range from thread names to PR_SET_MM",
        None,
    ),
    (
        &[
            "kill",
            "tkill",
            "tgkill",
            "pidfd_send_signal",
            "rt_sigqueueinfo",
            "rt_tgsigqueueinfo",
        ],
        Note,
        "reaches every process of the same user that the pid namespace shows",
        None,
    ),
];

/// The risk of the call of that name; `None` where none is known.
pub fn risk(name: &str) -> Option<Risk> {
    let (_, severity, reason, cve) = TABLE.iter().find(|(names, ..)| names.contains(&name))?;
    Some(Risk {
        severity: *severity,
        reason,
        cve: *cve,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arch;

    #[test]
    fn the_table_names_calls_that_linux_has_each_once() {
        let mut seen = std::collections::BTreeSet::new();
        for name in TABLE.iter().flat_map(|(names, ..)| *names) {
            assert!(Arch::ALL.iter().any(|arch| arch.call(name).is_ok()), "{name}");
            assert!(seen.insert(name), "{name} twice");
        }
    }

    #[test]
    fn what_opens_a_sandbox_is_an_error_and_reading_is_no_risk() {
        for name in [
            "ptrace",
            "bpf",
            "io_uring_setup",
            "unshare",
            "mount",
            "kexec_load",
            "userfaultfd",
        ] {
            assert_eq!(risk(name).unwrap().severity, Severity::Error, "{name}");
        }
        assert_eq!(risk("read"), None);
        assert!(Severity::Error > Severity::Warning && Severity::Warning > Severity::Note);
    }
}
