//! The cache of what earlier runs found out: opened once for a command, its complaints printed.

use std::sync::Arc;

use callgate_cache::Cache;
use callgate_python::environment;

use crate::args::CacheArgs;
use crate::terminal::{DIM, escape};

/// What earlier runs found out, if it is wanted.
pub(crate) fn open(args: &CacheArgs) -> Arc<Cache> {
    Arc::new(match (args.no_cache, environment::cache_dir()) {
        (false, Ok(dir)) => Cache::open(&dir.join("found")),
        // Without a directory nothing is kept, as after `--no-cache`.
        (true, _) | (false, Err(_)) => Cache::none(),
    })
}

/// Prints what was passed over.
pub(crate) fn complain(cache: &Cache) {
    for note in cache.notes() {
        say!("{DIM}note: {}{DIM:#}", escape(&note));
    }
}
