//! One thing to do in the child before the command runs.

use std::ffi::CString;
use std::os::fd::RawFd;

use callgate_abi::Filter;

/// One set-up step. Its arguments are complete: running it allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `mount(2)`; `flags` are `MS_*`.
    Mount {
        /// What is mounted, or `None`.
        source: Option<CString>,
        /// Where.
        target: CString,
        /// The file system's type, or `None` for binds and remounts.
        kind: Option<CString>,
        /// `MS_*`.
        flags: u64,
        /// Options of the file system.
        data: Option<CString>,
    },
    /// `mount_setattr(2)` (Linux 5.12) on everything that is mounted at and below a path; `set` is
    /// `MOUNT_ATTR_*`. Attributes that a mount has already stay, as a user namespace demands.
    MountAttributes {
        /// Where.
        path: CString,
        /// `MOUNT_ATTR_*`.
        set: u64,
    },
    /// `umount2(2)` with `MNT_DETACH`.
    Detach(CString),
    /// `pivot_root(2)`.
    PivotRoot {
        /// Becomes `/`.
        new: CString,
        /// Where the old root goes, below `new`.
        old: CString,
    },
    /// `chroot(2)`.
    Chroot(CString),
    /// `fchdir(2)` to a directory, then `chroot(2)` there: into one that no path leads to.
    ChrootInto {
        /// The directory, open.
        directory: RawFd,
        /// Its path for whoever opened it, for error messages.
        path: CString,
    },
    /// `chdir(2)`.
    Chdir(CString),
    /// `mkdir(2)`, then `chmod(2)` so that the umask has no say. An existing directory is an error.
    Mkdir {
        /// Where.
        path: CString,
        /// Permissions.
        mode: u32,
    },
    /// Creates a file that must not exist, with these bytes.
    File {
        /// Where.
        path: CString,
        /// Permissions.
        mode: u32,
        /// What is in it.
        bytes: Vec<u8>,
    },
    /// Creates a file that must not exist and copies this many bytes of a descriptor to it, from its start
    /// (`sendfile(2)`). A source that has fewer is an error.
    Copy {
        /// The source, open for reading; its own position is left alone.
        from: RawFd,
        /// How many bytes are copied.
        length: u64,
        /// Where.
        path: CString,
        /// Permissions.
        mode: u32,
    },
    /// `unlink(2)`.
    Remove(CString),
    /// `symlink(2)`.
    Symlink {
        /// Where it points.
        target: CString,
        /// Where it is.
        path: CString,
    },
    /// `sethostname(2)`.
    Hostname(CString),
    /// `dup2(2)`, which clears close-on-exec; for `from == to` the flag is cleared by `fcntl(2)`.
    Dup {
        /// The descriptor that is copied.
        from: RawFd,
        /// The number that it gets.
        to: RawFd,
    },
    /// `close_range(2)` over everything but these. The pipe to the
    /// supervisor stays open until the exec closes it.
    CloseExcept(Vec<RawFd>),
    /// Writes `0` to a cgroup's `tasks` file (cgroups(7), version 1) or `cgroup.procs` (version 2): the calling thread
    /// joins it, its whole process by the latter. Of all ways into a cgroup the former alone takes no lock that waits for
    /// other CPUs.
    JoinCgroup {
        /// That file, open for writing.
        tasks: RawFd,
        /// The cgroup's directory, for error messages.
        path: CString,
    },
    /// `setns(2)` into these namespaces (`CLONE_NEW*`) of a process, all at once (Linux 5.8).
    Enter {
        /// A pidfd of that process.
        process: RawFd,
        /// `CLONE_NEW*`.
        namespaces: u64,
    },
    /// `setns(2)` into namespaces of a thread that is in others than its process, one after another.
    Join {
        /// Its `/proc/PID/task/TID/ns`, open.
        directory: RawFd,
        /// Those of `CLONE_NEWNET`, `CLONE_NEWIPC` and `CLONE_NEWUTS` that are meant.
        namespaces: u64,
    },
    /// `unshare(2)`; `flags` are `CLONE_NEW*`.
    Unshare(u64),
    /// `setsid(2)`: a session without a terminal.
    NewSession,
    /// `kill(2)` of itself with SIGSTOP: a tracer learns here that the steps before are done, and lets it go on without
    /// the signal. Without a tracer it stays stopped.
    Halt,
    /// `umask(2)`.
    Umask(u32),
    /// `prlimit(2)`; the limits are in the resource's unit (bytes, seconds, processes).
    Limit {
        /// `RLIMIT_*`.
        resource: u32,
        /// What the process is held to.
        soft: u64,
        /// How far it may raise that itself.
        hard: u64,
    },
    /// `prctl(PR_SET_PDEATHSIG, SIGKILL)`: end when the parent's thread ends.
    DieWithParent,
    /// `prctl(PR_SET_CHILD_SUBREAPER)`: what its descendants abandon becomes its own.
    Subreaper,
    /// `setgroups(2)` with an empty list.
    NoGroups,
    /// `setresgid(2)`, all three.
    Gid(u32),
    /// `setresuid(2)`, all three; drops the capabilities of a superuser who becomes another.
    Uid(u32),
    /// Becomes another user as [`Step::Uid`] does and keeps these capabilities, a bit for each, over that and over an
    /// exec: they are in all sets then, the ambient one included (capabilities(7)).
    UidWith {
        /// The uid.
        uid: u32,
        /// The capabilities.
        capabilities: u64,
    },
    /// Has these capabilities in effect, and these to be had; the inheritable and the ambient set are empty
    /// (`capset(2)`).
    Capabilities {
        /// The effective set.
        effective: u64,
        /// The permitted set.
        permitted: u64,
    },
    /// Empties the bounding set (`PR_CAPBSET_DROP` for every capability) and the ambient set.
    NoCapabilityBounds,
    /// Takes every capability out of the bounding set but these, a bit for each (capabilities(7)); empties the
    /// ambient set. A superuser's exec gives no others.
    BoundCapabilities(u64),
    /// Empties the permitted, effective and inheritable sets (`capset(2)`).
    NoCapabilities,
    /// `prctl(PR_SET_NO_NEW_PRIVS)`.
    NoNewPrivs,
    /// `landlock_add_rule(2)`: these rights beneath this path.
    LandlockAllow {
        /// The ruleset.
        ruleset: RawFd,
        /// The path, as seen when the step runs.
        path: CString,
        /// `LANDLOCK_ACCESS_FS_*`.
        access: u64,
    },
    /// `landlock_restrict_self(2)`.
    LandlockEnforce {
        /// The ruleset.
        ruleset: RawFd,
    },
    /// Removes a System V IPC object (`IPC_RMID`); one that is gone already is no error.
    RemoveIpc {
        /// Which kind.
        kind: IpcKind,
        /// Its id.
        id: i32,
    },
    /// `seccomp(2)` with `SECCOMP_SET_MODE_FILTER`.
    Seccomp(Filter),
}

/// The kinds of System V IPC object (sysvipc(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpcKind {
    /// Shared memory.
    Memory,
    /// Semaphores.
    Semaphores,
    /// Message queues.
    Messages,
}

impl Step {
    /// The name of the step's system call: what an error message calls the step.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mount { .. } => "mount",
            Self::MountAttributes { .. } => "mount_setattr",
            Self::Detach(_) => "umount2",
            Self::PivotRoot { .. } => "pivot_root",
            Self::Chroot(_) | Self::ChrootInto { .. } => "chroot",
            Self::Chdir(_) => "chdir",
            Self::Mkdir { .. } => "mkdir",
            Self::File { .. } => "open",
            Self::Copy { .. } => "copy",
            Self::Remove(_) => "unlink",
            Self::Symlink { .. } => "symlink",
            Self::Hostname(_) => "sethostname",
            Self::Dup { .. } => "dup2",
            Self::CloseExcept(_) => "close_range",
            Self::JoinCgroup { .. } => "cgroup",
            Self::Enter { .. } | Self::Join { .. } => "setns",
            Self::Unshare(_) => "unshare",
            Self::NewSession => "setsid",
            Self::Halt => "kill",
            Self::Umask(_) => "umask",
            Self::Limit { resource, .. } => match *resource {
                libc::RLIMIT_CORE => "prlimit(RLIMIT_CORE)",
                libc::RLIMIT_CPU => "prlimit(RLIMIT_CPU)",
                libc::RLIMIT_DATA => "prlimit(RLIMIT_DATA)",
                libc::RLIMIT_FSIZE => "prlimit(RLIMIT_FSIZE)",
                libc::RLIMIT_MEMLOCK => "prlimit(RLIMIT_MEMLOCK)",
                libc::RLIMIT_MSGQUEUE => "prlimit(RLIMIT_MSGQUEUE)",
                libc::RLIMIT_NOFILE => "prlimit(RLIMIT_NOFILE)",
                libc::RLIMIT_NPROC => "prlimit(RLIMIT_NPROC)",
                _ => "prlimit",
            },
            Self::DieWithParent => "prctl(PR_SET_PDEATHSIG)",
            Self::Subreaper => "prctl(PR_SET_CHILD_SUBREAPER)",
            Self::NoGroups => "setgroups",
            Self::Gid(_) => "setresgid",
            Self::Uid(_) | Self::UidWith { .. } => "setresuid",
            Self::NoCapabilityBounds | Self::BoundCapabilities(_) => "prctl(PR_CAPBSET_DROP)",
            Self::NoCapabilities | Self::Capabilities { .. } => "capset",
            Self::NoNewPrivs => "prctl(PR_SET_NO_NEW_PRIVS)",
            Self::LandlockAllow { .. } => "landlock_add_rule",
            Self::LandlockEnforce { .. } => "landlock_restrict_self",
            Self::RemoveIpc { kind, .. } => match kind {
                IpcKind::Memory => "shmctl",
                IpcKind::Semaphores => "semctl",
                IpcKind::Messages => "msgctl",
            },
            Self::Seccomp(_) => "seccomp",
        }
    }

    /// The descriptors that it uses.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        match self {
            Self::Dup { from, .. } | Self::Copy { from, .. } => vec![*from],
            Self::JoinCgroup { tasks, .. } => vec![*tasks],
            Self::Enter { process, .. } => vec![*process],
            Self::CloseExcept(keep) => keep.clone(),
            Self::ChrootInto { directory, .. } | Self::Join { directory, .. } => vec![*directory],
            Self::LandlockAllow { ruleset, .. } | Self::LandlockEnforce { ruleset } => vec![*ruleset],
            _ => Vec::new(),
        }
    }

    /// The path or value that the step is about, for error messages.
    pub fn subject(&self) -> Option<String> {
        let text = |c: &CString| c.to_string_lossy().into_owned();
        match self {
            Self::Mount {
                source: Some(source),
                target,
                kind: None,
                ..
            } => Some(format!("{} at {}", text(source), text(target))),
            Self::Mount { target: path, .. }
            | Self::MountAttributes { path, .. }
            | Self::Detach(path)
            | Self::Chroot(path)
            | Self::Chdir(path)
            | Self::Mkdir { path, .. }
            | Self::File { path, .. }
            | Self::Copy { path, .. }
            | Self::Symlink { path, .. }
            | Self::Remove(path)
            | Self::LandlockAllow { path, .. }
            | Self::JoinCgroup { path, .. }
            | Self::ChrootInto { path, .. }
            | Self::PivotRoot { new: path, .. } => Some(text(path)),
            Self::Limit { hard, .. } => Some(hard.to_string()),
            Self::Gid(id) | Self::Uid(id) | Self::UidWith { uid: id, .. } => Some(id.to_string()),
            Self::RemoveIpc { id, .. } => Some(id.to_string()),
            Self::Hostname(name) => Some(text(name)),
            _ => None,
        }
    }
}
