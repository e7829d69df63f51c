//! A directory that one run alone may write to, where the host's own tree is all there is.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::scratch;

/// What the names of all begin with; the user's uid, the supervisor's pid and a number follow.
const PREFIX: &str = "callgate-run-";

/// A private directory. The lock on it tells others that its run is not over: the kernel gives it back when
/// we end, however we end.
pub(crate) struct Private {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Private {
    /// Removes what ended supervisors of this user left in `base`, then makes a directory there.
    pub(crate) fn new(base: &Path) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep(base);
        let uid = nix::unistd::geteuid();
        let mut last = ErrorKind::AlreadyExists.into();
        // One that is not locked yet can be swept away by another start.
        for _ in 0..100 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("{PREFIX}{uid}-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    last = error;
                    continue;
                }
                Err(error) => {
                    return Err(io::Error::new(
                        error.kind(),
                        format!("{}: {error}", path.display()),
                    ));
                }
            }
            match lock(&path) {
                Ok(Some(held)) if path.exists() => return Ok(Self { path, _lock: held }),
                Ok(_) => {}
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with what is in it. Nothing of the run may be left running.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match scratch::empty(&self.path).and_then(|()| std::fs::remove_dir(&self.path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What can't be removed now is swept at the next start.
        let _ = self.remove();
    }
}

/// Takes the lock of a directory of ours; none if its run goes on, or if it is none of ours.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)?;
    if file.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
        return Ok(None);
    }
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Removes the directories of runs whose supervisors have ended without removing them.
fn sweep(base: &Path) {
    let own = format!("{PREFIX}{}-", nix::unistd::geteuid());
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&own) {
            if let Ok(Some(held)) = lock(&entry.path()) {
                drop(Private {
                    path: entry.path(),
                    _lock: held,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_has_stays_and_what_an_ended_one_left_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid();
        let left = base.path().join(format!("{PREFIX}{uid}-1-0"));
        std::fs::create_dir_all(left.join("deep/er")).unwrap();
        let others = base.path().join("callgate-run-");
        std::fs::create_dir(&others).unwrap();
        let first = Private::new(base.path()).unwrap();
        assert!(!left.exists() && others.exists());
        let second = Private::new(base.path()).unwrap();
        std::fs::write(second.path().join("file"), "x").unwrap();
        assert!(first.path().exists());
        assert_eq!(std::fs::metadata(first.path()).unwrap().mode() & 0o777, 0o700);
        let at = second.path().to_owned();
        drop(second);
        assert!(!at.exists());
    }
}
