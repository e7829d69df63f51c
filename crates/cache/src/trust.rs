//! Whether a directory is ours alone, so that what lies in it can be believed.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// Why what lies there is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// Somebody else owns it.
    #[error("{path:?} belongs to uid {uid}, not to us or the superuser")]
    Owner {
        /// What.
        path: PathBuf,
        /// Who.
        uid: u32,
    },
    /// Somebody else may write to it.
    #[error("others may write to {path:?} (mode {mode:04o}): chmod go-w makes it ours")]
    Writable {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is no directory, or not a regular file with one name.
    #[error("{path:?} is not what it should be")]
    Kind {
        /// What.
        path: PathBuf,
    },
    /// It can't be looked at.
    #[error("{path:?}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes the directory if it isn't there, and opens it if it is ours and only ours: nobody else may write to it, or
/// put another one in its place.
///
/// # Errors
/// [`Distrust`] says whose it is.
pub fn ours(dir: &Path) -> Result<OwnedFd, Distrust> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Distrust::Io { path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed(dir))?;
    // Whoever may rename a directory above could put another one there that is ours too, but old.
    let real = dir.canonicalize().map_err(failed(dir))?;
    for above in real.ancestors().skip(1) {
        let data = above.symlink_metadata().map_err(failed(above))?;
        owner(above, &data, true)?;
        // In a sticky directory only the owner of a name may rename it (inode(7)).
        writable(above, &data, data.mode() & 0o1000 != 0)?;
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(&real)
        .map_err(failed(&real))?;
    let data = opened.metadata().map_err(failed(&real))?;
    owner(&real, &data, false)?;
    writable(&real, &data, false)?;
    Ok(opened.into())
}

/// Whether a directory that is there is ours, and nobody else may write to it. Those above it are not looked at: for
/// places where these are known to be others' (a volume of a container).
///
/// # Errors
/// [`Distrust`] says whose it is.
pub fn own(dir: &Path) -> Result<(), Distrust> {
    let data = dir.symlink_metadata().map_err(|source| Distrust::Io {
        path: dir.to_owned(),
        source,
    })?;
    if !data.is_dir() {
        return Err(Distrust::Kind { path: dir.to_owned() });
    }
    owner(dir, &data, false)?;
    writable(dir, &data, false)
}

/// Whether an opened file is ours and only ours.
pub(crate) fn file(path: &Path, file: &File) -> Result<(), Distrust> {
    let data = file.metadata().map_err(|source| Distrust::Io {
        path: path.to_owned(),
        source,
    })?;
    if !data.is_file() || data.nlink() > 1 {
        return Err(Distrust::Kind {
            path: path.to_owned(),
        });
    }
    owner(path, &data, false)?;
    writable(path, &data, false)
}

fn owner(path: &Path, data: &Metadata, or_superuser: bool) -> Result<(), Distrust> {
    let uid = data.uid();
    if uid == geteuid().as_raw() || (or_superuser && uid == 0) {
        return Ok(());
    }
    Err(Distrust::Owner {
        path: path.to_owned(),
        uid,
    })
}

fn writable(path: &Path, data: &Metadata, sticky: bool) -> Result<(), Distrust> {
    let mode = data.mode() & 0o7777;
    if mode & 0o022 == 0 || sticky {
        return Ok(());
    }
    Err(Distrust::Writable {
        path: path.to_owned(),
        mode,
    })
}
