//! Adds paths of the host to a plan, with every symlink on the way as the host has it.

use std::path::{Path, PathBuf};

use crate::Entry;
use crate::error::PlanError;
use crate::guard::shows_too_much;
use crate::plan::Plan;
use crate::resolve::{Resolved, Unresolved, resolve};
use crate::view::{HostView, Node};

impl Plan {
    /// Adds a file or a directory of the host under its own path and returns the path without symlinks.
    ///
    /// A symlink met on the way (`/lib` → `usr/lib`, `python3` → `python3.11`) becomes a symlink of the plan.
    /// A directory becomes an [`Entry::Tree`].
    ///
    /// # Errors
    /// [`PlanError::NotFound`], [`PlanError::Loop`], [`PlanError::TooWide`] for a directory that would show too
    /// much of the host, and those of [`Plan::insert`].
    pub fn add_host(&mut self, path: impl AsRef<Path>) -> Result<PathBuf, PlanError> {
        let Resolved { links, real, node } = on_host(path.as_ref())?;
        let entry = match node {
            Node::File(source) => Entry::File { source },
            Node::Dir => {
                if let Some(shows) = shows_too_much(&real) {
                    return Err(PlanError::TooWide { path: real, shows });
                }
                Entry::Tree { source: real.clone() }
            }
            Node::Symlink(_) | Node::Other => return Err(PlanError::NotRegular { path: real }),
        };
        self.add_links(links)?;
        self.insert(&real, entry)?;
        Ok(real)
    }

    /// [`Plan::add_host`] for what need not exist: `None` when the host doesn't have it.
    ///
    /// # Errors
    /// As for [`Plan::add_host`], but not [`PlanError::NotFound`].
    pub fn add_host_if_there(&mut self, path: impl AsRef<Path>) -> Result<Option<PathBuf>, PlanError> {
        match self.add_host(path) {
            Ok(real) => Ok(Some(real)),
            Err(PlanError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn add_links(&mut self, links: Vec<(PathBuf, PathBuf)>) -> Result<(), PlanError> {
        links
            .into_iter()
            .try_for_each(|(at, target)| self.insert(at, Entry::Symlink { target }))
    }
}

/// Follows a path of the host.
pub(crate) fn on_host(path: &Path) -> Result<Resolved, PlanError> {
    if !path.is_absolute() {
        return Err(PlanError::NotNormal {
            path: path.to_owned(),
        });
    }
    resolve(&HostView::host(), path).map_err(|error| match error {
        Unresolved::NotFound => PlanError::NotFound {
            path: path.to_owned(),
        },
        Unresolved::Loop => PlanError::Loop {
            path: path.to_owned(),
        },
        Unresolved::Io(at, source) => PlanError::Io {
            operation: "reading",
            path: at,
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_chain_of_symlinks_is_recreated_link_by_link() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("usr/lib")).unwrap();
        fs::write(dir.join("usr/lib/libz.so.1.2"), "z").unwrap();
        symlink("libz.so.1.2", dir.join("usr/lib/libz.so.1")).unwrap();
        symlink("usr/lib", dir.join("lib")).unwrap();
        let mut plan = Plan::new();
        let real = plan.add_host(dir.join("lib/libz.so.1")).unwrap();
        assert_eq!(real, dir.join("usr/lib/libz.so.1.2"));
        assert_eq!(
            plan.get(dir.join("lib")),
            Some(&Entry::Symlink {
                target: "usr/lib".into()
            })
        );
        let link = Entry::Symlink {
            target: "libz.so.1.2".into(),
        };
        assert_eq!(plan.get(dir.join("usr/lib/libz.so.1")), Some(&link));
        assert_eq!(plan.get(&real), Some(&Entry::File { source: real.clone() }));
    }

    #[test]
    fn a_loop_of_symlinks_and_a_missing_file_are_errors_that_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        symlink("b", dir.path().join("a")).unwrap();
        symlink("a", dir.path().join("b")).unwrap();
        let error = Plan::new().add_host(dir.path().join("a")).unwrap_err();
        assert!(
            matches!(&error, PlanError::Loop { path } if path.ends_with("a")),
            "{error}"
        );
        let error = Plan::new().add_host(dir.path().join("none")).unwrap_err();
        assert!(
            matches!(&error, PlanError::NotFound { path } if path.ends_with("none")),
            "{error}"
        );
    }

    #[test]
    fn a_directory_that_shows_the_host_is_refused() {
        let error = Plan::new().add_host("/usr").unwrap_err();
        assert!(matches!(error, PlanError::TooWide { .. }), "{error}");
    }

    #[test]
    fn what_a_tree_has_already_is_not_listed_again_in_either_order() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("env/lib")).unwrap();
        fs::write(dir.join("env/lib/a.so"), "a").unwrap();
        symlink("lib", dir.join("env/lib64")).unwrap();
        let mut first = Plan::new();
        first.add_host(dir.join("env")).unwrap();
        first.add_host(dir.join("env/lib64/a.so")).unwrap();
        let mut last = Plan::new();
        last.add_host(dir.join("env/lib64/a.so")).unwrap();
        last.add_host(dir.join("env")).unwrap();
        assert_eq!(first, last);
        assert_eq!(first.below(&dir.join("env")).count(), 0);
    }

    #[test]
    fn what_differs_from_the_tree_is_kept_as_an_overlay_over_something_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        fs::create_dir_all(dir.join("env/site-packages")).unwrap();
        fs::write(dir.join("env/conf"), "host's").unwrap();
        let mut plan = Plan::new();
        plan.add_host(dir.join("env")).unwrap();
        plan.insert(dir.join("env/site-packages"), Entry::Hidden).unwrap();
        plan.insert(
            dir.join("env/conf"),
            Entry::Text {
                bytes: b"ours".to_vec(),
                mode: 0o644,
            },
        )
        .unwrap();
        assert_eq!(plan.below(&dir.join("env")).count(), 2);
        let error = plan.insert(dir.join("env/new"), Entry::Tmp).unwrap_err();
        assert!(matches!(error, PlanError::NotInTree { .. }), "{error}");
    }

    #[test]
    fn one_path_cannot_be_two_things() {
        let mut plan = Plan::new();
        plan.insert(
            "/a",
            Entry::Text {
                bytes: vec![],
                mode: 0o644,
            },
        )
        .unwrap();
        for (path, entry) in [("/a", Entry::Tmp), ("/a/b", Entry::Tmp)] {
            let error = plan.insert(path, entry).unwrap_err();
            assert!(matches!(error, PlanError::Conflict { .. }), "{path}: {error}");
        }
        for path in ["a", "/", "/a/../b", "/a//b", "/a/", "/./a"] {
            let error = plan.insert(path, Entry::Tmp).unwrap_err();
            assert!(matches!(error, PlanError::NotNormal { .. }), "{path}: {error}");
        }
    }
}
