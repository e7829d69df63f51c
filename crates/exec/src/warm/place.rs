//! What a fork of a template goes into: namespaces that an init keeps, or where there are none, a directory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use callgate_launch::Nursery;
use callgate_python::template;
use callgate_tracee::{Options, Stopper, Tracer};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

use super::generation::{BESIDE, Generation, failure};
use super::seat::Way;
use crate::attend::tracing;
use crate::ground::Prepared;
use crate::outcome::SetUpFailure;
use crate::run::system;
use crate::setup::{Ground, explain, namespaces};
use crate::sys;
use crate::tier::Tier;
use crate::uid;

/// A place for one fork.
pub(super) enum Place {
    /// The namespaces of an init, which is traced.
    Inside {
        init: Anchor,
        handle: Stopper,
        tracer: Tracer,
        namespaces: u64,
    },
    /// The directory that becomes its root.
    Beside { directory: OwnedFd },
}

/// A process of ours with which all of a bed ends, by its number: it has not been waited for.
pub(super) struct Anchor {
    pid: Pid,
    pub(super) over: bool,
}

impl Anchor {
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // Where it has none of its own, it is itself what is waited for.
        let inside = namespace(self.pid).filter(|inside| namespace(Pid::this()).as_ref() != Some(inside));
        let _ = kill(self.pid, Signal::SIGKILL);
        // An init ends when all in its namespace have been waited for, of which some are our tracees.
        let all = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
        loop {
            match waitpid(None, Some(all)) {
                Ok(WaitStatus::StillAlive) => {
                    bury(inside.as_deref());
                    thread::sleep(SOON);
                }
                Ok(status) => let_go(status),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// One that stops on its way must go on to its end; nothing of a bed may outlive it.
fn let_go(status: WaitStatus) {
    if let WaitStatus::PtraceEvent(pid, ..) | WaitStatus::Stopped(pid, _) = status {
        let _ = kill(pid, Signal::SIGKILL);
        let _ = ptrace::cont(pid, None);
    }
}

/// How long is waited until it is looked again whether an init has ended.
const SOON: Duration = Duration::from_millis(1);

/// Waits for what has ended in this namespace and is ours since its template has ended: a fork that was not attached
/// to yet.
fn bury(namespace: Option<&Path>) {
    let Some(inside) = namespace else { return };
    for pid in adopted() {
        if self::namespace(pid).as_deref() != Some(inside) {
            continue;
        }
        // A tracee of ours is adopted, too, and may tell here that it has stopped: nobody is told that twice.
        if let Ok(status) = waitpid(pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG)) {
            let_go(status);
        }
    }
}

/// Where there are no namespaces: waits for what has ended, has the uid of a run or a template, and has no tracer, who
/// would wait for it. It is a fork whose template ended before anybody attached to it.
fn bury_forks() {
    for pid in adopted() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let uid = line("Uid:").and_then(|ids| ids.split_whitespace().next()?.parse().ok());
        let over = line("State:").is_some_and(|state| state.starts_with('Z'));
        if over && line("TracerPid:") == Some("0") && uid.is_some_and(|uid| uid::RANGE.contains(&uid)) {
            let _ = waitpid(pid, Some(WaitPidFlag::__WALL | WaitPidFlag::WNOHANG));
        }
    }
}

/// What has become ours by its parent's end, with whatever else the first thread has started. Who adopts is the program,
/// and so its first thread (prctl(2), PR_SET_CHILD_SUBREAPER), not this one.
fn adopted() -> Vec<Pid> {
    let listed = std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()));
    let words = listed.unwrap_or_default();
    words
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

/// The namespace that a process has its number in (pid_namespaces(7)).
fn namespace(pid: Pid) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

impl Place {
    /// Namespaces of an init of the nursery's.
    pub(super) fn inside(nursery: &mut Nursery, tier: Tier) -> Result<Self, SetUpFailure> {
        let born = nursery.bear().map_err(system("an init's start"))?;
        let init = Anchor {
            pid: born.map_err(|failed| explain(&failed))?,
            over: false,
        };
        let tracer = Tracer::seize(init.pid(), Options::SUPERVISE).map_err(|error| tracing(&error))?;
        let handle = Stopper::new(init.pid());
        Ok(Self::Inside {
            init,
            handle: handle.map_err(|errno| failure(format!("pidfd_open: {errno}"), None))?,
            tracer,
            // That of processes it is forked into.
            namespaces: namespaces(tier)
                .into_iter()
                .map(|(flag, _)| flag)
                .filter(|flag| *flag != libc::CLONE_NEWPID as u64)
                .sum(),
        })
    }

    /// The directory of a root that stands.
    pub(super) fn beside(root: &Path) -> Result<Self, SetUpFailure> {
        bury_forks();
        let directory = File::options()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(root)
            .map_err(system("opening the root"))?;
        Ok(Self::Beside {
            directory: directory.into(),
        })
    }

    /// What the template is told, and the descriptor that it gets first.
    pub(super) fn door(&self) -> Result<(u8, BorrowedFd<'_>), SetUpFailure> {
        match self {
            Self::Inside { handle, .. } => {
                let pidfd = handle
                    .pidfd()
                    .ok_or_else(|| failure("no pidfd".to_owned(), None))?;
                Ok((template::INTO, pidfd))
            }
            Self::Beside { directory } => Ok((template::HERE, directory.as_fd())),
        }
    }

    /// Its root, as seen from outside.
    pub(super) fn root(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Inside { init, .. } => {
                let options = File::options()
                    .read(true)
                    .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
                    .to_owned();
                Ok(options.open(format!("/proc/{}/root", init.pid()))?.into())
            }
            Self::Beside { directory } => directory.try_clone(),
        }
    }

    /// What a fork does to enter it.
    pub(super) fn way(&self) -> Way {
        match self {
            Self::Inside { namespaces, .. } => Way::Namespaces(*namespaces),
            Self::Beside { .. } => Way::Directory(BESIDE),
        }
    }

    /// Attaches to a fork that is there. Returns the process with which all ends, the init if there is one, and the
    /// tracer of both.
    pub(super) fn attach(
        self,
        fork: i32,
        generation: &Generation,
    ) -> Result<(Anchor, Option<i32>, Tracer), SetUpFailure> {
        match self {
            Self::Inside { init, mut tracer, .. } => {
                // A number alone could be another's by now.
                tracer.join(fork).map_err(|error| tracing(&error))?;
                if namespace(Pid::from_raw(fork)) != namespace(init.pid) {
                    return Err(failure(format!("its fork {fork} is not in its bed"), None));
                }
                let number = init.pid();
                Ok((init, Some(number), tracer))
            }
            Self::Beside { .. } => {
                // Whoever lacks CAP_SYS_PTRACE may trace what has its own real ids.
                let who = generation.root.identity;
                let ids = |uid, gid| {
                    sys::set_real_ids(uid, gid).map_err(|errno| failure(format!("setresuid: {errno}"), None))
                };
                ids(who.uid, who.gid)?;
                let seized = Tracer::seize(fork, Options::SUPERVISE).map_err(|error| tracing(&error));
                // No longer than that: whoever has our real uid may signal this thread (kill(2)).
                ids(geteuid().as_raw(), getegid().as_raw())?;
                let tracer = seized?;
                let anchor = Anchor {
                    pid: Pid::from_raw(fork),
                    over: false,
                };
                if parent(fork).ok() != Some(generation.pid) {
                    return Err(failure(format!("{fork} is not its fork"), None));
                }
                Ok((anchor, None, tracer))
            }
        }
    }
}

/// The parent of a process (proc_pid_status(5)).
fn parent(pid: i32) -> io::Result<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The directory of a root where it is one.
pub(super) fn directory(root: &Prepared) -> Option<&Path> {
    match &root.ground {
        Ground::Directory(dir) => Some(dir),
        Ground::Planned(_) | Ground::Host { .. } => None,
    }
}
