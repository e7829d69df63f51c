//! A shared object that the loader won't find: who needs it, and where the host has it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::elf::cache::Cache;
use crate::elf::loader::CACHE;
use crate::view::View;

/// A name that an object asks for and the loader won't find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// The name in DT_NEEDED, e.g. `libgfortran.so.5`, or the path of a loader (PT_INTERP).
    pub soname: String,
    /// The object that asks for it, by its path without symlinks.
    pub needed_by: PathBuf,
    /// Files of this name inside the root, in places where the loader doesn't look on behalf of `needed_by`. When
    /// there is one, it works all the same if another module loads that file first, as `import torch` does.
    pub in_root: Vec<PathBuf>,
    /// Files of this name on the host: in the directories of its `ld.so.cache`, below /usr/lib, /usr/local, /lib and /opt.
    pub on_host: Vec<PathBuf>,
}

impl Missing {
    /// Whether nothing of this name is in the root at all, so that what needs it can't work.
    pub fn is_fatal(&self) -> bool {
        self.in_root.is_empty()
    }
}

/// Where libraries lie that no cache knows of.
const WIDE: &[&str] = &["/usr/lib", "/usr/lib64", "/usr/local", "/opt"];
/// The wide search ends after so many directory entries: it is advice, not worth seconds.
const MOST_ENTRIES: usize = 60_000;
const DEEPEST: usize = 7;

/// Looks for each missing name among the root's objects and on the host.
pub(crate) fn locate<'a>(
    view: &dyn View,
    missing: BTreeSet<(String, PathBuf)>,
    in_root: impl Iterator<Item = &'a PathBuf>,
) -> Vec<Missing> {
    if missing.is_empty() {
        return Vec::new();
    }
    let mut inside: BTreeMap<&OsStr, Vec<PathBuf>> = BTreeMap::new();
    for path in in_root {
        if let Some(name) = path.file_name() {
            inside.entry(name).or_default().push(path.clone());
        }
    }
    let names: BTreeSet<OsString> = missing
        .iter()
        .filter_map(|(name, _)| Path::new(name).file_name())
        .map(OsStr::to_owned)
        .collect();
    let on_host = on_host(&names);
    missing
        .into_iter()
        .map(|(soname, needed_by)| {
            let name = Path::new(&soname).file_name().unwrap_or_default();
            let beside = needed_by.parent().map(|dir| dir.join(name));
            let mut in_root = inside.get(name).cloned().unwrap_or_default();
            // A symlink's name isn't an object's name: at least the needer's own directory is looked into.
            if let Some(path) = beside.filter(|path| matches!(view.lookup(path), Ok(Some(_)))) {
                in_root.push(path);
            }
            in_root.sort();
            in_root.dedup();
            Missing {
                on_host: on_host.get(name).cloned().unwrap_or_default(),
                soname,
                needed_by,
                in_root,
            }
        })
        .collect()
}

/// The files of the host with this name, where [`Missing::on_host`] looks; none for a name with a slash.
pub fn objects_on_host(name: &str) -> Vec<PathBuf> {
    let name = OsString::from(name);
    let found = on_host(&BTreeSet::from([name.clone()]));
    found.get(&name).cloned().unwrap_or_default()
}

/// Whether the host's `ld.so.cache` has this file, as it names it or as it is without symlinks.
pub fn is_in_loader_cache(path: &Path) -> bool {
    let cache = std::fs::read(CACHE)
        .ok()
        .and_then(|bytes| Cache::parse(&bytes).ok())
        .unwrap_or_default();
    let same = |known: &Path| {
        known == path
            || known.file_name() == path.file_name() && known.canonicalize().ok() == path.canonicalize().ok()
    };
    cache.entries().iter().any(|entry| same(&entry.path))
}

fn on_host(names: &BTreeSet<OsString>) -> BTreeMap<OsString, Vec<PathBuf>> {
    let mut out: BTreeMap<OsString, BTreeSet<PathBuf>> = BTreeMap::new();
    let mut add = |path: PathBuf| {
        if let Some(name) = path.file_name().filter(|name| names.contains(*name)) {
            // /lib is a symlink on most hosts: say each file once, by its real directory.
            let dir = path.parent().and_then(|dir| dir.canonicalize().ok());
            out.entry(name.to_owned())
                .or_default()
                .insert(dir.map_or(path.clone(), |dir| dir.join(name)));
        }
    };
    let cache = std::fs::read(CACHE)
        .ok()
        .and_then(|bytes| Cache::parse(&bytes).ok())
        .unwrap_or_default();
    let dirs: BTreeSet<&Path> = cache
        .entries()
        .iter()
        .filter_map(|entry| entry.path.parent())
        .collect();
    for dir in dirs {
        names
            .iter()
            .map(|name| dir.join(name))
            .filter(|path| path.exists())
            .for_each(&mut add);
    }
    for root in WIDE {
        WalkDir::new(root)
            .max_depth(DEEPEST)
            .sort_by_file_name()
            .into_iter()
            .flatten()
            .take(MOST_ENTRIES)
            .filter(|entry| names.contains(entry.file_name()))
            .for_each(|entry| add(entry.into_path()));
    }
    out.into_iter()
        .map(|(name, paths)| (name, paths.into_iter().collect()))
        .collect()
}
