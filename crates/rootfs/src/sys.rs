//! The one kernel call that has no safe wrapper here: sharing a file's blocks instead of copying them.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Makes `to` share all blocks of `from`, copy on write (ioctl_ficlone(2)).
///
/// # Errors
/// EOPNOTSUPP, EXDEV or EINVAL where the file systems can't.
pub(crate) fn reflink(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: both descriptors are open for as long as the borrows live, and FICLONE takes the second one by value.
    match unsafe { libc::ioctl(to.as_raw_fd(), libc::FICLONE, from.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
