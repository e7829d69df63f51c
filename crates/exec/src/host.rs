//! The host's own tree as the root of a run: what of it may be opened, when Landlock alone keeps it.
//!
//! It is what a planned root would hold, at the host's own paths. Files that only a planned root has (its
//! passwd) are not there, and neither are the host's in their place.

use std::io;
use std::path::{Path, PathBuf};

use callgate_rootfs::{Entry, Plan};

use crate::run::Network;

/// How far something may be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A directory: everything below it may be read, listed and executed.
    Tree,
    /// A directory: it and those below it may be listed.
    Listing,
    /// A file: it may be read and executed.
    File,
    /// A device: it may be read and written to.
    Device,
    /// A directory: everything may be done below it.
    Scratch,
}

/// What of the host the entries of a plan stand for.
///
/// # Errors
/// If a directory can't be read that has something in it which is left out of the plan.
pub(crate) fn reachable(plan: &Plan, scratch: &Path, network: Network) -> io::Result<Vec<(PathBuf, Reach)>> {
    let mut all = vec![(scratch.to_owned(), Reach::Scratch)];
    if network == Network::Host {
        // A planned root has copies of these, as they may be links.
        for name in ["resolv.conf", "hosts", "nsswitch.conf"] {
            if let Ok(file) = Path::new("/etc").join(name).canonicalize() {
                all.push((file, Reach::File));
            }
        }
    }
    for (at, entry) in plan.iter() {
        match entry {
            Entry::Tree { source } => tree(plan, at, source, &mut all)?,
            Entry::File { source } => all.push((source.clone(), Reach::File)),
            Entry::Device(device) => all.push((Path::new("/dev").join(device.name()), Reach::Device)),
            Entry::Dir { .. }
            | Entry::Hidden
            | Entry::Masked
            | Entry::Symlink { .. }
            | Entry::Text { .. }
            | Entry::Tmp => {}
        }
    }
    Ok(all)
}

/// A tree without what stands over parts of it in the plan: a rule can't take back what another gives.
fn tree(plan: &Plan, at: &Path, source: &Path, all: &mut Vec<(PathBuf, Reach)>) -> io::Result<()> {
    if plan.below(at).next().is_none() {
        all.push((source.to_owned(), Reach::Tree));
        return Ok(());
    }
    // The names of what is left out are no secret: stat(2) would tell them anyway (landlock(7)).
    all.push((source.to_owned(), Reach::Listing));
    for child in std::fs::read_dir(source)? {
        let child = child?;
        let inside = at.join(child.file_name());
        if plan.get(&inside).is_some() {
            continue;
        }
        let kind = child.file_type()?;
        if kind.is_dir() {
            tree(plan, &inside, &child.path(), all)?;
        } else if kind.is_file() {
            all.push((child.path(), Reach::File));
        }
    }
    Ok(())
}

/// How many processes and threads this user has: the kernel counts those of a run with them
/// (`RLIMIT_NPROC`, setrlimit(2)).
pub(crate) fn tasks_of(uid: u32) -> io::Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        // /proc/self would count twice.
        if path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
            .is_none()
        {
            continue;
        }
        // One that ends meanwhile is none.
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let field = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse().ok()
        };
        if field("Uid:") == Some(u64::from(uid)) {
            count += field("Threads:").unwrap_or(1);
        }
    }
    Ok(count)
}

/// What a run lacks whose only walls are Landlock and filters: in words, each with what comes of it.
pub(crate) fn missing(version: i32, network: Network) -> Vec<String> {
    let mut all = vec![
        "mount namespace: names, sizes and owners of the host's files can be seen, their contents can't",
        "pid namespace: numbers of the host's processes can be guessed; /proc is shut",
        match network {
            Network::None => {
                "network and ipc namespaces: sockets, System V IPC and message queues are refused to it instead"
            }
            Network::Host => "ipc namespace: System V IPC and message queues are refused to it instead",
        },
        "uts namespace: the host's name can be seen",
        "a uid of its own: it is the user, and --pids counts the user's other processes too",
        "a sized /tmp: --tmp-size is not kept, its scratch directory is on a disk",
    ];
    if version < 6 {
        all.push(
            "signal scope (Landlock ABI 6, Linux 6.12): it can end the user's other processes, callgate among them",
        );
    }
    all.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_tree_is_not_granted() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for made in ["lib/kept/deep", "lib/half/hidden", "lib/half/seen"] {
            std::fs::create_dir_all(at.join(made)).unwrap();
        }
        std::fs::write(at.join("lib/file"), "x").unwrap();
        let mut plan = Plan::new();
        plan.insert(
            at.join("lib"),
            Entry::Tree {
                source: at.join("lib"),
            },
        )
        .unwrap();
        let scratch = PathBuf::from("/scratch");
        let whole = [(scratch.clone(), Reach::Scratch), (at.join("lib"), Reach::Tree)];
        assert_eq!(reachable(&plan, &scratch, Network::None).unwrap(), whole);
        plan.insert(at.join("lib/half/hidden"), Entry::Hidden).unwrap();
        let found = reachable(&plan, &scratch, Network::None).unwrap();
        for part in [
            ("lib", Reach::Listing),
            ("lib/file", Reach::File),
            ("lib/kept", Reach::Tree),
            ("lib/half", Reach::Listing),
            ("lib/half/seen", Reach::Tree),
        ] {
            assert!(found.contains(&(at.join(part.0), part.1)), "{part:?}: {found:?}");
        }
        assert_eq!(found.len(), 6, "{found:?}");
    }

    #[test]
    fn the_tasks_of_a_user_are_counted_with_their_threads() {
        let uid = nix::unistd::getuid().as_raw();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let waits = std::thread::spawn(move || wait.recv());
        assert!(tasks_of(uid).unwrap() >= 2);
        drop(done);
        assert!(waits.join().unwrap().is_err());
        assert_eq!(tasks_of(u32::MAX - 7).unwrap(), 0);
    }
}
