//! The files of the cache: one for each finding, written whole, with hashes by which damage is seen.
//!
//! The first line has the length of what was found and two hashes; then comes what was found, and last what it rests on,
//! which is ten times as long and need not be read at the same time.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest, Sha256};

use crate::trust::{self, Distrust};

/// The first word of a file; what is written otherwise gets another one.
const SCHEMA: &str = "callgate.found/3";
/// No finding is longer: what is, is something else.
const MOST: u64 = 32 << 20;
/// So many are kept; then those that were written first go.
const KEPT: usize = 256;

/// Why a file is passed over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error(transparent)]
    Distrust(#[from] Distrust),
    #[error("it is damaged")]
    Damaged,
    #[error("it can't be read: {0}")]
    Io(#[from] io::Error),
}

/// A file of which what was found has been read.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) finding: Vec<u8>,
    file: File,
    /// Where what it rests on begins, and its hash.
    rest: (u64, String),
}

impl Kept {
    /// What the finding rests on.
    pub(crate) fn rests_on(&self) -> Result<Vec<u8>, Unusable> {
        let (at, hash) = &self.rest;
        let length = self.file.metadata()?.len().min(MOST).saturating_sub(*at);
        let bytes = exactly(&self.file, *at, length)?;
        match digest(&bytes) == *hash {
            true => Ok(bytes),
            false => Err(Unusable::Damaged),
        }
    }
}

/// So many bytes of a file from a place on, in which they have to be.
fn exactly(file: &File, at: u64, length: u64) -> Result<Vec<u8>, Unusable> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| Unusable::Damaged)?];
    match file.read_exact_at(&mut bytes, at) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Unusable::Damaged),
        read => Ok(read.map(|()| bytes)?),
    }
}

/// What a file of this name has kept; `None` when there is none.
pub(crate) fn read(dir: &OwnedFd, name: &str) -> Result<Option<Kept>, Unusable> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(dir.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(io::Error::from(errno).into()),
    };
    trust::file(Path::new(name), &file)?;
    let mut first = [0; 256];
    let read = file.read_at(&mut first, 0)?;
    let first = first.get(..read).unwrap_or_default();
    let line = first.split_inclusive(|byte| *byte == b'\n').next();
    let (length, hash, rest, begin) = line.and_then(parsed).ok_or(Unusable::Damaged)?;
    if length > MOST {
        return Err(Unusable::Damaged);
    }
    let finding = exactly(&file, begin, length)?;
    match digest(&finding) == hash {
        true => Ok(Some(Kept {
            finding,
            file,
            rest: (begin + length, rest.to_owned()),
        })),
        false => Err(Unusable::Damaged),
    }
}

/// The length and the hash of what was found, the hash of the rest, and the length of the line itself.
fn parsed(line: &[u8]) -> Option<(u64, &str, &str, u64)> {
    let words: Vec<&str> = std::str::from_utf8(line)
        .ok()?
        .strip_suffix('\n')?
        .split(' ')
        .collect();
    match words[..] {
        [SCHEMA, length, hash, rest] => Some((length.parse().ok()?, hash, rest, line.len() as u64)),
        _ => None,
    }
}

/// Writes a file whole: who reads at the same time gets the old one or the new one.
pub(crate) fn write(dir: &OwnedFd, name: &str, finding: &[u8], rests_on: &[u8]) -> io::Result<()> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = format!("{name}.{}-{next}", std::process::id());
    make_room(dir)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    // One of that name was left by a process that is gone.
    let _ = unlinkat(dir.as_fd(), temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    let mut file = File::from(openat(
        dir.as_fd(),
        temporary.as_str(),
        flags,
        Mode::S_IRUSR | Mode::S_IWUSR,
    )?);
    let written = file
        .write_all(head(finding, rests_on).as_bytes())
        .and_then(|()| file.write_all(finding))
        .and_then(|()| file.write_all(rests_on))
        .and_then(|()| Ok(renameat(dir.as_fd(), temporary.as_str(), dir.as_fd(), name)?));
    if written.is_err() {
        let _ = unlinkat(dir.as_fd(), temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    written
}

fn head(finding: &[u8], rests_on: &[u8]) -> String {
    format!(
        "{SCHEMA} {} {} {}\n",
        finding.len(),
        digest(finding),
        digest(rests_on)
    )
}

/// What stands for bytes that are too many for a key: their SHA-256, in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as hexadecimal digits, two for each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Removes the files that were written first, so that a cache doesn't grow for ever.
fn make_room(dir: &OwnedFd) -> io::Result<()> {
    let mut opened = Dir::openat(
        dir.as_fd(),
        ".",
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )?;
    let mut all = Vec::new();
    for entry in opened.iter() {
        let name = entry?.file_name().to_owned();
        // One that is gone meanwhile, another process has removed.
        if let Ok(data) = fstatat(dir.as_fd(), name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            if data.st_mode & 0o170_000 == 0o100_000 {
                all.push(((data.st_mtime, data.st_mtime_nsec), name));
            }
        }
    }
    all.sort();
    let most = all.len().saturating_sub(KEPT - 1);
    for (_, name) in all.into_iter().take(most) {
        let _ = unlinkat(dir.as_fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir);
    }
    Ok(())
}
