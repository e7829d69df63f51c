//! A plan with its trees spelled out: each single thing that a materialised root will hold.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::plan::Plan;
use crate::scan::oddity;
use crate::{Device, Entry};

/// One thing of a materialised root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Dir {
        mode: u32,
    },
    Tmp,
    Copy {
        source: PathBuf,
        size: u64,
        modified: SystemTime,
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
    Text {
        bytes: Vec<u8>,
        mode: u32,
    },
    Device(Device),
}

/// Everything, by path inside the root; parents before children.
#[derive(Debug, Default)]
pub(crate) struct Items {
    pub(crate) items: BTreeMap<PathBuf, Item>,
    pub(crate) notes: Vec<String>,
}

/// Spells a plan out. The error names the path on the host.
pub(crate) fn flatten(plan: &Plan) -> Result<Items, (PathBuf, io::Error)> {
    let mut out = Items::default();
    let mut closed = Vec::new();
    for (path, entry) in plan.iter() {
        let item = match entry {
            Entry::Dir { mode } => Item::Dir { mode: *mode },
            Entry::Hidden => Item::Dir { mode: 0o755 },
            Entry::Masked => continue,
            Entry::Tmp => Item::Tmp,
            Entry::File { source } => match copy(source)? {
                Some(item) => item,
                None => {
                    closed.push(source.clone());
                    continue;
                }
            },
            Entry::Symlink { target } => Item::Link {
                target: target.clone(),
            },
            Entry::Text { bytes, mode } => Item::Text {
                bytes: bytes.clone(),
                mode: *mode,
            },
            Entry::Device(device) => Item::Device(*device),
            Entry::Tree { source } => {
                out.tree(plan, path, source, &mut closed)?;
                continue;
            }
        };
        // An overlay comes after its tree, and replaces what the tree has there.
        out.items.insert(path.to_owned(), item);
    }
    out.notes.extend(about(&closed));
    Ok(out)
}

/// What is said of files that are left out because the host closes them.
fn about(closed: &[PathBuf]) -> Option<String> {
    const SHOWN: usize = 3;
    let shown: Vec<String> = closed
        .iter()
        .take(SHOWN)
        .map(|path| path.display().to_string())
        .collect();
    let more = match closed.len().checked_sub(SHOWN + 1) {
        Some(more) => format!(" and {} more", more + 1),
        None => String::new(),
    };
    (!closed.is_empty()).then(|| {
        format!(
            "left out, as the host lets only their owner or group read them: {}{more} (chmod o+r what the code may read)",
            shown.join(", ")
        )
    })
}

impl Items {
    fn tree(
        &mut self,
        plan: &Plan,
        inside: &Path,
        source: &Path,
        closed: &mut Vec<PathBuf>,
    ) -> Result<(), (PathBuf, io::Error)> {
        let seen_as = |path: &Path| match path.strip_prefix(source) {
            Ok(rest) if !rest.as_os_str().is_empty() => inside.join(rest),
            _ => inside.to_owned(),
        };
        let overlaid = |path: &Path| path != source && plan.get(seen_as(path)).is_some();
        let mut walk = WalkDir::new(source)
            .into_iter()
            .filter_entry(|entry| !overlaid(entry.path()));
        while let Some(entry) = walk.next() {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(source).to_owned();
                (path, error.into())
            })?;
            let (path, kind) = (seen_as(entry.path()), entry.file_type());
            let item = if kind.is_dir() {
                // The tree itself was asked for.
                if entry.depth() > 0 && is_closed(&entry)? {
                    closed.push(entry.into_path());
                    walk.skip_current_dir();
                    continue;
                }
                Item::Dir { mode: 0o755 }
            } else if kind.is_symlink() {
                let target = entry
                    .path()
                    .read_link()
                    .map_err(|error| (entry.path().to_owned(), error))?;
                Item::Link { target }
            } else if kind.is_file() {
                match copy(entry.path())? {
                    Some(item) => item,
                    None => {
                        closed.push(entry.into_path());
                        continue;
                    }
                }
            } else {
                let odd = oddity(kind).unwrap_or("special file");
                self.notes.push(format!(
                    "{} is a {odd}, which is left out",
                    entry.path().display()
                ));
                continue;
            };
            self.items.insert(path, item);
        }
        Ok(())
    }

    /// How many regular files there are, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.items
            .values()
            .fold((0, 0), |(files, bytes), item| match item {
                Item::Copy { size, .. } => (files + 1, bytes + size),
                Item::Text { bytes: text, .. } => (files + 1, bytes + text.len() as u64),
                _ => (files, bytes),
            })
    }

    /// A hash that changes when anything in the root does.
    pub(crate) fn key(&self) -> String {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for (path, item) in &self.items {
            field(path.as_os_str().as_bytes());
            match item {
                Item::Dir { mode } => field(format!("dir {mode:o}").as_bytes()),
                Item::Tmp => field(b"tmp"),
                Item::Copy {
                    size, modified, mode, ..
                } => {
                    let time = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
                    field(format!("file {mode:o} {size} {time}").as_bytes());
                }
                Item::Link { target } => {
                    field(b"link");
                    field(target.as_os_str().as_bytes());
                }
                Item::Text { bytes, mode } => {
                    field(format!("text {mode:o}").as_bytes());
                    field(bytes);
                }
                Item::Device(device) => field(device.name().as_bytes()),
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether a directory is one that others than its owner and group may not look into.
fn is_closed(directory: &walkdir::DirEntry) -> Result<bool, (PathBuf, io::Error)> {
    let metadata = directory
        .metadata()
        .map_err(|error| (directory.path().to_owned(), error.into()))?;
    Ok(metadata.permissions().mode() & OTHERS != OTHERS)
}

/// Reading and executing, for whoever is neither the owner nor in the group.
const OTHERS: u32 = 0o005;

/// What others may do with the source, everybody may do with the copy: the code has a uid of its own, so it is
/// one of the others on the host as well, and a root must not open what the host closes to it (a key in an
/// editable install, say). `None` for what others may neither read nor execute. Set-uid bits mean nothing inside.
fn copy(source: &Path) -> Result<Option<Item>, (PathBuf, io::Error)> {
    let metadata = source
        .symlink_metadata()
        .map_err(|error| (source.to_owned(), error))?;
    let modified = metadata.modified().map_err(|error| (source.to_owned(), error))?;
    let others = metadata.permissions().mode() & OTHERS;
    Ok((others != 0).then(|| Item::Copy {
        source: source.to_owned(),
        size: metadata.len(),
        modified,
        mode: 0o600 | others | others << 3 | others << 6,
    }))
}
