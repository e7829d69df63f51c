//! Walks a tree once, for what matters about it: objects to be loaded, links that may lead out, odd files.

use std::ffi::OsStr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use callgate_cache::{Part, saw};
use walkdir::{DirEntry, WalkDir};

/// Which files may be ELF objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidates {
    /// Those named so (`*.so`, `*.so.*`) or lying in a `bin`: no file's metadata is read.
    Named,
    /// Those, and all that have an execute bit.
    Executable,
}

/// What a tree holds; paths are those inside the root.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Regular files that may be ELF objects, with where this process can open them.
    pub(crate) objects: Vec<(PathBuf, PathBuf)>,
    /// Symlinks with what they say.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// What can't be read, in sentences.
    pub(crate) notes: Vec<String>,
    /// Sockets, fifos and devices, with the word for them.
    pub(crate) odd: Vec<(PathBuf, &'static str)>,
}

/// Walks the directory `source`, which is seen as `inside`. What `skip` names (by its path inside) is not entered.
pub(crate) fn scan(
    inside: &Path,
    source: &Path,
    candidates: Candidates,
    skip: &dyn Fn(&Path) -> bool,
) -> Scan {
    let mut out = Scan::default();
    let seen_as = |entry: &DirEntry| inside.join(entry.path().strip_prefix(source).unwrap_or(entry.path()));
    // Bytecode alone: Python loads no extension module from there, and it comes and goes by itself.
    let bytecode = |entry: &DirEntry| {
        candidates == Candidates::Named && entry.depth() > 0 && entry.file_name() == OsStr::new("__pycache__")
    };
    let walk = WalkDir::new(source).sort_by_file_name().into_iter();
    for entry in
        walk.filter_entry(|entry| !(entry.file_type().is_dir() && (bytecode(entry) || skip(&seen_as(entry)))))
    {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                saw(error.path().unwrap_or(source), Part::Whole);
                out.notes.push(format!(
                    "not everything below {} can be read: {error}",
                    inside.display()
                ));
                continue;
            }
        };
        let kind = entry.file_type();
        if kind.is_dir() {
            // Its names, and what its links say, change with it.
            saw(entry.path(), Part::Whole);
        }
        if kind.is_symlink() {
            match entry.path().read_link() {
                Ok(target) => out.links.push((seen_as(&entry), target)),
                Err(error) => out
                    .notes
                    .push(format!("{} can't be read: {error}", entry.path().display())),
            }
        } else if kind.is_file() {
            if may_be_object(&entry, candidates) {
                out.objects.push((seen_as(&entry), entry.into_path()));
            }
        } else if let Some(odd) = oddity(kind) {
            out.odd.push((seen_as(&entry), odd));
        }
    }
    out
}

/// The word for a file that isn't copied.
pub(crate) fn oddity(kind: std::fs::FileType) -> Option<&'static str> {
    [
        (kind.is_socket(), "socket"),
        (kind.is_fifo(), "fifo"),
        (kind.is_char_device() || kind.is_block_device(), "device"),
    ]
    .into_iter()
    .find_map(|(is, word)| is.then_some(word))
}

fn may_be_object(entry: &DirEntry, candidates: Candidates) -> bool {
    let name = entry.file_name().to_string_lossy();
    let parent = entry.path().parent().and_then(Path::file_name);
    name.ends_with(".so")
        || name.contains(".so.")
        || parent.is_some_and(|dir| dir == OsStr::new("bin"))
        || candidates == Candidates::Executable
            && entry
                .metadata()
                .is_ok_and(|data| data.permissions().mode() & 0o111 != 0)
}
