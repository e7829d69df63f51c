//! Keeps what was found out between runs: each *finding* with what it *rests on*, so that none is used which a
//! fresh look would not give.
//!
//! Terms:
//! - a *finding* is a value that costs time to find out: how an interpreter describes itself, the plan of a root;
//! - a *witness* is a path that was looked at for it, with its state ([`saw`] records it, [`watched`] collects);
//! - a finding *rests on* its witnesses: when one of them has changed, it is looked for anew.
//!
//! ```
//! use callgate_cache::{Cache, Part, saw};
//! use std::path::Path;
//!
//! let dir = tempfile::tempdir()?;
//! let cache = Cache::open(&dir.path().join("found"));
//! let look = || -> Result<u64, std::io::Error> {
//!     saw(Path::new("/etc/passwd"), Part::Whole);
//!     Ok(std::fs::metadata("/etc/passwd")?.len())
//! };
//! let length = cache.recall("length", &"/etc/passwd", look)?;
//! let again = || -> Result<u64, std::io::Error> { panic!("nothing has changed") };
//! assert_eq!(cache.recall("length", &"/etc/passwd", again)?, length);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Whom it trusts: a file is used only if it and its directory are ours, nobody else may write to either, and
//! nobody but us and the superuser could have put another directory in the place of one above it. Everything else is
//! passed over, and [`Cache::notes`] says why. What is kept is never more than a shortcut: it is checked against the
//! file system each time, and the kernel checks again when it is used.
//!
//! To look at all that a finding rests on takes longer than to read it. A cache that is [ahead](Cache::ahead) leaves that
//! until [`Cache::holds`] is asked: there may be a better time for it.
//!
//! Limits: a change is seen by inode, size and the time of the last status change (ctime, which nobody can set). A
//! finding is not kept when something that it rests on changed just before (50 ms on ext4, xfs, btrfs, tmpfs and overlayfs,
//! whose times are the kernel's; two seconds elsewhere), as a further change might show in nothing. What depends on more than files and the variables in its key
//! (the time of day, the network) must not be kept.

mod ahead;
mod cache;
mod file;
mod seen;
mod state;
mod trust;

pub use cache::Cache;
pub use file::digest;
pub use seen::{Part, saw, saw_way, watched};
pub use trust::{Distrust, ours, own};
