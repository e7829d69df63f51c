//! The directory tree that sandboxed code sees as `/`: what belongs in it, what is missing, how it is built.
//!
//! Terms:
//! - a [`Plan`] says what stands at which path of a root: an [`Entry`] per path. Whoever mounts a root walks the
//!   plan; this crate mounts nothing;
//! - a *tree* is a directory of the host that is shown whole and read-only; an *overlay* is an entry below one;
//! - a [`Closure`] is the set of shared objects that programs and modules load, found as glibc's loader finds them;
//! - a [`Missing`] object is one that the loader won't find, with who needs it and where the host has it;
//! - a root is *materialised* when it is written out as a directory, with a marker that says so.
//!
//! ```
//! use callgate_rootfs::{Identity, Plan, check_plan, materialise};
//!
//! let plan = Plan::for_command("/bin/sh".as_ref(), &[], &Identity { uid: 4242, gid: 4242 })?;
//! assert!(check_plan(&plan).is_complete());
//!
//! let dir = tempfile::tempdir()?;
//! let built = materialise(&plan, &dir.path().join("root"), &Default::default(), &mut |_| {})?;
//! assert_eq!(built.root.program.as_deref(), Some("/bin/sh".as_ref()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits:
//! - libraries are looked for by glibc's rules. musl's loader is told by a note; `LD_LIBRARY_PATH`, `LD_PRELOAD` and
//!   `/etc/ld.so.preload` are not looked at, as a run has none of them, nor are the directories for old
//!   processors (`tls`, `haswell`), which glibc dropped in 2.37;
//! - what a program opens by dlopen under a name of its own making is not seen, but for what glibc itself
//!   opens (libgcc_s, libnss_files). Character set converters (gconv) and locales other than C.UTF-8 are left out;
//! - for a command, only shared objects are found, not its data.

mod add;
mod base;
mod certs;
mod check;
mod command;
mod complete;
mod elf;
mod entry;
mod error;
mod guard;
mod host;
mod identity;
mod materialise;
mod network;
mod plan;
mod python;
mod recall;
mod resolve;
mod scan;
mod sys;
mod traced;
mod view;

pub use check::{CheckError, REPORT_SCHEMA, Report, check_directory, check_plan};
pub use elf::{Cache, CacheEntry, CacheError, Closure, Found, Missing, is_in_loader_cache, objects_on_host};
pub use entry::{Device, Entry};
pub use error::PlanError;
pub use guard::shows_too_much;
pub use identity::Identity;
pub use materialise::{
    BuildError, BuildOptions, Built, BuiltRoot, MARKER, OpenError, Progress, Prune, Pruned, ROOT_SCHEMA,
    Share, StoreError, current, materialise, open, prune_store, replica_of, replicate,
};
pub use plan::Plan;
pub use python::PythonInside;
pub use recall::Wanted;
pub use traced::TracedFrom;
