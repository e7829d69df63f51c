//! Puts single things into the directory of a root, if they aren't there already.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::Device;
use crate::materialise::store::{READABLE, Store};
use crate::sys;

/// Whether something had to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    Written,
    /// Written, with blocks that it shares with the host's file until one of them changes.
    Reflinked,
    /// A link to a file of the store.
    Linked,
    /// The same, and it is new in the store.
    Stored,
    Unchanged,
    /// The kernel doesn't let this process make devices.
    Refused,
}

/// A directory, with its mode whatever the umask is.
pub(crate) fn directory(path: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let metadata = path.symlink_metadata()?;
    if metadata.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// What a copy will be like.
pub(crate) struct Copy<'a> {
    pub(crate) source: &'a Path,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
    pub(crate) mode: u32,
    pub(crate) reflink: bool,
    /// Where it is taken from and put, if it is to be shared with other roots.
    pub(crate) store: Option<&'a Store>,
}

impl Copy<'_> {
    /// The permission bits that it gets.
    fn final_mode(&self) -> u32 {
        match self.store {
            Some(_) => self.mode & READABLE,
            None => self.mode,
        }
    }
}

/// A copy of a regular file of the host: same bytes, same time, never the same inode.
pub(crate) fn copy(to: &Path, copy: &Copy<'_>) -> io::Result<Done> {
    if let Ok(there) = to.symlink_metadata() {
        let same = there.is_file()
            && there.len() == copy.size
            && there.mode() & 0o7777 == copy.final_mode()
            && there.modified().is_ok_and(|time| time == copy.modified);
        if same {
            return Ok(Done::Unchanged);
        }
        // A new inode: whoever has the old one mapped keeps what it saw.
        fs::remove_file(to)?;
    }
    match copy.store {
        Some(store) => store.place(copy, to),
        None => plain(to, copy),
    }
}

/// A copy where nothing is.
pub(crate) fn plain(to: &Path, copy: &Copy<'_>) -> io::Result<Done> {
    let mut from = open_source(copy.source)?;
    let mut file = create(to)?;
    let done = match copy.reflink && sys::reflink(&from, &file).is_ok() {
        true => Done::Reflinked,
        false => {
            // copy_file_range(2) underneath.
            io::copy(&mut from, &mut file)?;
            Done::Written
        }
    };
    finish(&file, copy.final_mode())?;
    file.set_times(FileTimes::new().set_modified(copy.modified))?;
    Ok(done)
}

/// Opens a file of the host. The path was seen to be a regular file; it may have been swapped since.
pub(crate) fn open_source(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file any more",
        )),
    }
}

/// A file with this content.
pub(crate) fn text(to: &Path, bytes: &[u8], mode: u32) -> io::Result<Done> {
    if let Ok(there) = to.symlink_metadata() {
        if there.is_file() && there.mode() & 0o7777 == mode && fs::read(to).is_ok_and(|have| have == bytes) {
            return Ok(Done::Unchanged);
        }
        fs::remove_file(to)?;
    }
    let mut file = create(to)?;
    file.write_all(bytes)?;
    finish(&file, mode)?;
    Ok(Done::Written)
}

/// A symlink that says `target`.
pub(crate) fn link(to: &Path, target: &Path) -> io::Result<Done> {
    match to.read_link() {
        Ok(have) if have == target => return Ok(Done::Unchanged),
        Ok(_) => fs::remove_file(to)?,
        Err(_) => {}
    }
    symlink(target, to)?;
    Ok(Done::Written)
}

/// A character device, readable and writable by all.
pub(crate) fn device(to: &Path, device: Device) -> io::Result<Done> {
    let (major, minor) = device.numbers();
    let number = makedev(major, minor);
    if let Ok(there) = to.symlink_metadata() {
        let same =
            there.file_type().is_char_device() && there.rdev() == number && there.mode() & 0o7777 == 0o666;
        if same {
            return Ok(Done::Unchanged);
        }
        fs::remove_file(to)?;
    }
    match mknod(to, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), number) {
        Ok(()) => {}
        Err(Errno::EPERM | Errno::EACCES) => return Ok(Done::Refused),
        Err(errno) => return Err(errno.into()),
    }
    fs::set_permissions(to, Permissions::from_mode(0o666))?;
    Ok(Done::Written)
}

/// Exclusive, and closed to all others until it is whole.
fn create(to: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(to)
}

fn finish(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}
