//! The cgroup layer: limits over all processes of a run together, and what they used (cgroups(7)).
//!
//! The run's first process is made in the cgroup (version 2, `CLONE_INTO_CGROUP`) or joins it as its
//! first step (version 1, and where clone3 is refused), so that nothing of the run is ever outside. The
//! cgroup lies beside or below our own, so that the limits that hold for us hold for the run too.
//!
//! Plain file operations, and not a crate: cgroups-rs 0.5 brings D-Bus (zbus, 180 packages in all) and a
//! second nix, writes pids where only `0` and `CLONE_INTO_CGROUP` are quick, and knows neither
//! `cgroup.kill` nor who owns what is left over.

mod directory;
mod mounts;
mod readings;
mod whereabouts;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;

use callgate_launch::{Step, clones_into_cgroups};

use self::directory::{Directory, sweep};
pub(crate) use self::readings::{CpuClock, Readings};
use self::readings::{entry, number};
use self::whereabouts::{Whereabouts, look};
use crate::limits::Limits;
use crate::setup::path;

/// Why there is no cgroup for a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Absent {
    /// No cgroup file system with the controllers of memory and pids.
    #[error("{0}")]
    NotMounted(String),
    /// It is there, but we may not use it, or it lacks a file.
    #[error("{at}: {error}")]
    Refused { at: String, error: String },
}

/// How much of its limit a run may miss, in bytes, by what an earlier one has left in its cgroup: what the kernel keeps
/// ready for each CPU, and the page cache of what was read.
const RESIDUE: u64 = 1 << 20;

/// A run's cgroup. It is removed, with whatever is in it, when this value goes.
pub(crate) struct Cgroup {
    kind: Kind,
    /// The files by which a process joins: `tasks` (version 1), `cgroup.procs` where that is asked for or no process can
    /// be made in it.
    tasks: Vec<OwnedFd>,
    /// How many of our own processes are in it.
    ours: u64,
}

enum Kind {
    /// Controllers that are mounted together share a directory: were there two in one hierarchy, a process would be
    /// in the one that it joined last, and only that would limit it.
    V1 {
        memory: Arc<Directory>,
        pids: Arc<Directory>,
        cpu: Option<Arc<Directory>>,
    },
    V2(Directory),
}

impl Kind {
    /// Makes the directories.
    fn new(whereabouts: &Whereabouts, uid: u32) -> Result<Self, Absent> {
        let (memory, pids, cpu) = match whereabouts {
            Whereabouts::V1 { memory, pids, cpu } => (memory, pids, cpu),
            Whereabouts::V2(parent) => return Ok(Self::V2(Directory::new(parent, uid)?)),
        };
        let mut made: Vec<(&Path, Arc<Directory>)> = Vec::new();
        let mut within = |parent| -> Result<Arc<Directory>, Absent> {
            if let Some((_, directory)) = made.iter().find(|(known, _)| *known == parent) {
                return Ok(Arc::clone(directory));
            }
            let directory = Arc::new(Directory::new(parent, uid)?);
            made.push((parent, Arc::clone(&directory)));
            Ok(directory)
        };
        Ok(Self::V1 {
            memory: within(memory)?,
            pids: within(pids)?,
            cpu: cpu.as_deref().map(within).transpose()?,
        })
    }

    /// Each directory once.
    fn directories(&self) -> Vec<&Directory> {
        let all = match self {
            Self::V1 { memory, pids, cpu } => [Some(memory), Some(pids), cpu.as_ref()],
            Self::V2(at) => return vec![at],
        };
        let mut each: Vec<&Directory> = Vec::new();
        for directory in all.into_iter().flatten() {
            if !each.iter().any(|known| known.path() == directory.path()) {
                each.push(directory);
            }
        }
        each
    }
}

/// Where runs' cgroups are made.
#[derive(Clone, Debug)]
pub(crate) struct Site(Whereabouts);

impl Site {
    /// Finds it, and removes what ended supervisors left there.
    pub(crate) fn find() -> Result<Self, Absent> {
        let site = Self::unswept()?;
        site.sweep();
        Ok(site)
    }

    /// Finds it for somebody who sweeps it later.
    pub(crate) fn unswept() -> Result<Self, Absent> {
        look().map(Self)
    }

    /// Removes what ended supervisors left there.
    pub(crate) fn sweep(&self) {
        for parent in self.0.parents() {
            sweep(parent);
        }
    }

    /// Makes a cgroup for a run whose init is in it, too.
    pub(crate) fn make_for_init(&self, uid: u32, limits: &Limits) -> Result<Cgroup, Absent> {
        self.make(uid, limits, 1)
    }

    /// Makes a cgroup with these limits, in which there are so many processes of ours besides the code's.
    pub(crate) fn make(&self, uid: u32, limits: &Limits, ours: u64) -> Result<Cgroup, Absent> {
        let mut cgroup = Cgroup {
            kind: Kind::new(&self.0, uid)?,
            tasks: Vec::new(),
            ours,
        };
        cgroup.limit(limits)?;
        if !(cgroup.is_v2() && clones_into_cgroups()) {
            cgroup.open_doors()?;
        }
        Ok(cgroup)
    }
}

impl Cgroup {
    /// A cgroup for a run whose init is in it, too, made where there is a place for it.
    pub(crate) fn new(uid: u32, limits: &Limits) -> Result<Self, Absent> {
        Site::find()?.make_for_init(uid, limits)
    }

    fn limit(&self, limits: &Limits) -> Result<(), Absent> {
        let pids = (limits.pids + self.ours).to_string();
        match &self.kind {
            Kind::V1 { memory, pids: at, .. } => {
                at.write("pids.max", &pids)?;
                if let Some(bytes) = limits.memory {
                    memory.write("memory.limit_in_bytes", &bytes.to_string())?;
                    // With swap; the file is not there where swap is not accounted for.
                    memory.write_if_there("memory.memsw.limit_in_bytes", &bytes.to_string())?;
                }
            }
            Kind::V2(at) => {
                at.write("pids.max", &pids)?;
                if let Some(bytes) = limits.memory {
                    at.write("memory.max", &bytes.to_string())?;
                    at.write_if_there("memory.swap.max", "0")?;
                }
            }
        }
        Ok(())
    }

    /// The steps of the run's first process.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let join = |(tasks, directory): (&OwnedFd, &Directory)| Step::JoinCgroup {
            tasks: tasks.as_raw_fd(),
            path: path(directory.path()),
        };
        self.tasks.iter().zip(self.directories()).map(join).collect()
    }

    /// By what a process joins that is no child of the run's first: files to which it writes `0`, with the
    /// directories that they are in.
    pub(crate) fn doors(&mut self) -> Result<Vec<(BorrowedFd<'_>, CString)>, Absent> {
        if self.tasks.is_empty() {
            self.open_doors()?;
        }
        let doors = self.tasks.iter().zip(self.directories());
        Ok(doors
            .map(|(door, directory)| (door.as_fd(), path(directory.path())))
            .collect())
    }

    fn open_doors(&mut self) -> Result<(), Absent> {
        let file = if self.is_v2() { "cgroup.procs" } else { "tasks" };
        let directories = self.directories().into_iter();
        self.tasks = directories
            .map(|directory| directory.open_to_write(file))
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    fn is_v2(&self) -> bool {
        matches!(self.kind, Kind::V2(_))
    }

    /// Where the run's first process has to be made, if it does not join by a step.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        match &self.kind {
            Kind::V2(at) if self.tasks.is_empty() => Some(at.as_raw_fd()),
            Kind::V1 { .. } | Kind::V2(_) => None,
        }
    }

    /// The layer's name, with the version of the kernel's interface.
    pub(crate) fn name(&self) -> &'static str {
        match &self.kind {
            Kind::V1 { .. } => "cgroup (v1)",
            Kind::V2(_) => "cgroup (v2)",
        }
    }

    /// A clock of the CPU time that all processes together have used; none where it is not accounted for.
    pub(crate) fn clock(&self) -> Option<CpuClock> {
        match &self.kind {
            Kind::V1 { cpu, .. } => CpuClock::v1(cpu.as_ref()?),
            Kind::V2(at) => CpuClock::v2(at),
        }
    }

    /// What was used and which limits were hit.
    pub(crate) fn readings(&self) -> Readings {
        match &self.kind {
            Kind::V1 { memory, pids, .. } => Readings::v1(memory, pids, self.clock(), self.ours),
            Kind::V2(at) => Readings::v2(at, self.clock(), self.ours),
        }
    }

    /// Makes it as it was for another run with the same limits, after one of which this is known. False where something
    /// of that is left which can't be undone: it is to be dropped then. In version 2 no peak can be set back, but for
    /// whoever holds the file open.
    pub(crate) fn renew(&self, last: &Readings) -> bool {
        let Kind::V1 { memory, pids, cpu } = &self.kind else {
            return false;
        };
        // What only ever grows: there must have been nothing of it, and no more tasks than any run has. Read here, as the
        // readings tell of what can't be read as of nothing.
        let none = |at, file, key| entry(at, file, key) == Some(0);
        none(memory, "memory.oom_control", "oom_kill")
            && none(pids, "pids.events", "max")
            && last.pids_peak.is_some_and(|peak| peak <= 1)
            && number(pids, "pids.current") == Some(0)
            && number(memory, "memory.usage_in_bytes").is_some_and(|left| left <= RESIDUE)
            && memory.write("memory.max_usage_in_bytes", "0").is_ok()
            && cpu
                .as_ref()
                .is_none_or(|cpu| cpu.write("cpuacct.usage", "0").is_ok())
    }

    fn directories(&self) -> Vec<&Directory> {
        self.kind.directories()
    }

    /// Where it is, for people.
    pub(crate) fn place(&self) -> String {
        let names: Vec<String> = self
            .directories()
            .into_iter()
            .filter_map(|directory| directory.path().parent())
            .map(|parent| parent.display().to_string())
            .collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use callgate_launch::{Init, Launch};
    use callgate_testing::available;
    use nix::sys::signal::Signal;
    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;

    #[test]
    fn controllers_that_are_mounted_together_share_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        for name in ["one", "other"] {
            std::fs::create_dir(place(name)).unwrap();
        }
        let made = |memory: &str, pids: &str, cpu: Option<&str>| {
            let whereabouts = Whereabouts::V1 {
                memory: place(memory),
                pids: place(pids),
                cpu: cpu.map(place),
            };
            let kind = Kind::new(&whereabouts, 65_000).unwrap();
            let each = kind.directories();
            let paths: Vec<_> = each.iter().map(|directory| directory.path().to_owned()).collect();
            assert!(paths.iter().all(|path| path.exists()));
            drop(kind);
            assert!(!paths.iter().any(|path| path.exists()));
            paths.len()
        };
        assert_eq!(made("one", "one", Some("one")), 1);
        assert_eq!(made("one", "one", None), 1);
        assert_eq!(made("one", "other", Some("one")), 2);
        assert_eq!(made("one", "one", Some("other")), 2);
    }

    /// Where version 2 is mounted, if a cgroup can be made there. Its controllers may be in version 1.
    fn unified() -> Result<PathBuf, String> {
        let text = std::fs::read_to_string("/proc/self/mountinfo").map_err(|error| error.to_string())?;
        let mount = mounts::mounts(&text)
            .into_iter()
            .find(|mount| mount.kind == "cgroup2");
        let at = mount.ok_or("cgroup2 is not mounted")?.at;
        Directory::new(&at, 65_000).map_err(|absent| absent.to_string())?;
        Ok(at)
    }

    #[test]
    fn version_2_has_a_run_from_its_first_instruction_on_tells_its_time_and_ends_it() {
        let place = unified();
        if !available("cgroup2", place.as_ref().map(drop).map_err(Clone::clone)) {
            return;
        }
        let cgroup = Cgroup {
            kind: Kind::V2(Directory::new(&place.unwrap(), 65_000).unwrap()),
            tasks: Vec::new(),
            ours: 1,
        };
        assert!(cgroup.steps().is_empty());
        let at = cgroup.directories()[0].path().to_owned();
        let init = Init {
            cgroup: cgroup.descriptor(),
            ..Default::default()
        };
        let none: [&str; 0] = [];
        // It and its child, which is another process's by then.
        let spins = ["sh", "-c", "(while :; do :; done) & while :; do :; done"];
        let launch = Launch::new("/bin/sh", spins, none).unwrap();
        let mut started = launch.init(init).start().unwrap();
        // Before it has had the word.
        let own = std::fs::read_to_string(format!("/proc/{}/cgroup", started.pid())).unwrap();
        let name = at.file_name().unwrap().to_str().unwrap();
        let line = own.lines().find(|line| line.starts_with("0::")).unwrap();
        assert!(line.ends_with(name), "{own}");
        started.go().unwrap();
        let clock = cgroup.clock().unwrap();
        let processes = || {
            std::fs::read_to_string(at.join("cgroup.procs"))
                .unwrap()
                .lines()
                .count()
        };
        let begun = Instant::now();
        while clock.read().unwrap() < Duration::from_millis(50) || processes() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(cgroup.readings().cpu >= Some(Duration::from_millis(50)));
        drop(cgroup);
        assert!(!at.exists());
        let ended = waitpid(started.pid(), None).unwrap();
        assert!(
            matches!(ended, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
            "{ended:?}"
        );
    }
}
