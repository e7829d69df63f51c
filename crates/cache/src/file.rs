//! The files of the cache: one for each finding, written whole, with a hash by which damage is seen.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
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
const SCHEMA: &str = "callgate.found/2";
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

/// The text of a file; `None` when there is none.
pub(crate) fn read(dir: &OwnedFd, name: &str) -> Result<Option<Vec<u8>>, Unusable> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match openat(dir.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(errno) => return Err(io::Error::from(errno).into()),
    };
    trust::file(Path::new(name), &file)?;
    // One byte more than there is: what is read at once needs not be asked for in parts.
    let length = file.metadata()?.len().min(MOST);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(MOST).read_to_end(&mut bytes)?;
    let at = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(Unusable::Damaged)?;
    let text = bytes.split_off(at + 1);
    match bytes == head(&text).as_bytes() {
        true => Ok(Some(text)),
        false => Err(Unusable::Damaged),
    }
}

/// Writes a file whole: who reads at the same time gets the old one or the new one.
pub(crate) fn write(dir: &OwnedFd, name: &str, text: &[u8]) -> io::Result<()> {
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
        .write_all(head(text).as_bytes())
        .and_then(|()| file.write_all(text))
        .and_then(|()| Ok(renameat(dir.as_fd(), temporary.as_str(), dir.as_fd(), name)?));
    if written.is_err() {
        let _ = unlinkat(dir.as_fd(), temporary.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    written
}

fn head(text: &[u8]) -> String {
    format!("{SCHEMA} {}\n", digest(text))
}

/// What stands for bytes that are too many for a key: their SHA-256, in hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
