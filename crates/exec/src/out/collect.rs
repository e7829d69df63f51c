//! Walks a work directory whose makers are gone, and brings its regular files out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::{BroughtOut, OutDirectory, OutFile, WorkDirectory, beneath};
use crate::files::{Files, GivenFile, kind};

/// The most files that are brought out of one run.
const FILES: usize = 4096;
/// The most entries that are looked at.
const ENTRIES: usize = 65_536;
/// How deep directories are looked into.
const DEPTH: usize = 64;
/// So many entries that are left are named.
const NAMED: u64 = 20;

/// Brings out the regular files, but for those that were brought in and are unchanged, and for what stands at
/// `planned` (below the work directory). No more than `most` bytes in all. Returns also what the reader should
/// know of what was left.
pub(crate) fn collect(
    work: &WorkDirectory,
    to: &OutDirectory,
    given: &Files,
    planned: &BTreeSet<PathBuf>,
    most: u64,
) -> (BroughtOut, Vec<String>) {
    let mut walk = Walk {
        to,
        unchanged: unchanged(work, given),
        planned,
        room: most,
        entries: ENTRIES,
        out: BroughtOut::default(),
        notes: Vec::new(),
    };
    if let Err(error) = walk.all(work) {
        walk.out.error = Some(error);
    }
    if let Some(more) = walk.out.skipped.checked_sub(NAMED).filter(|more| *more > 0) {
        walk.notes.push(format!("{more} more were not brought out"));
    }
    (walk.out, walk.notes)
}

struct Walk<'a> {
    to: &'a OutDirectory,
    /// The files that were brought in and are as they were, by what the kernel knows them as.
    unchanged: BTreeMap<(u64, u64), &'a str>,
    planned: &'a BTreeSet<PathBuf>,
    room: u64,
    entries: usize,
    out: BroughtOut,
    notes: Vec<String>,
}

/// A directory that is being looked through.
struct Level {
    fd: OwnedFd,
    names: std::vec::IntoIter<OsString>,
    path: PathBuf,
}

impl Walk<'_> {
    /// Looks through the whole tree; the error is one of the host's side.
    fn all(&mut self, work: &WorkDirectory) -> Result<(), String> {
        let mut levels: Vec<Level> = Vec::new();
        levels.extend(self.enter(work.fd.as_fd(), Path::new("."), PathBuf::new()));
        loop {
            let depth = levels.len();
            let Some(level) = levels.last_mut() else {
                return Ok(());
            };
            let Some(name) = level.names.next() else {
                levels.pop();
                continue;
            };
            let path = level.path.join(&name);
            if self.planned.contains(&path) {
                continue;
            }
            let flags = OFlag::O_PATH;
            let data = beneath(&level.fd, Path::new(&name), flags).and_then(|fd| {
                let data = File::from(fd).metadata();
                data.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
            });
            match data {
                Err(errno) => self.skip(&path, refusal(errno)),
                Ok(data) if data.is_dir() && depth == DEPTH => {
                    self.skip(&path, format!("directories are {DEPTH} deep there"));
                }
                Ok(data) if data.is_dir() => {
                    let next = self.enter(level.fd.as_fd(), Path::new(&name), path);
                    levels.extend(next);
                }
                Ok(data) if data.is_file() => self.file(&level.fd, &name, &path)?,
                Ok(data) => self.skip(&path, kind(data.file_type())),
            }
        }
    }

    /// Opens a directory and reads its names, in order.
    fn enter(&mut self, above: impl AsFd, name: &Path, path: PathBuf) -> Option<Level> {
        let read = || {
            let fd = beneath(above, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            let mut directory = Dir::from_fd(beneath(
                &fd,
                Path::new("."),
                OFlag::O_RDONLY | OFlag::O_DIRECTORY,
            )?)?;
            let mut names = Vec::new();
            for entry in directory.iter() {
                let entry = entry?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name == "." || name == ".." {
                    continue;
                }
                // One more shows that there are too many.
                if names.len() > self.entries {
                    break;
                }
                names.push(name.to_owned());
            }
            Ok((fd, names))
        };
        let (fd, mut names) = match read() {
            Ok(read) => read,
            Err(errno) => {
                self.skip(&path, refusal(errno));
                return None;
            }
        };
        if names.len() > self.entries {
            // Which of them would be a matter of chance.
            self.skip(&path, format!("more than {ENTRIES} entries are not looked at"));
            return None;
        }
        self.entries -= names.len();
        names.sort();
        Some(Level {
            fd,
            names: names.into_iter(),
            path,
        })
    }

    /// Brings one regular file out, if it is new and there is room for it.
    fn file(&mut self, directory: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), String> {
        let opened = beneath(directory, Path::new(name), OFlag::O_RDONLY).map(File::from);
        let (file, data) = match opened.map_err(io::Error::from).and_then(|file| {
            let data = file.metadata()?;
            Ok((file, data))
        }) {
            Ok(opened) => opened,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                self.skip(path, refusal(Errno::from_raw(errno)));
                return Ok(());
            }
        };
        match self.unchanged.get(&(data.dev(), data.ino())) {
            Some(given) if Path::new(given) == path => return Ok(()),
            Some(given) => {
                let why = format!("a hard link to {given:?}, which was brought in and is unchanged");
                self.skip(path, why);
                return Ok(());
            }
            None => {}
        }
        if data.len() > self.room {
            let why = format!("{} bytes are more than is left of --tmp-size", data.len());
            self.skip(path, why);
            return Ok(());
        }
        if self.out.files.len() == FILES {
            self.skip(path, format!("{FILES} files were brought out before it"));
            return Ok(());
        }
        let written = self.to.write(path, &file, data.len());
        let bytes = written.map_err(|error| format!("{path:?}: {error}"))?;
        self.room -= bytes;
        self.out.files.push(OutFile::new(path.as_os_str(), bytes));
        Ok(())
    }

    fn skip(&mut self, path: &Path, why: impl std::fmt::Display) {
        self.out.skipped += 1;
        if self.out.skipped <= NAMED {
            // The work directory itself has no name.
            let path = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            self.notes.push(format!("not brought out: {path:?}: {why}"));
        }
    }
}

/// Why an entry can't be opened, in our words where the errno's would lead astray.
fn refusal(errno: Errno) -> String {
    match errno {
        Errno::EXDEV => "it is on another file system".to_owned(),
        errno => errno.desc().to_owned(),
    }
}

/// The files that are as they were brought in.
fn unchanged<'a>(work: &WorkDirectory, given: &'a Files) -> BTreeMap<(u64, u64), &'a str> {
    let known = |given: &'a GivenFile| {
        let path = Path::new(&given.name);
        // What it is, before it is opened: opening a pipe would be harmless here, but nothing to compare.
        let seen = File::from(beneath(&work.fd, path, OFlag::O_PATH).ok()?);
        if !seen.metadata().ok()?.is_file() {
            return None;
        }
        let file = File::from(beneath(&work.fd, path, OFlag::O_RDONLY).ok()?);
        let data = file.metadata().ok()?;
        let same = data.is_file() && data.len() == given.length && alike(&file, &given.source, given.length);
        same.then_some(((data.dev(), data.ino()), given.name.as_str()))
    };
    given.iter().filter_map(known).collect()
}

/// Whether the first bytes of two files are the same. What can't be read is not.
fn alike(one: &File, other: &File, length: u64) -> bool {
    const STEP: u64 = 64 << 10;
    let mut at = 0;
    let (mut first, mut second) = (vec![0; STEP as usize], vec![0; STEP as usize]);
    while at < length {
        let size = STEP.min(length - at) as usize;
        let (Some(first), Some(second)) = (first.get_mut(..size), second.get_mut(..size)) else {
            return false;
        };
        if one.read_exact_at(first, at).is_err()
            || other.read_exact_at(second, at).is_err()
            || first != second
        {
            return false;
        }
        at += size as u64;
    }
    true
}
