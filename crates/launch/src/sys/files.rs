//! Steps that make a file.

use std::ffi::{CStr, c_int, c_long};
use std::os::fd::RawFd;

use super::steps::{checked, exactly};

/// How a file is created that must not exist.
const CREATE: c_int = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// Creates a file that must not exist and copies a descriptor's first bytes to it.
pub(super) fn copy_file(from: RawFd, length: u64, path: &CStr, mode: u32) -> Result<(), i32> {
    // SAFETY: the path is NUL-terminated; the descriptor is ours and is closed here; the offset is a local,
    // and with it the source's own position is neither used nor changed.
    unsafe {
        let fd = checked(c_long::from(libc::open(path.as_ptr(), CREATE, mode)))? as c_int;
        let mut at: libc::off_t = 0;
        let mut result = checked(c_long::from(libc::fchmod(fd, mode)));
        while result.is_ok() && (at as u64) < length {
            // The kernel copies less than 2 GiB at once (sendfile(2)).
            let most = (length - at as u64).min(1 << 30) as usize;
            result = match checked(libc::sendfile(fd, from, &raw mut at, most) as c_long) {
                // It has become shorter meanwhile.
                Ok(0) => Err(libc::ENODATA),
                result => result,
            };
        }
        libc::close(fd);
        result.map(|_| ())
    }
}

/// Creates a file that must not exist and writes all of it.
pub(super) fn write_file(path: &CStr, mode: u32, bytes: &[u8]) -> Result<(), i32> {
    if bytes.is_empty() {
        // Most are places for mounts, and there are many: one that is not opened takes half as long.
        // SAFETY: the path is NUL-terminated; of a regular file no device number is looked at.
        let make = || unsafe { c_long::from(libc::mknod(path.as_ptr(), libc::S_IFREG | mode, 0)) };
        return exactly(make).map(|_| ());
    }
    // SAFETY: the path is NUL-terminated; the descriptor is ours and is closed here.
    unsafe {
        let fd = checked(c_long::from(libc::open(path.as_ptr(), CREATE, mode)))? as c_int;
        let mut rest = bytes;
        let mut result = checked(c_long::from(libc::fchmod(fd, mode)));
        while result.is_ok() && !rest.is_empty() {
            result = checked(libc::write(fd, rest.as_ptr().cast(), rest.len()) as c_long);
            if let Ok(written) = result {
                rest = rest.get(written as usize..).unwrap_or_default();
            }
        }
        libc::close(fd);
        result.map(|_| ())
    }
}
