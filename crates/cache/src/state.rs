//! The state of a path, as far as a finding depends on it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::seen::Part;

/// A change in so short a time after the last one may show in nothing: file systems keep times in steps, which are of
/// two seconds at the most (FAT).
const STEP: Duration = Duration::from_secs(2);

/// One path's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Nothing is there, or it can't be reached.
    #[serde(rename = "-")]
    Absent,
    /// Type bits, device and inode.
    #[serde(rename = "i")]
    Being(u32, u64, u64),
    /// Mode, device, inode, size, ctime in seconds and nanoseconds.
    #[serde(rename = "s")]
    Whole(u32, u64, u64, u64, i64, i64),
}

impl State {
    /// The state now; symlinks not followed.
    fn of(path: &Path, part: Part) -> std::io::Result<Self> {
        let data = match path.symlink_metadata() {
            Ok(data) => data,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Self::Absent);
            }
            Err(error) => return Err(error),
        };
        Ok(match part {
            Part::Being => Self::Being(data.mode() & KIND, data.dev(), data.ino()),
            Part::Whole => Self::Whole(
                data.mode(),
                data.dev(),
                data.ino(),
                data.size(),
                data.ctime(),
                data.ctime_nsec(),
            ),
        })
    }

    fn part(&self) -> Part {
        match self {
            Self::Whole(..) => Part::Whole,
            Self::Absent | Self::Being(..) => Part::Being,
        }
    }

    /// When it last changed, where that matters.
    fn changed(&self) -> Option<SystemTime> {
        let Self::Whole(.., seconds, nanos) = self else {
            return None;
        };
        let since = Duration::new(u64::try_from(*seconds).ok()?, u32::try_from(*nanos).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }
}

/// So many paths are worth more threads than one.
const MANY: usize = 1500;

/// The type bits of a mode (inode(7)).
const KIND: u32 = 0o170_000;

/// What a finding rests on: paths with their states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witnesses(Vec<(PathBuf, State)>);

impl Witnesses {
    /// The states of what was seen for a finding that was begun at `begun`; `None` when something changed so late
    /// that a further change might not show, or can't be looked at.
    pub fn take(seen: &BTreeMap<PathBuf, Part>, begun: SystemTime) -> Option<Self> {
        let settled = begun.checked_sub(STEP)?;
        let whole = |path: &Path| seen.get(path) == Some(&Part::Whole);
        let mut all = Vec::with_capacity(seen.len());
        for (path, part) in seen {
            let state = State::of(path, *part).ok()?;
            if state.changed().is_some_and(|at| at > settled) {
                return None;
            }
            // A directory's own state changes with the names in it.
            let told_by_directory =
                state == State::Absent && path.parent().is_some_and(|dir| whole(dir) && dir.is_dir());
            if !told_by_directory {
                all.push((path.clone(), state));
            }
        }
        Some(Self(all))
    }

    /// Whether everything is as it was.
    pub fn hold(&self) -> bool {
        let holds = |part: &[(PathBuf, State)]| {
            part.iter()
                .all(|(path, state)| State::of(path, state.part()).is_ok_and(|now| now == *state))
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        if self.0.len() < MANY || threads == 1 {
            return holds(&self.0);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = self
                .0
                .chunks(self.0.len().div_ceil(threads.min(4)))
                .map(|part| {
                    let thread = std::thread::Builder::new().spawn_scoped(scope, move || holds(part));
                    thread.map_err(|_| part)
                })
                .collect();
            // All are waited for; one that died has seen nothing.
            parts.into_iter().all(|part| match part {
                Ok(thread) => thread.join().unwrap_or(false),
                // No more threads can be had.
                Err(part) => holds(part),
            })
        })
    }

    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Of everything below a directory, whole, as if it had been looked at a minute later.
    fn witnesses(dir: &Path, more: &[PathBuf]) -> Witnesses {
        let names = dir.read_dir().unwrap().map(|entry| entry.unwrap().path());
        let seen = names
            .chain([dir.to_owned()])
            .chain(more.iter().cloned())
            .map(|path| (path, Part::Whole))
            .collect();
        Witnesses::take(&seen, SystemTime::now() + Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn each_kind_of_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let at = |name: &str| dir.join(name);
        let outside = tempfile::tempdir().unwrap();
        let absent = outside.path().join("absent");
        fs::write(at("file"), "a").unwrap();
        fs::create_dir(at("sub")).unwrap();
        symlink("file", at("link")).unwrap();
        let changes: [(&str, &dyn Fn()); 7] = [
            ("a new name", &|| fs::write(at("new"), "").unwrap()),
            ("a name gone", &|| fs::remove_file(at("new")).unwrap()),
            ("content of the same length, with its old time", &|| {
                let old = fs::metadata(at("file")).unwrap().modified().unwrap();
                fs::write(at("file"), "b").unwrap();
                let file = fs::File::options().write(true).open(at("file")).unwrap();
                file.set_modified(old).unwrap();
            }),
            ("another target", &|| {
                fs::remove_file(at("link")).unwrap();
                symlink("sub", at("link")).unwrap();
            }),
            ("a mode", &|| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(at("file"), fs::Permissions::from_mode(0o600)).unwrap();
            }),
            ("another directory in its place", &|| {
                fs::rename(at("sub"), outside.path().join("old")).unwrap();
                fs::create_dir(at("sub")).unwrap();
            }),
            ("something where nothing was", &|| fs::write(&absent, "").unwrap()),
        ];
        for (what, change) in changes {
            let before = witnesses(dir, std::slice::from_ref(&absent));
            assert!(before.hold(), "before {what}");
            // Kernels before 6.13 keep times in steps of a timer tick.
            std::thread::sleep(Duration::from_millis(15));
            change();
            assert!(!before.hold(), "{what} was not seen");
        }
    }

    #[test]
    fn a_walk_along_a_directory_is_not_disturbed_by_what_comes_and_goes_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let seen = BTreeMap::from([(dir.path().to_owned(), Part::Being)]);
        let witnesses = Witnesses::take(&seen, SystemTime::now()).unwrap();
        fs::write(dir.path().join("new"), "").unwrap();
        assert!(witnesses.hold());
    }

    #[test]
    fn what_has_changed_just_now_is_no_witness() {
        let dir = tempfile::tempdir().unwrap();
        let seen = BTreeMap::from([(dir.path().to_owned(), Part::Whole)]);
        assert_eq!(Witnesses::take(&seen, SystemTime::now()), None);
    }
}
