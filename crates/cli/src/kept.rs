//! The cache of what earlier runs found out: opened once for a command, its complaints printed.

use std::sync::Arc;

use callgate_cache::Cache;
use callgate_python::environment;

use crate::args::CacheArgs;
use crate::terminal::{DIM, escape};

/// What earlier runs found out, if it is wanted.
pub(crate) fn open(args: &CacheArgs) -> Arc<Cache> {
    Arc::new(opened(args))
}

/// The same, at once: whether it still holds is asked before anything is done that can't be undone.
pub(crate) fn open_ahead(args: &CacheArgs) -> Arc<Cache> {
    Arc::new(opened(args).ahead())
}

fn opened(args: &CacheArgs) -> Cache {
    match (args.no_cache, environment::cache_dir()) {
        (false, Ok(dir)) => Cache::open(&dir.join("found")),
        // Without a directory nothing is kept, as after `--no-cache`.
        (true, _) | (false, Err(_)) => Cache::none(),
    }
}

/// Prints what was passed over.
pub(crate) fn complain(cache: &Cache) {
    for note in cache.notes() {
        say!("{DIM}note: {}{DIM:#}", escape(&note));
    }
}
