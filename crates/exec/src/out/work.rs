//! The work directory of a run, as it is seen from outside and after the run's end.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The work directory of a run. While it is open its file system is there, also when the mounts of the run, and
/// with them every way to it, have gone.
#[derive(Debug)]
pub(crate) struct WorkDirectory {
    pub(super) fd: OwnedFd,
}

impl WorkDirectory {
    /// That of a process that has a root of its own, by the path that it has there. The process must be stopped
    /// and must not have run any of the code yet.
    pub(crate) fn of(pid: i32, at: &Path) -> io::Result<Self> {
        // The link leads to the process's root itself, through all mounts (proc_pid_root(5)).
        let root = Path::new("/proc").join(pid.to_string()).join("root");
        Self::at(&root.join(at.strip_prefix("/").unwrap_or(at)))
    }

    /// A directory of the host.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path)?;
        Ok(Self { fd: file.into() })
    }
}
