//! A uid of its own for each run that a superuser starts.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The uids that runs get. Debian's policy reserves 65000 to 65533 and gives them to nobody
/// (Debian Policy Manual, 9.2.2).
pub(crate) const RANGE: std::ops::Range<u32> = 65_000..65_400;

/// Where the uids in use are kept.
const DIRECTORY: &str = "/run/callgate/uids";

/// A uid that no other run has while this value lives: the kernel gives the lock back when we end,
/// however we end.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) uid: u32,
    _lock: Flock<File>,
}

impl Claim {
    /// Takes a free uid.
    pub(crate) fn any() -> io::Result<Self> {
        for uid in RANGE {
            if let Some(claim) = Self::take(uid)? {
                return Ok(claim);
            }
        }
        Err(io::Error::other(format!(
            "all {} uids are in use by other runs",
            RANGE.len()
        )))
    }

    /// Waits for this uid: a root that was built has one written in its passwd.
    pub(crate) fn wait_for(uid: u32) -> io::Result<Self> {
        Self::lock(uid, FlockArg::LockExclusive)?
            .ok_or_else(|| io::Error::other(format!("uid {uid} could not be locked")))
    }

    /// Takes this uid if nobody has it.
    pub(crate) fn take(uid: u32) -> io::Result<Option<Self>> {
        Self::lock(uid, FlockArg::LockExclusiveNonblock)
    }

    fn lock(uid: u32, how: FlockArg) -> io::Result<Option<Self>> {
        let file = open(Path::new(DIRECTORY), uid)
            .map_err(|error| io::Error::new(error.kind(), format!("{DIRECTORY}/{uid}: {error}")))?;
        match Flock::lock(file, how) {
            Ok(lock) => Ok(Some(Self { uid, _lock: lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

/// The lock file. Nobody else may open it: flock(2) asks for no right to write, and whoever holds the
/// locks holds up every run.
fn open(directory: &Path, uid: u32) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // It may have been there, and the umask may have had a say.
    std::fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join(uid.to_string()))
}

#[cfg(test)]
mod tests {
    use callgate_testing::{available, root};

    use super::*;

    #[test]
    fn nobody_else_can_hold_the_locks() {
        let dir = std::env::temp_dir().join(format!("callgate-uids-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        open(&dir, 65_000).unwrap();
        let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_uid_is_taken_once_and_given_back() {
        if !available("root", root()) {
            return;
        }
        let first = Claim::any().unwrap();
        let second = Claim::any().unwrap();
        assert_ne!(first.uid, second.uid);
        assert!(Claim::take(first.uid).unwrap().is_none());
        let freed = first.uid;
        drop(first);
        // Another run may be quicker; the lock itself can be had.
        assert_eq!(Claim::wait_for(freed).unwrap().uid, freed);
    }
}
