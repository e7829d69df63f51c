//! The paths seen so far, made absolute.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use callgate_trace::{FileUse, How};
use callgate_tracee::Stopped;

use crate::paths::{PathArg, Use, how_opened};

/// The longest path that the kernel takes (`PATH_MAX`, linux/limits.h).
const PATH_MAX: usize = 4096;

/// How many paths are kept: a probe that walks a file system must not fill our memory.
const MOST: usize = 100_000;

/// A path that a call in progress uses, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    path: Vec<u8>,
    how: How,
}

/// What is known of a path.
#[derive(Debug, Default)]
struct Known {
    how: BTreeSet<How>,
    found: bool,
}

/// All paths, as bytes: to compare them by their components would take longer than the stop.
#[derive(Debug, Default)]
pub(crate) struct Files {
    seen: HashMap<Vec<u8>, Known>,
    dropped: u64,
    unreadable: u64,
    /// The files that the command line names.
    named: HashSet<Vec<u8>>,
}

impl Files {
    /// With the files that the command line names: where one is read, the program has started.
    pub(crate) fn new(named: &[PathBuf]) -> Self {
        let bytes = |path: &PathBuf| normal(path.clone().into_os_string().into_vec());
        Self {
            named: named.iter().map(bytes).collect(),
            ..Self::default()
        }
    }

    /// Reads the paths of a call that is about to be made; also whether one is empty, which stands for the
    /// descriptor itself.
    pub(crate) fn enter(
        &mut self,
        tracee: &Stopped,
        paths: &[PathArg],
        args: &[u64; 6],
    ) -> (Vec<Pending>, bool) {
        let mut empty = false;
        let pending = paths
            .iter()
            .filter_map(|arg| self.read(tracee, *arg, args, &mut empty))
            .collect();
        (pending, empty)
    }

    fn read(&mut self, tracee: &Stopped, arg: PathArg, args: &[u64; 6], empty: &mut bool) -> Option<Pending> {
        let address = args[arg.path];
        if address == 0 {
            return None; // utimensat and others take no path for "the descriptor itself"
        }
        let Ok(mut path) = tracee.read_string(address, PATH_MAX) else {
            // The kernel will answer EFAULT, or the page is not there yet.
            self.unreadable += 1;
            return None;
        };
        if path.is_empty() {
            *empty = true;
            return None; // AT_EMPTY_PATH: the descriptor itself, which was opened by its path
        }
        if !path.starts_with(b"/") {
            let base = match arg.dirfd.map(|index| args[index] as i32) {
                Some(fd) if fd != libc::AT_FDCWD => format!("/proc/{}/fd/{fd}", tracee.tid()),
                _ => format!("/proc/{}/cwd", tracee.tid()),
            };
            let Ok(base) = std::fs::read_link(base) else {
                self.unreadable += 1;
                return None;
            };
            let mut joined = base.into_os_string().into_vec();
            joined.push(b'/');
            joined.append(&mut path);
            path = joined;
        }
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
            path: normal(path),
            how,
        })
    }

    /// Whether the result of a call can add anything to what is known of its paths.
    pub(crate) fn wants_result(&self, pending: &[Pending]) -> bool {
        !pending.iter().all(|Pending { path, how }| {
            self.seen
                .get(path)
                .is_some_and(|known| known.found && known.how.contains(how))
        })
    }

    /// Notes the paths of a call that has been made; whether it has opened a file of the command line.
    pub(crate) fn leave(&mut self, pending: Vec<Pending>, succeeded: bool) -> bool {
        let mut named = false;
        for Pending { path, how } in pending {
            named |= succeeded && how == How::Read && self.named.contains(&path);
            if self.seen.len() >= MOST && !self.seen.contains_key(&path) {
                self.dropped += 1;
                continue;
            }
            let known = self.seen.entry(path).or_default();
            known.how.insert(how);
            known.found |= succeeded;
        }
        named
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
        let mut seen: Vec<(Vec<u8>, Known)> = self.seen.into_iter().collect();
        seen.sort_by_cached_key(|(path, _)| in_order(path));
        let file = |(path, known): (Vec<u8>, Known)| FileUse {
            path: String::from_utf8_lossy(&path).into_owned(),
            how: known.how,
            found: known.found,
        };
        (seen.into_iter().map(file).collect(), notes)
    }
}

/// What paths are put in order by: their components, of which none holds a zero.
fn in_order(path: &[u8]) -> Vec<u8> {
    let part = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    path.iter().map(part).collect()
}

/// Drops `.` and doubled slashes. `..` stays: what it means depends on symbolic links.
fn normal(path: Vec<u8>) -> Vec<u8> {
    let clean = path
        .split(|byte| *byte == b'/')
        .skip(1)
        .all(|name| !name.is_empty() && name != b".");
    if clean {
        return path;
    }
    let path = PathBuf::from(OsString::from_vec(path));
    let normal: PathBuf = Path::components(&path)
        .filter(|c| !matches!(c, Component::CurDir))
        .collect();
    normal.into_os_string().into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_if_any_use_of_it_succeeded() {
        let pending = |how| {
            vec![Pending {
                path: b"/etc/x".to_vec(),
                how,
            }]
        };
        let mut files = Files::default();
        assert!(files.wants_result(&pending(How::Stat)));
        files.leave(pending(How::Stat), false);
        assert!(
            files.wants_result(&pending(How::Stat)),
            "it may be there the next time"
        );
        files.leave(pending(How::Read), true);
        assert!(!files.wants_result(&pending(How::Stat)));
        assert!(files.wants_result(&pending(How::Write)));
        let (list, notes) = files.into_trace();
        assert_eq!(list.len(), 1);
        assert!(list[0].found);
        assert_eq!(list[0].how.len(), 2);
        assert!(notes.is_empty());
    }

    #[test]
    fn paths_come_in_the_order_of_their_components() {
        let mut files = Files::default();
        let paths = ["/", "/a", "/a b/c", "/a-b/c", "/a/b", "/a/b-", "/a/b/c", "/ab"];
        for path in paths {
            let path = path.as_bytes().to_vec();
            files.leave(vec![Pending { path, how: How::Stat }], true);
        }
        let mut expected: Vec<&Path> = paths.iter().map(Path::new).collect();
        expected.sort();
        let (list, _) = files.into_trace();
        let found: Vec<&Path> = list.iter().map(|file| Path::new(&file.path)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_lose_dots_but_not_parents() {
        for (path, expected) in [
            ("/a/./b//c/../d", "/a/b/c/../d"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b"),
            ("/a/b/.", "/a/b"),
            ("/", "/"),
        ] {
            assert_eq!(normal(path.into()), expected.as_bytes());
        }
    }
}
