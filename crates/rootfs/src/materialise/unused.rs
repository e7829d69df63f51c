//! Removes from a store what no root holds any more.
//!
//! Who holds a content is told by the file system: a root that has it has a name for it, and the kernel counts names
//! (st_nlink, inode(7)). What has no more of them than the store itself is nobody's. The same inode says since when:
//! its ctime is the moment at which it last gained or lost a name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use crate::materialise::store::{self, StoreError};

/// What of the unused contents is removed. Where both are given, both have to allow it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prune {
    /// Only what no root has held for so long.
    pub older_than: Option<Duration>,
    /// Only so much that what is unused takes no more bytes than this; what has been unused longest goes first.
    pub keep: Option<u64>,
    /// Nothing is removed, and what would be is counted.
    pub dry_run: bool,
}

/// Contents of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Share {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Share {
    fn add(&mut self, content: &Content) {
        self.files += 1;
        self.bytes += content.bytes;
    }
}

/// What was done to a store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pruned {
    /// What some root holds.
    pub used: Share,
    /// What was removed, or would be.
    pub removed: Share,
    /// What no root holds and is kept.
    pub kept: Share,
}

/// One inode of the store.
struct Content {
    /// Its names in the store.
    names: Vec<PathBuf>,
    /// All its names.
    links: u64,
    bytes: u64,
    /// When it last gained or lost a name.
    since: SystemTime,
}

/// Removes from a store what no root holds. Waits for builds that use it, and builds wait for this.
///
/// # Errors
/// [`StoreError`]: it is no store, not ours alone, or the file system refuses.
pub fn prune_store(store: &Path, what: &Prune) -> Result<Pruned, StoreError> {
    let failed = |source| StoreError::Io {
        store: store.to_owned(),
        source,
    };
    store::superuser()?;
    if !store.join("objects").is_dir() || !store.join("seen").is_dir() {
        return Err(StoreError::NotOne {
            store: store.to_owned(),
        });
    }
    store::trusted(store)?;
    let lock = store::lock_file(store).map_err(failed)?;
    let _alone = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.into()))?;
    pruned(store, what).map_err(failed)
}

fn pruned(store: &Path, what: &Prune) -> io::Result<Pruned> {
    let mut result = Pruned::default();
    let mut unused = Vec::new();
    for content in contents(store)? {
        match content.links > content.names.len() as u64 {
            true => result.used.add(&content),
            false => {
                result.kept.add(&content);
                unused.push(content);
            }
        }
    }
    unused.sort_by_key(|content| content.since);
    let now = SystemTime::now();
    for content in unused {
        // A clock that was set back makes nothing older.
        let age = now.duration_since(content.since).unwrap_or_default();
        let young = what.older_than.is_some_and(|least| age < least);
        let room = what.keep.is_some_and(|most| result.kept.bytes <= most);
        if young || room {
            break;
        }
        if !what.dry_run {
            for name in &content.names {
                fs::remove_file(name)?;
            }
        }
        result.kept.files -= 1;
        result.kept.bytes -= content.bytes;
        result.removed.add(&content);
    }
    Ok(result)
}

/// Everything in the store, each content once.
fn contents(store: &Path) -> io::Result<Vec<Content>> {
    let mut all: BTreeMap<(u64, u64), Content> = BTreeMap::new();
    for part in ["objects", "seen"] {
        for entry in fs::read_dir(store.join(part))? {
            let path = entry?.path();
            let data = path.symlink_metadata()?;
            if !data.is_file() {
                continue;
            }
            let since = Duration::new(
                u64::try_from(data.ctime()).unwrap_or(0),
                u32::try_from(data.ctime_nsec()).unwrap_or(0),
            );
            let content = all.entry((data.dev(), data.ino())).or_insert(Content {
                names: Vec::new(),
                links: data.nlink(),
                bytes: data.len(),
                since: SystemTime::UNIX_EPOCH + since,
            });
            content.names.push(path);
        }
    }
    Ok(all.into_values().collect())
}
