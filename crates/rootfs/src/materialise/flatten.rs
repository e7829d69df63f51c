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
    for (path, entry) in plan.iter() {
        let item = match entry {
            Entry::Dir { mode } => Item::Dir { mode: *mode },
            Entry::Hidden => Item::Dir { mode: 0o755 },
            Entry::Tmp => Item::Tmp,
            Entry::File { source } => copy(source)?,
            Entry::Symlink { target } => Item::Link {
                target: target.clone(),
            },
            Entry::Text { bytes, mode } => Item::Text {
                bytes: bytes.clone(),
                mode: *mode,
            },
            Entry::Device(device) => Item::Device(*device),
            Entry::Tree { source } => {
                out.tree(plan, path, source)?;
                continue;
            }
        };
        // An overlay comes after its tree, and replaces what the tree has there.
        out.items.insert(path.to_owned(), item);
    }
    Ok(out)
}

impl Items {
    fn tree(&mut self, plan: &Plan, inside: &Path, source: &Path) -> Result<(), (PathBuf, io::Error)> {
        let seen_as = |path: &Path| match path.strip_prefix(source) {
            Ok(rest) if !rest.as_os_str().is_empty() => inside.join(rest),
            _ => inside.to_owned(),
        };
        let overlaid = |path: &Path| path != source && plan.get(seen_as(path)).is_some();
        for entry in WalkDir::new(source)
            .into_iter()
            .filter_entry(|entry| !overlaid(entry.path()))
        {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(source).to_owned();
                (path, error.into())
            })?;
            let (path, kind) = (seen_as(entry.path()), entry.file_type());
            let item = if kind.is_dir() {
                Item::Dir { mode: 0o755 }
            } else if kind.is_symlink() {
                let target = entry
                    .path()
                    .read_link()
                    .map_err(|error| (entry.path().to_owned(), error))?;
                Item::Link { target }
            } else if kind.is_file() {
                copy(entry.path())?
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

/// Of the source's mode only the execute bit matters: set-uid bits and closed permissions mean nothing inside.
fn copy(source: &Path) -> Result<Item, (PathBuf, io::Error)> {
    let metadata = source
        .symlink_metadata()
        .map_err(|error| (source.to_owned(), error))?;
    let modified = metadata.modified().map_err(|error| (source.to_owned(), error))?;
    let mode = if metadata.permissions().mode() & 0o111 == 0 {
        0o644
    } else {
        0o755
    };
    Ok(Item::Copy {
        source: source.to_owned(),
        size: metadata.len(),
        modified,
        mode,
    })
}
