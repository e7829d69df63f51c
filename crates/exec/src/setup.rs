//! What has to be done before the code runs, in which order, and why in that order.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use callgate_launch::{Failure, Init, Step};
use callgate_rootfs::{Entry, Identity, Plan};
use nix::errno::Errno;

use crate::cgroup::Cgroup;
use crate::kernel;
use crate::landlock;
use crate::limits::Limits;
use crate::lock::{Lock, marker_filter};
use crate::mounted;
use crate::outcome::SetUpFailure;
use crate::tier::Tier;

/// The root that a run gets.
pub(crate) enum Ground {
    /// Put together by mounts while the run lasts.
    Planned(Box<Plan>),
    /// A directory that stands.
    Directory(PathBuf),
}

/// The descriptors that the code gets as 0, 1 and 2; `None` for ours.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Everything that decides about the set-up of one run.
pub(crate) struct SetUp<'a> {
    pub(crate) tier: Tier,
    pub(crate) ground: &'a Ground,
    pub(crate) identity: Identity,
    pub(crate) limits: &'a Limits,
    pub(crate) lock: Lock,
    pub(crate) code: Option<RawFd>,
    pub(crate) streams: &'a Streams,
    pub(crate) landlock: Option<&'a landlock::Layer>,
    pub(crate) cgroup: Option<&'a Cgroup>,
}

/// The set-up as steps, with the layers that it makes.
pub(crate) struct Ready {
    pub(crate) init: Init,
    pub(crate) steps: Vec<Step>,
    pub(crate) layers: Vec<String>,
}

/// A path as the kernel takes it. Paths come from the file system or our own text; one with a NUL byte
/// can't exist, and an empty path fails at its step.
pub(crate) fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// An absolute path below another.
pub(crate) fn path_below(base: &str, at: &Path) -> CString {
    path(&Path::new(base).join(at.strip_prefix("/").unwrap_or(at)))
}

/// Text of our own as the kernel takes it.
pub(crate) fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

impl SetUp<'_> {
    /// The set-up in its order.
    pub(crate) fn ready(&self) -> Ready {
        let mut layers = Vec::new();
        let mut init = Init::default();
        let mounts = self.tier != Tier::Container;
        if mounts {
            for (flag, name) in namespaces(self.tier) {
                // That of cgroups comes when the run's own cgroup is joined: it is the root of the view.
                if flag != libc::CLONE_NEWCGROUP as u64 {
                    init.namespaces |= flag;
                }
                layers.push(format!("{name} namespace"));
            }
            init.steps = match self.ground {
                Ground::Planned(plan) => mounted::plan_steps(plan, self.limits),
                Ground::Directory(dir) => mounted::directory_steps(dir, self.limits),
            };
            init.steps.push(Step::Hostname(text("callgate")));
            layers.push("read-only root (pivot_root)".to_owned());
        } else {
            init.sweep = Some(self.identity.uid);
        }
        // The cgroup first of all, so that whatever the set-up uses counts as the run's.
        let mut first = Vec::new();
        if let Some(cgroup) = self.cgroup {
            init.cgroup = cgroup.descriptor();
            first = cgroup.steps();
            layers.push(cgroup.name().to_owned());
        }
        if mounts {
            first.push(Step::Unshare(libc::CLONE_NEWCGROUP as u64));
        }
        // A terminal's signals are the supervisor's business, which ends the run in order: an init that
        // dies of them could not kill the rest.
        first.push(Step::NewSession);
        init.steps.splice(0..0, first);

        // The child. Its session first: a terminal's signals and TIOCSTI are none of its business.
        let mut steps = vec![Step::NewSession];
        let streams = [
            (&self.streams.stdin, 0),
            (&self.streams.stdout, 1),
            (&self.streams.stderr, 2),
        ];
        for (stream, to) in streams {
            if let Some(fd) = stream {
                steps.push(Step::Dup {
                    from: fd.as_raw_fd(),
                    to,
                });
            }
        }
        // The root before the uid: chroot needs a capability that the uid change drops.
        if let (Ground::Directory(dir), false) = (self.ground, mounts) {
            steps.push(Step::Chroot(path(dir)));
            layers.push("chroot".to_owned());
        }
        steps.push(Step::Chdir(text(self.work_directory())));
        steps.push(Step::Umask(0o022));
        steps.extend(self.limits.steps(self.cgroup.is_some(), self.process_limit()));
        layers.push(match self.cgroup {
            Some(_) => "rlimits".to_owned(),
            None => "rlimits (memory and CPU time per process)".to_owned(),
        });
        // The bounding set before the uid: dropping from it needs CAP_SETPCAP.
        steps.push(Step::NoCapabilityBounds);
        if self.tier != Tier::Unprivileged {
            // The groups and the gid before the uid: afterwards neither may be changed.
            steps.extend([
                Step::NoGroups,
                Step::Gid(self.identity.gid),
                Step::Uid(self.identity.uid),
            ]);
        }
        layers.push(format!("uid {}", self.identity.uid));
        // A user namespace's creator has every capability in it, whatever its uid.
        steps.push(Step::NoCapabilities);
        layers.push("no capabilities".to_owned());
        // After the uid change, which clears it (prctl(2), PR_SET_PDEATHSIG).
        steps.push(Step::DieWithParent);
        // Before Landlock and the filters: without capabilities they demand it.
        steps.push(Step::NoNewPrivs);
        layers.push("no_new_privs".to_owned());
        if let Some(layer) = self.landlock {
            let (scratch, devices) = self.writable();
            let scratch: Vec<&Path> = scratch.iter().map(PathBuf::as_path).collect();
            let devices: Vec<&Path> = devices.iter().map(PathBuf::as_path).collect();
            steps.extend(layer.steps(&scratch, &devices));
            layers.push(layer.name());
        }
        // After Landlock, whose ruleset is a descriptor.
        let mut keep = vec![0, 1, 2];
        if let Some(code) = self.code {
            steps.push(Step::Dup { from: code, to: code });
            keep.push(code);
        }
        steps.push(Step::CloseExcept(keep));
        // Last, so that no step is asked about: it lets everything pass but the marker. Without it nobody
        // would answer the marker, and the prelude would refuse to run the code.
        if self.code.is_some() {
            steps.extend(marker_filter().map(Step::Seccomp));
        }
        layers.push(match self.lock {
            Lock::Body => "seccomp from the first line".to_owned(),
            Lock::Exec => "seccomp from the exec".to_owned(),
        });
        Ready { init, steps, layers }
    }

    /// How many processes the run's uid may have, if its own can be told from others.
    fn process_limit(&self) -> Option<u64> {
        let pids = self.limits.pids;
        match (self.tier, self.cgroup) {
            // The cgroup is to refuse first, because it counts how often it did.
            (Tier::Full | Tier::Container, Some(_)) => Some(pids + 1),
            (Tier::Full | Tier::Container, None) => Some(pids),
            // A user namespace counts its own processes, and the init is one of them (Linux 5.14). Before,
            // all processes of the user counted.
            (Tier::Unprivileged, _) => kernel::at_least(5, 14).then_some(pids + 1),
        }
    }

    /// Where the code starts: the scratch directory, if the root has one.
    fn work_directory(&self) -> &'static str {
        let (scratch, _) = self.writable();
        if scratch.iter().any(|at| at == Path::new(Identity::HOME)) {
            Identity::HOME
        } else {
            "/"
        }
    }

    /// The scratch directories and devices of the root, as seen in it.
    fn writable(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        match self.ground {
            Ground::Planned(plan) => {
                let of = |wanted: fn(&Entry) -> bool| {
                    plan.iter()
                        .filter(|(_, e)| wanted(e))
                        .map(|(at, _)| at.to_path_buf())
                        .collect()
                };
                (
                    of(|e| matches!(e, Entry::Tmp)),
                    of(|e| matches!(e, Entry::Device(_))),
                )
            }
            Ground::Directory(dir) => {
                let devices = callgate_rootfs::Device::ALL.map(|d| Path::new("/dev").join(d.name()));
                let there = |at: &PathBuf| dir.join(at.strip_prefix("/").unwrap_or(at)).exists();
                (
                    mounted::scratch_of(dir),
                    devices.into_iter().filter(there).collect(),
                )
            }
        }
    }
}

/// The namespaces of a tier.
pub(crate) fn namespaces(tier: Tier) -> Vec<(u64, &'static str)> {
    let mut all = vec![
        (libc::CLONE_NEWNS, "mount"),
        (libc::CLONE_NEWPID, "pid"),
        (libc::CLONE_NEWNET, "network"),
        (libc::CLONE_NEWIPC, "ipc"),
        (libc::CLONE_NEWUTS, "uts"),
        (libc::CLONE_NEWCGROUP, "cgroup"),
    ];
    match tier {
        Tier::Full => {}
        Tier::Container => all.clear(),
        Tier::Unprivileged => all.insert(0, (libc::CLONE_NEWUSER, "user")),
    }
    all.into_iter().map(|(flag, name)| (flag as u64, name)).collect()
}

/// A failed step as the user should see it.
pub(crate) fn explain(failure: &Failure) -> SetUpFailure {
    let errno = Errno::from_raw(failure.errno);
    let error = match &failure.subject {
        Some(subject) => format!("{subject}: {errno}"),
        None => errno.to_string(),
    };
    SetUpFailure {
        step: failure.step.to_owned(),
        error,
        advice: advice(failure.step, errno),
    }
}

/// What to do about a step that was refused.
pub(crate) fn advice(step: &str, errno: Errno) -> Option<String> {
    let refused = matches!(errno, Errno::EPERM | Errno::EACCES);
    let advice = match step {
        "clone" | "unshare" | "mount" | "pivot_root" | "mount_setattr" | "umount2" if refused => {
            "namespaces and mounts need CAP_SYS_ADMIN, or user namespaces that are open to ordinary users \
             (kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0); in Docker, \
             add --cap-add SYS_ADMIN, or use --tier container"
        }
        "mount_setattr" if errno == Errno::ENOSYS => {
            "mount_setattr needs Linux 5.12; use --tier container on older kernels"
        }
        "cgroup" => {
            "tier full needs a cgroup file system that is mounted and can be written to, with the controllers of \
             memory and pids: in Docker, --cgroupns=private with a writable /sys/fs/cgroup; in a systemd service, \
             Delegate=yes and DelegateSubgroup=; or use --tier auto, which does without and says so"
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
        "execve" if errno == Errno::ENOENT => {
            "the program or its loader is not in the root: `callgate root check` lists what is missing"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}
