//! The directory on the host that files are brought to.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, fstatat, mkdirat};
use nix::unistd::{AccessFlags, UnlinkatFlags, faccessat, unlinkat};

use super::beneath;

/// A directory that files are brought to. It was empty when it was opened, so that nothing in it can be replaced
/// by what the code makes.
#[derive(Debug)]
pub struct OutDirectory {
    fd: OwnedFd,
}

/// Why nothing can be brought to a directory. Nothing has run.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// It holds something.
    #[error("it is not empty")]
    NotEmpty,
    /// It can't be made, opened or written to.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What keeps us below it is missing.
    #[error("openat2: {0} (Linux 5.6; an outer sandbox must allow it)")]
    OpenAt2(Errno),
}

impl OutDirectory {
    /// Opens a directory, and makes it if there is none; the one that it is in must be there.
    ///
    /// # Errors
    /// [`OutError`]; a directory that is not empty is refused.
    pub fn open(path: &Path) -> Result<Self, OutError> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        if std::fs::read_dir(path)?.next().is_some() {
            return Err(OutError::NotEmpty);
        }
        let fd: OwnedFd = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(path)?
            .into();
        // What takes long must not be done in vain.
        let right = AccessFlags::W_OK | AccessFlags::X_OK;
        faccessat(&fd, ".", right, AtFlags::AT_EACCESS).map_err(io::Error::from)?;
        beneath(&fd, Path::new("."), OFlag::O_PATH | OFlag::O_DIRECTORY).map_err(OutError::OpenAt2)?;
        Ok(Self { fd })
    }

    /// Writes a file whole, with the directories above it: a temporary file beside it, then a rename. It is ours,
    /// with mode 0644. Returns its size, which is at most `most`.
    pub(super) fn write(&self, at: &Path, source: &File, most: u64) -> io::Result<u64> {
        let directory = self.directory(at.parent().unwrap_or(Path::new("")))?;
        let name = at.file_name().ok_or(ErrorKind::InvalidInput)?;
        let (mut file, temporary) = new_file(&directory, name)?;
        let written = std::io::copy(&mut source.take(most), &mut file).and_then(|bytes| {
            // Not less than that, whatever our umask is, and not more.
            file.set_permissions(Permissions::from_mode(0o644))?;
            put(&directory, &temporary, name.as_ref())?;
            Ok(bytes)
        });
        if written.is_err() {
            let _ = unlinkat(&directory, temporary.as_path(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// The directory of that name, made where it is not there.
    fn directory(&self, at: &Path) -> io::Result<OwnedFd> {
        let mut directory = self.fd.try_clone()?;
        for part in at {
            match mkdirat(&directory, part, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            directory = beneath(&directory, Path::new(part), OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
        }
        Ok(directory)
    }
}

/// A file of our own in a directory, which is to get another name.
fn new_file(directory: &OwnedFd, later: &OsStr) -> io::Result<(File, PathBuf)> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    for number in 0_u32.. {
        let name = PathBuf::from(format!(".callgate-{}-{number}.part", std::process::id()));
        // The code may have thought of that name.
        if name == Path::new(later) {
            continue;
        }
        match openat(directory, &name, flags, Mode::from_bits_truncate(0o600)) {
            Ok(fd) => return Ok((File::from(fd), name)),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Gives a file its name, which nothing may have: where names differ in case alone, two of the code's may be one.
fn put(directory: &OwnedFd, from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(directory, from, directory, to, RenameFlags::RENAME_NOREPLACE) {
        // Not every file system has that (rename(2)). Nobody else writes here.
        Err(Errno::EINVAL) => {
            let there: nix::Result<FileStat> = fstatat(directory, to, AtFlags::AT_SYMLINK_NOFOLLOW);
            match there {
                Err(Errno::ENOENT) => Ok(renameat(directory, from, directory, to)?),
                Ok(_) => Err(Errno::EEXIST.into()),
                Err(errno) => Err(errno.into()),
            }
        }
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn source(text: &str) -> File {
        callgate_launch::memory_file(text.as_bytes()).unwrap().into()
    }

    #[test]
    fn only_a_new_or_empty_directory_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("new");
        OutDirectory::open(&new).unwrap();
        OutDirectory::open(&new).unwrap();
        assert!(matches!(OutDirectory::open(dir.path()), Err(OutError::NotEmpty)));
        std::fs::write(dir.path().join("file"), "").unwrap();
        for bad in ["file", "no/parent"] {
            let error = OutDirectory::open(&dir.path().join(bad)).unwrap_err();
            assert!(matches!(error, OutError::Io(_)), "{error}");
        }
    }

    #[test]
    fn files_may_have_the_names_of_our_temporary_ones() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDirectory::open(&dir.path().join("out")).unwrap();
        let names = [1, 0, 2].map(|number| format!(".callgate-{}-{number}.part", std::process::id()));
        for name in &names {
            out.write(Path::new(name), &source(name), 99).unwrap();
        }
        let at = dir.path().join("out");
        assert!(
            names
                .iter()
                .all(|name| std::fs::read(at.join(name)).unwrap() == name.as_bytes())
        );
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 3);
    }

    #[test]
    fn files_are_written_whole_and_never_over_or_through_anything() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let at = dir.path().join("out");
        let out = OutDirectory::open(&at).unwrap();
        assert_eq!(out.write(Path::new("a/b/c"), &source("0123"), 3).unwrap(), 3);
        assert_eq!(std::fs::read(at.join("a/b/c")).unwrap(), b"012");
        let mode = std::fs::metadata(at.join("a/b/c")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
        let error = out.write(Path::new("a/b/c"), &source("x"), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        // Somebody who may write to it puts a link there.
        symlink(&elsewhere, at.join("link")).unwrap();
        out.write(Path::new("link/x"), &source("x"), 1).unwrap_err();
        symlink(elsewhere.join("x"), at.join("x")).unwrap();
        out.write(Path::new("x"), &source("x"), 1).unwrap_err();
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        // No temporary file is left.
        let left: Vec<_> = std::fs::read_dir(at.join("a/b")).unwrap().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(std::fs::read_dir(&at).unwrap().count(), 3);
    }
}
