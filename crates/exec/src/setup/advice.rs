//! A step that failed, and what to do about it.

use callgate_launch::Failure;
use nix::errno::Errno;

use crate::inherited;
use crate::outcome::SetUpFailure;

/// A failed step as the user should see it.
pub(crate) fn explain(failure: &Failure) -> SetUpFailure {
    let errno = Errno::from_raw(failure.errno);
    let error = match &failure.subject {
        Some(subject) => format!("{subject}: {errno}"),
        None => errno.to_string(),
    };
    let asked = failure.subject.as_ref().and_then(|subject| subject.parse().ok());
    let limit = asked.and_then(|asked| inherited::advice(failure.step, asked));
    SetUpFailure {
        step: failure.step.to_owned(),
        error,
        advice: limit.or_else(|| advice(failure.step, errno)),
    }
}

/// What to do about a step that was refused.
pub(crate) fn advice(step: &str, errno: Errno) -> Option<String> {
    let refused = matches!(errno, Errno::EPERM | Errno::EACCES);
    let advice = match step {
        "clone" | "unshare" | "setns" | "mount" | "pivot_root" | "mount_setattr" | "umount2" if refused => {
            "namespaces and mounts need CAP_SYS_ADMIN, or user namespaces that are open to ordinary users \
             (kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0); in Docker, \
             add --cap-add SYS_ADMIN, or use --tier container"
        }
        "mount_setattr" if errno == Errno::ENOSYS => {
            "mount_setattr needs Linux 5.12; use --tier container on older kernels"
        }
        "cgroup" => {
            "tier full needs a cgroup file system that is mounted and can be written to, with the controllers of \
             memory and pids: in Docker, --cgroupns=private with a writable /sys/fs/cgroup, whose own processes are \
             moved into a cgroup below it first (cgroups(7), no internal processes); in a systemd service, Delegate=yes \
             and DelegateSubgroup=; or use --tier auto, which does without and says so"
        }
        "chroot" if refused => "chroot needs CAP_SYS_CHROOT: in Docker, don't drop it (--cap-add SYS_CHROOT)",
        "setresuid" | "setresgid" | "setgroups" if refused => {
            "changing the uid needs CAP_SETUID and CAP_SETGID: in Docker, add --cap-add SETUID --cap-add SETGID"
        }
        "setresuid" | "setresgid" if errno == Errno::EINVAL => {
            "this uid is not mapped in the user namespace that callgate runs in: map 65536 ids or more (/etc/subuid)"
        }
        "setresuid" if errno == Errno::EAGAIN => {
            "too many processes run under this uid (RLIMIT_NPROC): wait for other runs to end"
        }
        "prctl(PR_CAPBSET_DROP)" if refused => {
            "emptying the capability bounding set needs CAP_SETPCAP: in Docker, add --cap-add SETPCAP"
        }
        "seccomp" if matches!(errno, Errno::ENOSYS | Errno::EINVAL) => {
            "the kernel must be built with CONFIG_SECCOMP_FILTER"
        }
        "prctl(PR_SET_NO_NEW_PRIVS)" | "seccomp" => {
            "an outer sandbox refuses it: in Docker, run with a seccomp profile that allows prctl and seccomp \
             (--security-opt seccomp=…)"
        }
        "pidfd_open" => {
            "without it the time limit could not be kept: allow pidfd_open and pidfd_send_signal (Linux 5.3) in \
             the outer sandbox"
        }
        "landlock_restrict_self" | "landlock_add_rule" => {
            "an outer sandbox refuses Landlock: allow landlock_create_ruleset, landlock_add_rule and \
             landlock_restrict_self in it"
        }
        "copy" if errno == Errno::ENOSPC => {
            "there is no room for the file in the work directory: raise --tmp-size"
        }
        "copy" if errno == Errno::EEXIST => {
            "the root has something of that name there: bring it in under another"
        }
        "copy" if errno == Errno::ENODATA => {
            "it became shorter meanwhile: bring in a file that nobody writes to"
        }
        "execve" if errno == Errno::ENOENT => {
            "the program or its loader is not in the root: `callgate root check` lists what is missing"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}
