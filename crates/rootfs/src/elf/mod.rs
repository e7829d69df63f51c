//! Shared objects: which ones a program needs, where the loader finds them, and which it won't.
//!
//! The search is glibc's, as ld.so(8) and `elf/dl-load.c` have it: DT_RPATH of the object and its loaders,
//! DT_RUNPATH, `/etc/ld.so.cache`, the loader's own directories; `LD_LIBRARY_PATH` is never set in a root.

mod cache;
mod closure;
mod loader;
mod missing;
mod object;
mod scope;
mod search;

pub use cache::{Cache, CacheEntry, CacheError};
pub use closure::{Closure, Found};
pub(crate) use closure::{Needs, closure};
pub use missing::{Missing, is_in_loader_cache, objects_on_host};
pub(crate) use object::{Parsed, parse};
pub(crate) use search::parse_all;
