//! A store that several roots share: each content once, found by its hash, in them as hard links.
//!
//! Are hard links safe? What is written through one is written for all. So: never to the host's own files, only to
//! files of the store; these belong to the superuser and nobody may write to them (0444, 0555); and code that
//! callgate runs in a root is never the superuser, has no capability and can't get one, so that neither its
//! writes nor a chmod reach them, whatever the tier. Somebody else could run code as root in the directory:
//! for that, build without a store. An ordinary user owns what it builds, and the code has its uid: no store then.
//!
//! Layout: `objects/HASH-MODE-TIME` holds the contents; `seen/HASH` are links to them by the identity of the host's file
//! (device, inode, size, times), so that a file which was read once is not read again; `tmp` is for what is
//! being written. Each step is one system call that is whole or not at all, so that a build can be killed at any
//! moment and goes on where it was.

use std::fs::{self, DirBuilder, File, FileTimes, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use sha2::{Digest, Sha256};

use crate::materialise::write::{Copy, Done, open_source};

/// A store that is in use: nobody sweeps it meanwhile.
#[derive(Debug)]
pub(crate) struct Store {
    objects: PathBuf,
    seen: PathBuf,
    tmp: PathBuf,
    next: AtomicU64,
    _lock: Flock<File>,
}

/// Why a store can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The owner of the files could write to them.
    #[error(
        "a store is for the superuser: code that an ordinary user runs has its uid, and could write to the shared files: \
         build without --store"
    )]
    NotSuperuser,
    /// One would remove the other.
    #[error("the store {store:?} and the root {dir:?} lie in each other: name another directory")]
    Nested {
        /// The store.
        store: PathBuf,
        /// The root.
        dir: PathBuf,
    },
    /// There is something else, or nothing.
    #[error("{store:?} is not a store: name a directory that was given to `callgate root build --store`")]
    NotOne {
        /// The directory.
        store: PathBuf,
    },
    /// Somebody else could put files into it.
    #[error("the store {store:?} is not used: {why}")]
    Distrusted {
        /// The store.
        store: PathBuf,
        /// Whose it is.
        why: String,
    },
    /// A system call failed.
    #[error("opening the store {store:?} failed: {source}")]
    Io {
        /// The store.
        store: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Store {
    /// Opens a store for a root in `dir`, and makes it if it isn't there.
    pub(crate) fn open(store: &Path, dir: &Path) -> Result<Self, StoreError> {
        trusted(store)?;
        let opened = Self::opened(store).map_err(|source| StoreError::Io {
            store: store.to_owned(),
            source,
        });
        let nested = match (store.canonicalize(), std::path::absolute(dir)) {
            (Ok(store), Ok(dir)) => {
                let dir = dir.canonicalize().unwrap_or(dir);
                dir.starts_with(&store) || store.starts_with(&dir)
            }
            _ => false,
        };
        match nested {
            true => Err(StoreError::Nested {
                store: store.to_owned(),
                dir: dir.to_owned(),
            }),
            false => opened,
        }
    }

    fn opened(dir: &Path) -> io::Result<Self> {
        let [objects, seen, tmp] = ["objects", "seen", "tmp"].map(|name| dir.join(name));
        for part in [&objects, &seen, &tmp] {
            DirBuilder::new().recursive(true).mode(0o700).create(part)?;
        }
        let lock = match Flock::lock(lock_file(dir)?, FlockArg::LockExclusiveNonblock) {
            // Nobody else is at work: what lies there was left by a build that was killed.
            Ok(lock) => {
                for entry in fs::read_dir(&tmp)? {
                    fs::remove_file(entry?.path())?;
                }
                lock.relock(FlockArg::LockShared)?;
                lock
            }
            Err((file, _)) => Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno)?,
        };
        Ok(Self {
            objects,
            seen,
            tmp,
            next: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Puts a file of the host at `to`, where nothing is, as a link to the store's.
    pub(crate) fn place(&self, copy: &Copy<'_>, to: &Path) -> io::Result<Done> {
        let seen = self
            .seen
            .join(identity(&copy.source.symlink_metadata()?, copy.mode));
        match fs::hard_link(&seen, to) {
            Ok(()) => {
                // A power cut can leave a name without its content.
                let there = to.symlink_metadata()?;
                if there.len() == copy.size && there.modified()? == copy.modified {
                    return Ok(Done::Linked);
                }
                fs::remove_file(to)?;
                fs::remove_file(&seen)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return self.explain(error, copy, to),
        }
        let object = self.store(copy)?;
        match fs::hard_link(&object, to) {
            Ok(()) => Ok(Done::Stored),
            Err(error) => self.explain(error, copy, to),
        }
    }

    /// What to do when there can be no link.
    fn explain(&self, error: io::Error, copy: &Copy<'_>, to: &Path) -> io::Result<Done> {
        match error.raw_os_error() {
            // So many names has a file at the most (65,000 on ext4): the next gets one of its own.
            Some(libc::EMLINK) => crate::materialise::write::plain(to, copy),
            Some(libc::EXDEV) => Err(io::Error::new(
                ErrorKind::CrossesDevices,
                "the store lies on another file system, and hard links don't reach there: name one beside the root",
            )),
            _ => Err(error),
        }
    }

    /// Reads a file of the host into the store; returns the object.
    fn store(&self, copy: &Copy<'_>) -> io::Result<PathBuf> {
        let mut from = open_source(copy.source)?;
        let before = from.metadata()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.tmp.join(format!("{}-{number}", std::process::id()));
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            hash.update(&buffer[..length]);
            file.write_all(&buffer[..length])?;
        }
        let mode = copy.mode & READABLE;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.set_times(FileTimes::new().set_modified(before.modified()?))?;
        if identity(&from.metadata()?, copy.mode) != identity(&before, copy.mode) {
            fs::remove_file(&temporary)?;
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "it changed while it was read: build again",
            ));
        }
        let (seconds, nanos) = (before.mtime(), before.mtime_nsec());
        let name = format!("{}-{mode:o}-{seconds}.{nanos:09}", hex(&hash.finalize()));
        let object = self.objects.join(name);
        match fs::hard_link(&temporary, &object) {
            // One that a power cut has left without its content gives way.
            Err(error)
                if error.kind() == ErrorKind::AlreadyExists
                    && object.symlink_metadata()?.len() != before.len() =>
            {
                fs::rename(&temporary, &object)?;
            }
            result => {
                settled(result)?;
                fs::remove_file(&temporary)?;
            }
        }
        settled(fs::hard_link(
            &object,
            self.seen.join(identity(&before, copy.mode)),
        ))?;
        Ok(object)
    }
}

/// Fails for whom there are no stores.
pub(crate) fn superuser() -> Result<(), StoreError> {
    match geteuid().is_root() {
        true => Ok(()),
        false => Err(StoreError::NotSuperuser),
    }
}

/// Fails unless a store is the superuser's and nobody else's; makes its directory if it isn't there.
pub(crate) fn trusted(store: &Path) -> Result<(), StoreError> {
    superuser()?;
    let ours = callgate_cache::ours(store);
    ours.map(drop).map_err(|why| StoreError::Distrusted {
        store: store.to_owned(),
        why: why.to_string(),
    })
}

/// The file that builds lock with others and a sweep alone.
pub(crate) fn lock_file(store: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(store.join("lock"))
}

/// The permission bits of what is shared: reading and executing.
pub(crate) const READABLE: u32 = 0o555;

/// That something is there already, or can't have one more name, is as well.
fn settled(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if error.kind() == ErrorKind::AlreadyExists || error.raw_os_error() == Some(libc::EMLINK) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Which file of the host it is, and that nothing about it has changed: ctime can't be set by anybody.
fn identity(data: &fs::Metadata, mode: u32) -> String {
    let text = format!(
        "{} {} {} {}.{} {}.{} {mode:o}",
        data.dev(),
        data.ino(),
        data.size(),
        data.mtime(),
        data.mtime_nsec(),
        data.ctime(),
        data.ctime_nsec()
    );
    hex(&Sha256::digest(text))[..40].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
