//! Records which paths are looked at while something is found out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What of a path mattered to who looked at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Whether something is there, and which directory, file or link it is: what a walk along a path asks.
    Being,
    /// What is in it too: the content of a file, the names in a directory, what a symlink says.
    Whole,
}

thread_local! {
    /// What this thread has looked at since it began to be watched.
    static SEEN: RefCell<Option<BTreeMap<PathBuf, Part>>> = const { RefCell::new(None) };
}

/// Records that the present finding depends on this path, if one is being watched on this thread. Symlinks are not
/// followed: each one on the way is a path of its own.
pub fn saw(path: &Path, part: Part) {
    SEEN.with_borrow_mut(|seen| {
        if let Some(seen) = seen {
            match seen.get_mut(path) {
                Some(known) => *known = part.max(*known),
                None => drop(seen.insert(path.to_owned(), part)),
            }
        }
    });
}

/// Records a path with every symlink on the way to it (path_resolution(7)): what it leads to depends on them all.
pub fn saw_way(path: &Path) {
    let mut path = path.to_owned();
    for _ in 0..=MOST_LINKS {
        let mut on_the_way: Vec<&Path> = path.ancestors().collect();
        on_the_way.reverse();
        let link = on_the_way.iter().find_map(|at| {
            saw(at, Part::Being);
            Some((*at, at.read_link().ok()?))
        });
        let Some((at, target)) = link else { break };
        saw(at, Part::Whole);
        let rest = path.strip_prefix(at).unwrap_or(Path::new(""));
        let parent = at.parent().unwrap_or(Path::new("/"));
        // Joined, an absolute target stands for itself.
        path = match rest.as_os_str().is_empty() {
            true => parent.join(target),
            false => parent.join(target).join(rest),
        };
    }
    saw(&path, Part::Whole);
}

/// The kernel follows no more (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Does some work, and returns with its result what it looked at on this thread. In a watched work of another, both
/// are told.
pub fn watched<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<PathBuf, Part>) {
    let outer = SEEN.replace(Some(BTreeMap::new()));
    let result = work();
    let seen = SEEN.replace(outer).unwrap_or_default();
    for (path, part) in &seen {
        saw(path, *part);
    }
    (result, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_links_on_the_way_are_seen_and_what_they_lead_to() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("real/deep")).unwrap();
        std::fs::write(at("real/deep/file"), "").unwrap();
        std::os::unix::fs::symlink("real", at("one")).unwrap();
        std::os::unix::fs::symlink(at("one/deep/file"), at("two")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        let ((), seen) = watched(|| {
            saw_way(&at("two"));
            saw_way(&at("loop"));
        });
        for whole in ["two", "one", "real/deep/file", "loop"] {
            assert_eq!(seen.get(&at(whole)), Some(&Part::Whole), "{whole}: {seen:?}");
        }
        assert_eq!(seen.get(&at("real/deep")), Some(&Part::Being));
    }

    #[test]
    fn what_is_seen_within_is_seen_without_too_and_by_nobody_when_nobody_watches() {
        let (path, other) = (Path::new("/a"), Path::new("/b"));
        saw(path, Part::Whole);
        let (inner, outer) = watched(|| {
            saw(other, Part::Being);
            watched(|| {
                saw(path, Part::Being);
                saw(path, Part::Whole);
                saw(path, Part::Being);
            })
            .1
        });
        assert_eq!(inner, BTreeMap::from([(path.to_owned(), Part::Whole)]));
        assert_eq!(
            outer,
            BTreeMap::from([(path.to_owned(), Part::Whole), (other.to_owned(), Part::Being)])
        );
    }
}
