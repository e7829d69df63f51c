//! The state of a path, as far as a finding depends on it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::fstatat;
use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC, statfs,
};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::seen::Part;

/// A change in so short a time after the last one may show in nothing: file systems keep times in steps, which are of
/// two seconds at the most (FAT).
const STEP: Duration = Duration::from_secs(2);
/// The same for file systems whose times are the kernel's own: of a timer tick, which is 10 ms at the most, and then
/// some for a clock that is read a tick late.
const TICKS: Duration = Duration::from_millis(50);
/// These are (statfs(2)).
const TICKING: &[FsType] = &[
    EXT4_SUPER_MAGIC,
    XFS_SUPER_MAGIC,
    BTRFS_SUPER_MAGIC,
    TMPFS_MAGIC,
    OVERLAYFS_SUPER_MAGIC,
];

/// How long the time of a path's last change may stay the same while it is changed again.
fn step(path: &Path) -> Duration {
    // Of a symlink it is asked where that is, and not where it leads.
    let place = match path.symlink_metadata() {
        Ok(data) if data.is_symlink() => path.parent().unwrap_or(path),
        _ => path,
    };
    match statfs(place) {
        Ok(data) if TICKING.contains(&data.filesystem_type()) => TICKS,
        _ => STEP,
    }
}

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
    /// The state now of a name in a directory; symlinks not followed.
    fn of(dir: impl AsFd, name: &Path, part: Part) -> nix::Result<Self> {
        let data = match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(data) => data,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Self::Absent),
            Err(errno) => return Err(errno),
        };
        Ok(match part {
            Part::Being => Self::Being(data.st_mode & KIND, data.st_dev, data.st_ino),
            Part::Whole => Self::Whole(
                data.st_mode,
                data.st_dev,
                data.st_ino,
                data.st_size as u64,
                data.st_ctime,
                data.st_ctime_nsec,
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

/// The type bits of a mode (inode(7)).
const KIND: u32 = 0o170_000;

/// What a finding rests on: paths with their states, by the directories that they are in: looking up a name in one
/// that is open takes the kernel half of what a whole path does, and the names take half of the room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Witnesses(Vec<Directory>);

/// A directory with names in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Directory(PathBuf, Vec<(PathBuf, State)>);

/// A [`Directory`] as a text has it.
#[derive(Deserialize)]
struct Told<'a>(#[serde(borrow)] Name<'a>, #[serde(borrow)] Vec<(Name<'a>, State)>);

/// Part of the text, if it is in no need of escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// To open a directory and close it takes as long as to look up so many names by whole paths.
const OPENED: usize = 4;

impl Told<'_> {
    /// Whether every name is as it was.
    fn holds(&self) -> bool {
        let Self(Name(path), names) = self;
        let path = Path::new(&**path);
        let flags = (OFlag::O_PATH | OFlag::O_DIRECTORY).bits();
        let open = || File::options().read(true).custom_flags(flags).open(path).ok();
        // It may never have been there.
        let dir = (names.len() >= OPENED).then(open).flatten();
        names.iter().all(|(Name(name), was)| {
            let now = match &dir {
                Some(dir) => State::of(dir, Path::new(&**name), was.part()),
                None => State::of(AT_FDCWD, &path.join(&**name), was.part()),
            };
            now.is_ok_and(|now| now == *was)
        })
    }
}

/// Looks at each directory as soon as it is told of, so that nothing of a long text is kept.
struct Look;

impl<'de> Visitor<'de> for Look {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("directories with names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<bool, A::Error> {
        let mut hold = true;
        while let Some(directory) = all.next_element::<Told<'de>>()? {
            // Who looks ahead has time, and may stand in the way of somebody who has none.
            std::thread::yield_now();
            hold = hold && directory.holds();
        }
        Ok(hold)
    }
}

/// Whether everything is as it was when [`Witnesses`] became this text.
///
/// # Errors
/// If it is none.
pub(crate) fn hold(text: &[u8]) -> serde_json::Result<bool> {
    let mut text = serde_json::Deserializer::from_slice(text);
    let hold = text.deserialize_seq(Look)?;
    text.end()?;
    Ok(hold)
}

/// A path as a name in a directory; the root is one in itself.
fn place(path: &Path) -> (&Path, &Path) {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => (dir, Path::new(name)),
        _ => (path, Path::new(".")),
    }
}

impl Witnesses {
    /// The states of what was seen for a finding that was begun at `begun`; `None` when something changed so late
    /// that a further change might not show, or can't be looked at.
    pub(crate) fn take(seen: &BTreeMap<PathBuf, Part>, begun: SystemTime) -> Option<Self> {
        let settled = begun.checked_sub(STEP)?;
        let too_new = |path: &Path, at: SystemTime| {
            at > settled && begun.checked_sub(step(path)).is_none_or(|settled| at > settled)
        };
        let whole = |path: &Path| seen.get(path) == Some(&Part::Whole);
        let mut all: BTreeMap<&Path, Vec<(PathBuf, State)>> = BTreeMap::new();
        for (path, part) in seen {
            let state = State::of(AT_FDCWD, path, *part).ok()?;
            if state.changed().is_some_and(|at| too_new(path, at)) {
                return None;
            }
            // A directory's own state changes with the names in it.
            let told_by_directory =
                state == State::Absent && path.parent().is_some_and(|dir| whole(dir) && dir.is_dir());
            if !told_by_directory {
                let (dir, name) = place(path);
                all.entry(dir).or_default().push((name.to_owned(), state));
            }
        }
        let directory = |(dir, names): (&Path, _)| Directory(dir.to_owned(), names);
        Some(Self(all.into_iter().map(directory).collect()))
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

    fn holds(witnesses: &Witnesses) -> bool {
        hold(&serde_json::to_vec(witnesses).unwrap()).unwrap()
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
            assert!(holds(&before), "before {what}");
            // Kernels before 6.13 keep times in steps of a timer tick.
            std::thread::sleep(Duration::from_millis(15));
            change();
            assert!(!holds(&before), "{what} was not seen");
        }
    }

    #[test]
    fn a_walk_along_a_directory_is_not_disturbed_by_what_comes_and_goes_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let seen = BTreeMap::from([(dir.path().to_owned(), Part::Being)]);
        let witnesses = Witnesses::take(&seen, SystemTime::now()).unwrap();
        fs::write(dir.path().join("new"), "").unwrap();
        assert!(holds(&witnesses));
    }

    #[test]
    fn what_has_changed_some_ticks_ago_is_one_where_times_are_the_kernels_own() {
        // A path that no file system of that kind has.
        assert_eq!(step(Path::new("/proc/self")), STEP);
        let dir = tempfile::tempdir().unwrap();
        if step(dir.path()) != TICKS {
            return;
        }
        let seen = BTreeMap::from([(dir.path().to_owned(), Part::Whole)]);
        std::thread::sleep(TICKS * 2);
        let witnesses = Witnesses::take(&seen, SystemTime::now()).unwrap();
        fs::write(dir.path().join("new"), "").unwrap();
        assert!(!holds(&witnesses));
    }

    #[test]
    fn names_are_told_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["plain", "a \"quoted\" one", "back\\slash", "new\nline", "ümläut"];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        for name in names {
            let before = witnesses(dir.path(), &[]);
            assert!(holds(&before), "before {name}");
            std::thread::sleep(Duration::from_millis(15));
            // The directory itself does not change by that: only by its own name can it be told.
            fs::write(dir.path().join(name), "more").unwrap();
            assert!(!holds(&before), "{name}");
        }
        assert!(hold(b"[[\"/\",[[\".\",\"-\"]]]]").is_ok_and(|hold| !hold));
        for text in ["", "{}", "[[]]", "[] []", "[[\"/\",[[\".\",1]]]]"] {
            assert!(hold(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_has_changed_just_now_is_no_witness() {
        let dir = tempfile::tempdir().unwrap();
        let seen = BTreeMap::from([(dir.path().to_owned(), Part::Whole)]);
        assert_eq!(Witnesses::take(&seen, SystemTime::now()), None);
    }
}
