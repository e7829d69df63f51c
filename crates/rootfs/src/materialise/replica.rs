//! A root like one that stands, for somebody else: its files are links to the other's, its names are its own.

use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{BuildError, BuiltRoot, Marker, claim, outside, write};
use crate::identity::Identity;
use crate::materialise::marker::{self, MARKER};

/// What scratch directories have as their mode.
const SCRATCH: u32 = 0o1777;

/// Has in `dir` what `base` has, for somebody else. Where `dir` has it already, by the base's key, nothing is done.
/// Scratch directories are empty, what is in those of the base stays there.
///
/// Regular files and devices are hard links: whoever may run code as the owner of `base` in one of the two can change
/// both. Don't replicate over a root in which code is running, nor while the base is being built.
///
/// # Errors
/// [`BuildError`]; the directory is then marked as incomplete and refused by [`open`](crate::open).
pub fn replicate(base: &BuiltRoot, dir: &Path, identity: Identity) -> Result<BuiltRoot, BuildError> {
    if let Some(there) = replica_of(base, dir, identity) {
        return Ok(there);
    }
    let io = |operation: &'static str, path: &Path| {
        let (dir, path) = (dir.to_owned(), path.to_owned());
        move |source: io::Error| BuildError::Io {
            dir,
            operation,
            path,
            source,
        }
    };
    let _lock = claim::claim(dir, &io)?;
    let mut marker = Marker::read(&base.dir)?;
    marker.uid = Some(identity.uid);
    marker.gid = Some(identity.gid);
    marker.complete = false;
    marker.write(dir).map_err(io("writing the marker of", dir))?;
    let result = empty(dir).and_then(|()| tree(&base.dir, dir, true));
    result.map_err(|(path, source)| io("linking", &path)(source))?;
    for (path, text) in identity.files() {
        let at = outside(dir, Path::new(path));
        write::text(&at, text.as_bytes(), 0o644).map_err(io("writing", &at))?;
    }
    marker.complete = true;
    marker.write(dir).map_err(io("writing the marker of", dir))?;
    Ok(marker::open(dir)?)
}

/// The root that stands in `dir`, if it is a whole replica of `base` for this identity.
pub fn replica_of(base: &BuiltRoot, dir: &Path, identity: Identity) -> Option<BuiltRoot> {
    let there = marker::open(dir).ok()?;
    (there.key == base.key && there.identity == Some(identity)).then_some(there)
}

type Failed = (PathBuf, io::Error);

/// Removes everything but the marker.
fn empty(dir: &Path) -> Result<(), Failed> {
    for entry in dir.read_dir().map_err(|error| (dir.to_owned(), error))? {
        let entry = entry.map_err(|error| (dir.to_owned(), error))?;
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ if entry.file_name() == MARKER => Ok(()),
            _ => fs::remove_file(&path),
        };
        removed.map_err(|error| (path, error))?;
    }
    Ok(())
}

/// Makes in `to`, which is there, what `from` has.
fn tree(from: &Path, to: &Path, top: bool) -> Result<(), Failed> {
    let failed = |error| (from.to_owned(), error);
    for entry in from.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if top && entry.file_name().to_string_lossy().starts_with(MARKER) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let failed = |error| (source.clone(), error);
        if !entry.file_type().map_err(failed)?.is_dir() {
            link(&source, &target).map_err(failed)?;
            continue;
        }
        let mode = source.symlink_metadata().map_err(failed)?.permissions().mode() & 0o7777;
        // Writable while it is being filled.
        write::directory(&target, mode | 0o700).map_err(failed)?;
        if mode & SCRATCH != SCRATCH {
            tree(&source, &target, false)?;
        }
        if mode & 0o700 != 0o700 {
            write::directory(&target, mode).map_err(failed)?;
        }
    }
    Ok(())
}

/// A link, or a copy where the file system has no more links to give.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let error = match fs::hard_link(from, to) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let data = from.symlink_metadata()?;
    let refused = matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMLINK | Errno::EPERM | Errno::EOPNOTSUPP)
    );
    if !refused || !data.is_file() {
        return Err(error);
    }
    io::copy(&mut File::open(from)?, &mut File::create_new(to)?)?;
    let file = File::options().write(true).open(to)?;
    file.set_times(FileTimes::new().set_modified(data.modified()?))?;
    file.set_permissions(Permissions::from_mode(data.permissions().mode() & 0o7777))
}
