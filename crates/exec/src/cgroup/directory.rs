//! One cgroup directory: made, held, emptied, removed; and what others left swept away.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use callgate_tracee::Stopper;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::Absent;

/// What the names of all begin with; the run's uid, the supervisor's pid and a number follow.
const PREFIX: &str = "callgate-";

/// How long the kernel may take to let go of processes that have been killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// A cgroup of ours. The lock on it tells others that its run is not over: the kernel gives it back when
/// we end, however we end.
pub(crate) struct Directory {
    path: PathBuf,
    lock: Flock<File>,
    /// Control files that have been opened: to open one takes longer than to read it, and one run after another does.
    opened: Mutex<Vec<(&'static str, Use, Arc<File>)>>,
}

/// What a control file is opened for: not each can be read, and not each written to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

impl Directory {
    /// A new cgroup.
    pub(crate) fn new(parent: &Path, uid: u32) -> Result<Self, Absent> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut last = ErrorKind::AlreadyExists.into();
        // A name can be taken by somebody who has our pid in another pid namespace; and a cgroup that is
        // not locked yet can be swept away by another start.
        for _ in 0..100 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{PREFIX}{uid}-{}-{number}", std::process::id()));
            // Nobody else may open it: flock(2) asks for no right to write.
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    last = error;
                    continue;
                }
                Err(error) => return Err(refused(&path, &error)),
            }
            match Self::lock(path.clone()) {
                Ok(Some(directory)) if directory.path.exists() => return Ok(directory),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(refused(parent, &last))
    }

    /// Takes the lock; none if somebody else has it.
    fn lock(path: PathBuf) -> io::Result<Option<Self>> {
        match Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self {
                path,
                lock,
                opened: Mutex::default(),
            })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A control file, to be written to later.
    pub(crate) fn open_to_write(&self, file: &str) -> Result<OwnedFd, Absent> {
        let path = self.path.join(file);
        let opened = OpenOptions::new().write(true).open(&path);
        opened.map(OwnedFd::from).map_err(|error| refused(&path, &error))
    }

    /// Writes to a control file.
    pub(crate) fn write(&self, file: &'static str, value: &str) -> Result<(), Absent> {
        self.try_write(file, value)
            .map_err(|error| refused(&self.path.join(file), &error))
    }

    /// Writes to a control file that not every kernel has.
    pub(crate) fn write_if_there(&self, file: &'static str, value: &str) -> Result<(), Absent> {
        match self.try_write(file, value) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(|error| refused(&self.path.join(file), &error)),
        }
    }

    fn try_write(&self, file: &'static str, value: &str) -> io::Result<()> {
        self.file(file, Use::Write)?.write_all_at(value.as_bytes(), 0)
    }

    /// A control file, to be read repeatedly.
    pub(crate) fn open(&self, file: &'static str) -> Option<Arc<File>> {
        self.file(file, Use::Read).ok()
    }

    /// What a control file says; none if there is no such file.
    pub(crate) fn read(&self, file: &'static str) -> Option<String> {
        let file = self.open(file)?;
        let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            // A part that is not full is not the last of a long list.
            match file.read_at(&mut chunk, text.len() as u64).ok()? {
                0 => return String::from_utf8(text).ok(),
                read => text.extend_from_slice(chunk.get(..read)?),
            }
        }
    }

    fn file(&self, name: &'static str, way: Use) -> io::Result<Arc<File>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((.., file)) = opened
            .iter()
            .find(|(known, how, _)| (*known, *how) == (name, way))
        {
            return Ok(Arc::clone(file));
        }
        // Never created: a control file that is missing is an error.
        let file = OpenOptions::new()
            .read(way == Use::Read)
            .write(way == Use::Write)
            .open(self.path.join(name))?;
        let file = Arc::new(file);
        opened.push((name, way, Arc::clone(&file)));
        Ok(file)
    }

    /// Kills everything in it and removes it.
    fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::remove_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    self.kill();
                    std::thread::sleep(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }

    fn kill(&self) {
        // Linux 5.14, version 2: all at once.
        if self.try_write("cgroup.kill", "1").is_ok() {
            return;
        }
        // So that nothing forks away meanwhile, where this is the hierarchy that can say so.
        let _ = self.try_write("pids.max", "0");
        let listed = || -> Vec<i32> {
            let text = self.read("cgroup.procs").unwrap_or_default();
            // 0 is a process that has no number in our pid namespace.
            text.lines()
                .filter_map(|pid| pid.parse().ok())
                .filter(|pid| *pid > 0)
                .collect()
        };
        let held = listed()
            .into_iter()
            .filter_map(|pid| Some((pid, Stopper::new(pid).ok()?)));
        let held: Vec<(i32, Stopper)> = held.collect();
        // Looked at again, now that the numbers can't pass to other processes.
        let still = listed();
        for (pid, process) in held {
            if still.contains(&pid) {
                process.stop(1);
            }
        }
    }
}

impl AsRawFd for Directory {
    fn as_raw_fd(&self) -> RawFd {
        self.lock.as_raw_fd()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What can't be removed now is swept at the next start.
        let _ = self.remove();
    }
}

/// Removes the cgroups of runs whose supervisors have ended without removing them, with what is in them.
pub(crate) fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    let own = nix::unistd::geteuid().as_raw();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(is_name) && entry.metadata().is_ok_and(|m| m.uid() == own);
        if ours {
            // Dropping it removes it.
            drop(Directory::lock(entry.path()));
        }
    }
}

/// Whether a name is one that [`Directory::new`] gives.
fn is_name(name: &str) -> bool {
    let numbers = |rest: &str| {
        let parts: Vec<&str> = rest.split('-').collect();
        parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
    };
    name.strip_prefix(PREFIX).is_some_and(numbers)
}

fn refused(path: &Path, error: &io::Error) -> Absent {
    Absent::Refused {
        at: path.display().to_string(),
        error: error.to_string(),
    }
}
