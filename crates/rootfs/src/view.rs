//! A file system as somebody sees it: the host's, a plan's, or a materialised root's.
//!
//! The loader's search and the resolution of symlinks are written once, over this trait, so that a library is
//! looked for inside a root exactly as it is on the host.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use callgate_cache::{Part, saw};

/// What stands at one path, symlinks not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory.
    Dir,
    /// A regular file, with the path under which this process can open it.
    File(PathBuf),
    /// A symlink with what it says.
    Symlink(PathBuf),
    /// A device, socket or fifo.
    Other,
}

/// A file system, addressed by absolute paths without `..`.
pub(crate) trait View: Sync {
    /// What stands at `path`; `None` when nothing does. Only the last component may be a symlink.
    fn lookup(&self, path: &Path) -> io::Result<Option<Node>>;

    /// The names in a directory, sorted; empty when it isn't one.
    fn list(&self, dir: &Path) -> Vec<OsString>;
}

/// A directory of the host seen as `/`; with `/` itself, the host.
#[derive(Debug, Clone)]
pub(crate) struct HostView {
    root: PathBuf,
}

impl HostView {
    /// The host itself.
    pub(crate) fn host() -> Self {
        Self::below(Path::new("/"))
    }

    /// The tree below `root`.
    pub(crate) fn below(root: &Path) -> Self {
        HostView {
            root: root.to_owned(),
        }
    }

    fn outside(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

impl View for HostView {
    fn lookup(&self, path: &Path) -> io::Result<Option<Node>> {
        node_at(&self.outside(path))
    }

    fn list(&self, dir: &Path) -> Vec<OsString> {
        names_in(&self.outside(dir))
    }
}

/// What stands at a path of the host.
pub(crate) fn node_at(path: &Path) -> io::Result<Option<Node>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    saw(path, Part::Being);
    let kind = match path.symlink_metadata() {
        Ok(metadata) => metadata.file_type(),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !kind.is_dir() {
        saw(path, Part::Whole);
    }
    Ok(Some(if kind.is_symlink() {
        Node::Symlink(path.read_link()?)
    } else if kind.is_dir() {
        Node::Dir
    } else if kind.is_file() {
        Node::File(path.to_owned())
    } else {
        Node::Other
    }))
}

/// The sorted names in a directory of the host; empty when it can't be read.
pub(crate) fn names_in(dir: &Path) -> Vec<OsString> {
    saw(dir, Part::Whole);
    let Ok(entries) = dir.read_dir() else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
}

/// `path` with `.` and `..` taken out by name alone. Right only where no component before a `..` is a symlink.
pub(crate) fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}
