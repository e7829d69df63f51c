//! Roots: what belongs in them, what is kept of that between runs, how they are written out.
//!
//! - [`traced`]: `root build --from TRACE`: the smallest root in which a probe runs;
//! - [`built`]: roots that are written out: resumed, shared, reflinked, never written to by the code in them;
//! - [`pruned`]: what no root holds any more goes out of a store;
//! - [`node`]: what Node.js says of itself is kept like that;
//! - [`kept`]: plans that are kept between runs: never older than what they were made from, never from a stranger.

mod built;
mod kept;
mod node;
mod pruned;
mod traced;

use std::os::unix::fs::PermissionsExt;

/// A directory of the host that is no scratch directory of a root.
fn elsewhere() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    dir
}
