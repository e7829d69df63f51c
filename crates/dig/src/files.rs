//! The paths seen so far, made absolute.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use callgate_abi::Syscall;
use callgate_trace::{FileUse, How};
use callgate_tracee::Stopped;

use crate::paths::{PathArg, Use, how_opened, path_args};

/// The longest path that the kernel takes (`PATH_MAX`, linux/limits.h).
const PATH_MAX: usize = 4096;

/// How many paths are kept: a probe that walks a file system must not fill our memory.
const MOST: usize = 100_000;

/// A path that a call in progress uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    path: PathBuf,
    how: How,
}

/// All paths.
#[derive(Debug, Default)]
pub(crate) struct Files {
    seen: BTreeMap<PathBuf, (BTreeSet<How>, bool)>,
    dropped: u64,
    unreadable: u64,
}

impl Files {
    /// Reads the paths of a call that is about to be made.
    pub(crate) fn enter(&mut self, tracee: &Stopped, call: Syscall, args: &[u64; 6]) -> Vec<Pending> {
        let Some(name) = call.known_name() else {
            return Vec::new();
        };
        path_args(name)
            .iter()
            .filter_map(|arg| self.read(tracee, *arg, args))
            .collect()
    }

    fn read(&mut self, tracee: &Stopped, arg: PathArg, args: &[u64; 6]) -> Option<Pending> {
        let address = args[arg.path];
        if address == 0 {
            return None; // utimensat and others take no path for "the descriptor itself"
        }
        let Ok(bytes) = tracee.read_string(address, PATH_MAX) else {
            // The kernel will answer EFAULT, or the page is not there yet.
            self.unreadable += 1;
            return None;
        };
        if bytes.is_empty() {
            return None; // AT_EMPTY_PATH: the descriptor itself, which was opened by its path
        }
        let path = PathBuf::from(OsString::from_vec(bytes));
        let path = if path.is_absolute() {
            path
        } else {
            let base = match arg.dirfd.map(|index| args[index] as i32) {
                Some(fd) if fd != libc::AT_FDCWD => format!("/proc/{}/fd/{fd}", tracee.tid()),
                _ => format!("/proc/{}/cwd", tracee.tid()),
            };
            let Ok(base) = std::fs::read_link(base) else {
                self.unreadable += 1;
                return None;
            };
            base.join(path)
        };
        let how = match arg.how {
            Use::As(how) => how,
            Use::OpenFlags(index) => how_opened(args[index]),
            Use::OpenHow(index) => {
                let mut flags = [0; 8]; // struct open_how begins with its flags (openat2(2))
                tracee.read(args[index], &mut flags).ok()?;
                how_opened(u64::from_ne_bytes(flags))
            }
        };
        Some(Pending {
            path: normal(&path),
            how,
        })
    }

    /// Notes the paths of a call that has been made.
    pub(crate) fn leave(&mut self, pending: Vec<Pending>, succeeded: bool) {
        for Pending { path, how } in pending {
            if self.seen.len() >= MOST && !self.seen.contains_key(&path) {
                self.dropped += 1;
                continue;
            }
            let (hows, found) = self.seen.entry(path).or_default();
            hows.insert(how);
            *found |= succeeded;
        }
    }

    /// The paths as a trace lists them, and what the reader should know of them.
    pub(crate) fn into_trace(self) -> (Vec<FileUse>, Vec<String>) {
        let mut notes = Vec::new();
        if self.dropped > 0 {
            notes.push(format!(
                "{} uses of paths are not listed: only the first {MOST} paths are kept",
                self.dropped
            ));
        }
        if self.unreadable > 0 {
            notes.push(format!("{} path arguments could not be read", self.unreadable));
        }
        let file = |(path, (how, found)): (PathBuf, (BTreeSet<How>, bool))| FileUse {
            path: path.to_string_lossy().into_owned(),
            how,
            found,
        };
        (self.seen.into_iter().map(file).collect(), notes)
    }
}

/// Drops `.` and doubled slashes. `..` stays: what it means depends on symbolic links.
fn normal(path: &Path) -> PathBuf {
    path.components()
        .filter(|c| !matches!(c, Component::CurDir))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_if_any_use_of_it_succeeded() {
        let pending = |how| {
            vec![Pending {
                path: "/etc/x".into(),
                how,
            }]
        };
        let mut files = Files::default();
        files.leave(pending(How::Stat), false);
        files.leave(pending(How::Read), true);
        let (list, notes) = files.into_trace();
        assert_eq!(list.len(), 1);
        assert!(list[0].found);
        assert_eq!(list[0].how.len(), 2);
        assert!(notes.is_empty());
    }

    #[test]
    fn paths_lose_dots_but_not_parents() {
        assert_eq!(normal(Path::new("/a/./b//c/../d")), Path::new("/a/b/c/../d"));
    }
}
