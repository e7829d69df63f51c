//! Makes sure that a directory may be built in: that it is ours, nobody else's, and nothing is mounted in it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::materialise::{BuildError, Marker, OpenError, write};

/// Makes the directory, or makes sure that it is ours, and locks it until the guard is dropped.
pub(super) fn claim<F>(dir: &Path, io: &dyn Fn(&'static str, &Path) -> F) -> Result<Flock<File>, BuildError>
where
    F: FnOnce(io::Error) -> BuildError,
{
    fs::create_dir_all(dir).map_err(io("making", dir))?;
    let handle = File::open(dir).map_err(io("opening", dir))?;
    let lock = Flock::lock(handle, FlockArg::LockExclusiveNonblock)
        .map_err(|_| BuildError::Busy { dir: dir.to_owned() })?;
    let empty = dir.read_dir().map_err(io("reading", dir))?.next().is_none();
    if !empty {
        match Marker::read(dir) {
            Ok(_) => {}
            Err(OpenError::NotOurs { dir }) => return Err(BuildError::Foreign { dir }),
            Err(error) => return Err(error.into()),
        }
    }
    let mounts = fs::read("/proc/thread-self/mountinfo")
        .map_err(io("reading", Path::new("/proc/thread-self/mountinfo")))?;
    let real = dir.canonicalize().map_err(io("resolving", dir))?;
    if let Some(mount) = mounted_below(&mounts, &real) {
        return Err(BuildError::Mounted {
            dir: dir.to_owned(),
            mount,
        });
    }
    // Whoever made the directory may have closed it to others, who are to run in it.
    write::directory(dir, 0o755).map_err(io("opening up", dir))?;
    Ok(lock)
}

/// A mount point strictly below `dir` in the text of `/proc/thread-self/mountinfo` (proc_pid_mountinfo(5)): the fifth word,
/// with blanks and backslashes as three octal digits.
fn mounted_below(mounts: &[u8], dir: &Path) -> Option<PathBuf> {
    let points = mounts
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points
        .map(|point| PathBuf::from(unescape(point)))
        .find(|point| point != dir && point.starts_with(dir))
}

fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_blanks_is_read_right() {
        let text = b"22 1 0:21 / /proc rw - proc proc rw\n23 1 0:22 / /my\\040root/tmp rw - tmpfs tmpfs rw\n";
        assert_eq!(
            mounted_below(text, Path::new("/my root")),
            Some("/my root/tmp".into())
        );
        assert_eq!(mounted_below(text, Path::new("/my root/tmp")), None);
        assert_eq!(mounted_below(text, Path::new("/my")), None);
    }
}
