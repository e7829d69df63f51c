//! Shared objects of the host, and how the loader in the root finds them.

use std::path::{Path, PathBuf};

use super::found::{Found, add, is_open};

/// Where every loader looks, besides the directories of the machine's kind (`/usr/lib/x86_64-linux-gnu`).
const DEFAULT: [&str; 4] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64"];

const CACHE: &str = "/etc/ld.so.cache";

/// An object by its name.
pub(super) fn object(name: &str) -> Found {
    let mut on_host = callgate_rootfs::objects_on_host(name);
    on_host.retain(|path| is_open(path));
    // The ones that are found by themselves first.
    on_host.sort_by_key(|path| !is_default(path));
    let Some(best) = on_host.first() else {
        return Found {
            advice: Some("install the package that has it, on the host or in the environment".to_owned()),
            ..Found::default()
        };
    };
    let mut options = add(best);
    if !is_default(best) {
        if callgate_rootfs::is_in_loader_cache(best) {
            options.extend(add(Path::new(CACHE)));
        } else if let Some(dir) = best.parent() {
            options.extend(["--env".to_owned(), format!("LD_LIBRARY_PATH={}", dir.display())]);
        }
    }
    Found {
        options,
        on_host,
        advice: None,
    }
}

/// Whether a loader looks into its directory without being told.
fn is_default(path: &Path) -> bool {
    let Some(dir) = path.parent() else { return false };
    let real = |dir: &Path| dir.canonicalize().unwrap_or_else(|_| PathBuf::from(dir));
    let dir = real(dir);
    DEFAULT.iter().any(|at| {
        let at = real(Path::new(at));
        let multiarch = dir
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains("-linux-gnu"));
        dir == at || (multiarch && dir.parent() == Some(at.as_path()))
    })
}
