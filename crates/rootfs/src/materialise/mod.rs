//! Writes a plan out as a directory that can be entered with chroot, where nothing can be mounted.

mod claim;
mod current;
mod flatten;
mod marker;
mod prune;
mod replica;
mod store;
mod unused;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::entry::Entry;
use crate::plan::Plan;
pub use current::current;
use flatten::{Item, Items, flatten};
pub(crate) use marker::Marker;
pub use marker::{BuiltRoot, MARKER, OpenError, ROOT_SCHEMA, open};
pub use replica::{replica_of, replicate};
use store::Store;
pub use store::StoreError;
pub use unused::{Prune, Pruned, Share, prune_store};
use write::{Copy, Done};

/// How to build.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// Share blocks with the host's files, copy on write, where the file system can (btrfs, xfs); else copy.
    pub reflink: bool,
    /// Keep each content once in this directory, and have it in the root as a hard link: the next root with the same
    /// files is built in no time. For a superuser, and for roots in which nobody else runs code as root.
    pub store: Option<PathBuf>,
}

/// How far a build has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Files that are in place.
    pub files: u64,
    /// Files there will be.
    pub all_files: u64,
    /// Bytes that are in place.
    pub bytes: u64,
    /// Bytes there will be.
    pub all_bytes: u64,
}

/// What a build did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The root.
    pub root: BuiltRoot,
    /// Regular files in it, and their bytes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Regular files that had to be written; the others were there from the last time.
    pub written: u64,
    /// Those of them that share their blocks with the host's.
    pub reflinked: u64,
    /// Those of them that are links to the store's.
    pub linked: u64,
    /// Those of these that are new in the store.
    pub stored: u64,
    /// Things of an earlier build that were removed.
    pub removed: u64,
}

/// Why a root can't be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The directory holds something that callgate didn't build.
    #[error(
        "building the root in {dir:?}: it is not empty and callgate didn't build it: name a new or empty directory"
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// Somebody else builds in it right now.
    #[error("building the root in {dir:?}: another build is under way there: wait for it")]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
    /// Something is mounted in it: removing an old file there would remove it from wherever it is mounted from.
    #[error("building the root in {dir:?}: {mount:?} is mounted there: unmount it first")]
    Mounted {
        /// The directory.
        dir: PathBuf,
        /// The mount point.
        mount: PathBuf,
    },
    /// Something of the host would lie in a scratch directory, whose content goes with each run.
    #[error(
        "building the root in {dir:?}: {path:?} can't be in it, as {scratch:?} is emptied for each run: have it elsewhere \
         (make the environment in another directory, set XDG_CACHE_HOME to one), or run where the root is mounted (tier \
         full or unprivileged, without --root)"
    )]
    InScratch {
        /// The directory.
        dir: PathBuf,
        /// What of the host.
        path: PathBuf,
        /// The scratch directory.
        scratch: PathBuf,
    },
    /// The marker is there, but of no use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A system call failed. What was written so far is marked as incomplete.
    #[error("building the root in {dir:?}: {operation} {path:?} failed: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// The first thing of a plan that lies in a scratch directory, and that directory. Directories that only lead there
/// don't count.
fn in_scratch(plan: &Plan) -> Option<(&Path, &Path)> {
    plan.iter()
        .filter(|(_, entry)| !matches!(entry, Entry::Dir { .. } | Entry::Tmp))
        .find_map(|(path, _)| {
            let mut above = path.ancestors().skip(1);
            let scratch = above.find(|at| matches!(plan.get(at), Some(Entry::Tmp)))?;
            Some((path, scratch))
        })
}

/// Builds `plan` in the directory `dir`: new, empty, or built by callgate before, in which case only what has
/// changed (by size and time) is written. `progress` is called now and then.
///
/// Files are copied, never linked to the host's: code that finds a way to write to its root doesn't write to the host.
/// With a store they are links to the store's files, to which nobody can write (see [`BuildOptions::store`]). What others
/// than owner and group may do with a file of the host, everybody may do with its copy (0755, 0644 or 0711); what they
/// may neither read nor execute is left out with a note. The owner is the caller. Devices are made where the kernel permits it,
/// and are else left out with a note. Don't build over a root in which code is running.
///
/// # Errors
/// [`BuildError`]; the directory is then marked as incomplete and refused by [`open`].
pub fn materialise(
    plan: &Plan,
    dir: &Path,
    options: &BuildOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Built, BuildError> {
    let io = |operation: &'static str, path: &Path| {
        let (dir, path) = (dir.to_owned(), path.to_owned());
        move |source: io::Error| BuildError::Io {
            dir,
            operation,
            path,
            source,
        }
    };
    let named = |operation: &'static str| {
        let dir = dir.to_owned();
        move |(path, source): (PathBuf, io::Error)| BuildError::Io {
            dir,
            operation,
            path,
            source,
        }
    };
    if let Some((path, scratch)) = in_scratch(plan) {
        return Err(BuildError::InScratch {
            dir: dir.to_owned(),
            path: path.to_owned(),
            scratch: scratch.to_owned(),
        });
    }
    let mut items = flatten(plan).map_err(named("reading"))?;
    let store = match &options.store {
        Some(store) => Some(Store::open(store, dir)?),
        None => None,
    };
    let _lock = claim::claim(dir, &io)?;

    let (files, bytes) = items.size();
    let mut marker = Marker::of(plan, items.key(), files, bytes);
    // First of all: from here on, and until the end is reached, this directory is no root.
    marker.write(dir).map_err(io("writing the marker of", dir))?;
    let removed = prune::prune(dir, &items).map_err(named("removing"))?;
    for (path, item) in &items.items {
        let mode = match item {
            Item::Dir { mode } => *mode,
            Item::Tmp => 0o1777,
            _ => continue,
        };
        let at = outside(dir, path);
        // Writable while it is being filled.
        write::directory(&at, mode | 0o700).map_err(io("making the directory", &at))?;
    }
    let mut filled = fill(
        dir,
        &items,
        options.reflink,
        store.as_ref(),
        Progress {
            all_files: files,
            all_bytes: bytes,
            ..Progress::default()
        },
        progress,
    )
    .map_err(named("copying to"))?;
    let mut refused = Vec::new();
    for (path, item) in &items.items {
        let at = outside(dir, path);
        let (done, operation) = match item {
            Item::Link { target } => (write::link(&at, target), "linking"),
            Item::Text { bytes, mode } => {
                let done = write::text(&at, bytes, *mode);
                filled.written += u64::from(matches!(done, Ok(Done::Written)));
                (done, "writing")
            }
            Item::Device(device) => (write::device(&at, *device), "making the device"),
            Item::Dir { mode } if mode & 0o700 != 0o700 => (
                write::directory(&at, *mode).map(|()| Done::Written),
                "closing the directory",
            ),
            _ => continue,
        };
        if done.map_err(io(operation, &at))? == Done::Refused {
            refused.push(path.display().to_string());
        }
    }
    if !refused.is_empty() {
        items.notes.push(format!(
            "left out, as the kernel doesn't let this user make devices: {} (build as root for them)",
            refused.join(" ")
        ));
    }
    marker.notes.append(&mut items.notes);
    marker.complete = true;
    marker.write(dir).map_err(io("writing the marker of", dir))?;
    let mut root = open(dir)?;
    if options.reflink && filled.reflinked < filled.copied {
        root.notes.push(format!(
            "{} of {} files were copied, as their file systems can't share blocks with that of {}",
            filled.copied - filled.reflinked,
            filled.copied,
            dir.display()
        ));
    }
    Ok(Built {
        root,
        files,
        bytes,
        written: filled.written,
        reflinked: filled.reflinked,
        linked: filled.linked,
        stored: filled.stored,
        removed,
    })
}

fn outside(dir: &Path, path: &Path) -> PathBuf {
    dir.join(path.strip_prefix("/").unwrap_or(path))
}

/// How many regular files were put there in which way.
#[derive(Debug, Clone, Copy, Default)]
struct Filled {
    written: u64,
    /// Those of the host among them.
    copied: u64,
    reflinked: u64,
    linked: u64,
    stored: u64,
}

impl Filled {
    fn count(&mut self, done: Done) {
        let anew = !matches!(done, Done::Unchanged | Done::Refused);
        self.written += u64::from(anew);
        self.copied += u64::from(anew);
        self.reflinked += u64::from(done == Done::Reflinked);
        self.linked += u64::from(matches!(done, Done::Linked | Done::Stored));
        self.stored += u64::from(done == Done::Stored);
    }
}

/// Copies all regular files with a few threads; returns how many had to be written. The error names the file.
fn fill(
    dir: &Path,
    items: &Items,
    reflink: bool,
    store: Option<&Store>,
    mut state: Progress,
    progress: &mut dyn FnMut(Progress),
) -> Result<Filled, (PathBuf, io::Error)> {
    let work: Vec<_> = items
        .items
        .iter()
        .filter_map(|(path, item)| match item {
            Item::Copy {
                source,
                size,
                modified,
                mode,
            } => {
                let (size, modified, mode) = (*size, *modified, *mode);
                Some((
                    outside(dir, path),
                    Copy {
                        source,
                        size,
                        modified,
                        mode,
                        reflink,
                        store,
                    },
                ))
            }
            _ => None,
        })
        .collect();
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (send, results) = mpsc::channel();
    let threads = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let send = send.clone();
            scope.spawn(|| {
                let send = send;
                while let Some((to, copy)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = write::copy(to, copy).map_err(|error| (to.clone(), error));
                    let failed = result.is_err();
                    if failed {
                        stop.store(true, Ordering::Relaxed);
                    }
                    if send.send(result.map(|done| (done, copy.size))).is_err()
                        || stop.load(Ordering::Relaxed)
                    {
                        return;
                    }
                }
            });
        }
        drop(send);
        let (mut filled, mut first_error) = (Filled::default(), None);
        for result in results {
            match result {
                Ok((done, size)) => {
                    filled.count(done);
                    state.files += 1;
                    state.bytes += size;
                    progress(state);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(filled), Err)
    })
}
