//! The plan of a root: what stands where, kept free of contradictions while it grows.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use callgate_cache::{Part, saw};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::elf::Missing;
use crate::error::PlanError;
use crate::identity::Identity;
use crate::view::{Node, View, names_in, node_at};
use crate::{Entry, PythonInside, TracedFrom};

/// What a root holds, by path inside it.
///
/// Parents of an entry are directories in the plan too (mode 0755 when nobody said otherwise), or are covered by
/// an [`Entry::Tree`]. What a tree has already is not listed again; what differs from it is an overlay: an entry
/// below a tree, over something that exists there.
///
/// ```
/// use callgate_rootfs::{Entry, Plan};
/// use std::path::Path;
///
/// let mut plan = Plan::new();
/// plan.insert("/usr/lib/demo/data", Entry::Dir { mode: 0o755 })?;
/// plan.insert("/lib", Entry::Symlink { target: "usr/lib".into() })?;
/// let paths: Vec<_> = plan.iter().map(|(path, _)| path.to_str().unwrap()).collect();
/// assert_eq!(paths, ["/lib", "/usr", "/usr/lib", "/usr/lib/demo", "/usr/lib/demo/data"]);
/// assert!(plan.insert("/lib/x", Entry::Tmp).is_err()); // behind a symlink
/// # Ok::<(), callgate_rootfs::PlanError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    // Path's order compares components, so a parent comes right before its descendants.
    #[serde(deserialize_with = "in_order")]
    entries: BTreeMap<PathBuf, Entry>,
    pub(crate) python: Option<PythonInside>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) identity: Option<Identity>,
    pub(crate) traced_from: Option<TracedFrom>,
    pub(crate) missing: Vec<Missing>,
    pub(crate) notes: Vec<String>,
}

/// Reads a map whose entries are in their order, as they were written: put in one by one, each would be looked for, and
/// paths take long to compare.
fn in_order<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<PathBuf, Entry>, D::Error> {
    struct All;
    impl<'de> Visitor<'de> for All {
        type Value = Vec<(PathBuf, Entry)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of paths")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(entry) = map.next_entry()? {
                all.push(entry);
            }
            Ok(all)
        }
    }
    from.deserialize_map(All).map(BTreeMap::from_iter)
}

impl Plan {
    /// An empty root.
    pub fn new() -> Self {
        Plan::default()
    }

    /// All entries, each after the directory it is in; `/` itself is not listed.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// The entries that stand strictly below `path`.
    pub fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (&'a Path, &'a Entry)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.entries
            .range::<Path, _>((Excluded(path), Unbounded))
            .take_while(move |(at, _)| at.starts_with(path))
            .map(|(at, entry)| (at.as_path(), entry))
    }

    /// The entry at exactly this path.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<&Entry> {
        self.entries.get(path.as_ref())
    }

    pub(crate) fn get_mut(&mut self, path: impl AsRef<Path>) -> Option<&mut Entry> {
        self.entries.get_mut(path.as_ref())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The Python in it, when it was planned for one.
    pub fn python(&self) -> Option<&PythonInside> {
        self.python.as_ref()
    }

    /// The program in it, when it was planned for a command.
    pub fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }

    /// Whose name its `/etc/passwd` holds.
    pub fn identity(&self) -> Option<Identity> {
        self.identity
    }

    /// The trace that it was planned from, if it was.
    pub fn traced_from(&self) -> Option<&TracedFrom> {
        self.traced_from.as_ref()
    }

    /// Shared objects that were looked for while planning and not found, or found only by luck; see [`Missing`].
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// What was left out or looked odd while planning, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Puts `entry` at `path` (absolute, normalised), with its parents.
    ///
    /// # Errors
    /// A path that isn't normalised, one behind a symlink, one that is something else already, or one in a tree
    /// that has nothing there to mount over.
    pub fn insert(&mut self, path: impl AsRef<Path>, entry: Entry) -> Result<(), PlanError> {
        let path = path.as_ref();
        if !is_normal(path) {
            return Err(PlanError::NotNormal {
                path: path.to_owned(),
            });
        }
        let conflict = |have: &Entry| PlanError::Conflict {
            path: path.to_owned(),
            have: have.kind(),
            new: entry.kind(),
        };
        if let Some((at, cover)) = self.nearest_above(path) {
            match cover {
                Entry::Symlink { .. } => {
                    return Err(PlanError::ThroughSymlink {
                        path: path.to_owned(),
                        link: at.to_owned(),
                    });
                }
                Entry::Tree { source } => {
                    if !self.entries.contains_key(path) && self.tree_has(at, source, path, &entry)? {
                        return Ok(());
                    }
                }
                cover if cover.is_directory() => {}
                cover => return Err(conflict(cover)),
            }
        }
        match (self.entries.get(path), &entry) {
            (Some(have), new) if have == new => return Ok(()),
            // An implied directory gives way to whatever says more.
            (None | Some(Entry::Dir { .. }), Entry::Tree { source }) => {
                let source = source.clone();
                return self.insert_tree(path, source);
            }
            (Some(Entry::Dir { .. } | Entry::Tree { .. }), Entry::Hidden) | (None, _) => {}
            (Some(Entry::Dir { .. }), Entry::Dir { .. } | Entry::Tmp) => {}
            (Some(Entry::Tmp | Entry::Tree { .. } | Entry::Hidden), Entry::Dir { .. }) => return Ok(()),
            (Some(have), _) => return Err(conflict(have)),
        }
        self.imply_parents(path);
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Puts another text in the place of one.
    pub(crate) fn replace(&mut self, path: &str, entry: Entry) -> Result<(), PlanError> {
        match self.entries.get_mut(Path::new(path)) {
            Some(have @ Entry::Text { .. }) => {
                *have = entry;
                Ok(())
            }
            _ => self.insert(path, entry),
        }
    }

    /// Puts a tree where there is nothing or a directory; what stood below is checked against the tree.
    fn insert_tree(&mut self, path: &Path, source: PathBuf) -> Result<(), PlanError> {
        let below: Vec<_> = self
            .below(path)
            .map(|(at, entry)| (at.to_owned(), entry.clone()))
            .collect();
        let mut grown = self.clone();
        for (at, _) in &below {
            grown.entries.remove(at);
        }
        grown.imply_parents(path);
        grown.entries.insert(path.to_owned(), Entry::Tree { source });
        for (at, entry) in below {
            grown.insert(at, entry)?;
        }
        *self = grown;
        Ok(())
    }

    fn imply_parents(&mut self, path: &Path) {
        for parent in path
            .ancestors()
            .skip(1)
            .filter(|parent| *parent != Path::new("/"))
        {
            match self.entries.get(parent) {
                Some(_) => return,
                None if matches!(self.nearest_above(parent), Some((_, Entry::Tree { .. }))) => return,
                None => self.entries.insert(parent.to_owned(), Entry::Dir { mode: 0o755 }),
            };
        }
    }

    /// The closest entry strictly above `path`.
    pub(crate) fn nearest_above(&self, path: &Path) -> Option<(&Path, &Entry)> {
        path.ancestors()
            .skip(1)
            .find_map(|at| self.entries.get_key_value(at))
            .map(|(at, entry)| (at.as_path(), entry))
    }

    /// Whether the tree at `at` shows, at `path`, just what `entry` would put there.
    fn tree_has(&self, at: &Path, source: &Path, path: &Path, entry: &Entry) -> Result<bool, PlanError> {
        let Ok(rest) = path.strip_prefix(at) else {
            return Ok(false);
        };
        let mut there = source.to_owned();
        let mut node = Some(Node::Dir);
        for name in rest {
            if let Some(Node::Symlink(_)) = node {
                let inside = at.join(there.strip_prefix(source).unwrap_or(&there));
                return Err(PlanError::ThroughSymlink {
                    path: path.to_owned(),
                    link: inside,
                });
            }
            there.push(name);
            node = node_at(&there).map_err(PlanError::io("reading", &there))?;
        }
        Ok(match (node, entry) {
            (None, _) => {
                return Err(PlanError::NotInTree {
                    path: path.to_owned(),
                    tree: at.to_owned(),
                });
            }
            (Some(Node::Symlink(is)), Entry::Symlink { target }) => is == *target,
            (Some(Node::Dir), Entry::Dir { .. }) => true,
            (Some(Node::Dir), Entry::Tree { source }) | (Some(Node::File(_)), Entry::File { source }) => {
                same_file(&there, source)
            }
            _ => false,
        })
    }
}

/// Whether two paths of the host are one file.
fn same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| {
        saw(path, Part::Being);
        path.symlink_metadata().ok().map(|data| (data.dev(), data.ino()))
    };
    one == other || (id(one).is_some() && id(one) == id(other))
}

fn is_normal(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    path.is_absolute()
        && path != Path::new("/")
        && !bytes.contains(&0)
        && path.components().skip(1).all(|component| matches!(component, Component::Normal(_)))
        // `components` drops `.`, `//` and a trailing slash in silence; a normalised path has none.
        && path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
}

/// The plan as code in the root will see it.
impl View for Plan {
    fn lookup(&self, path: &Path) -> io::Result<Option<Node>> {
        if path == Path::new("/") {
            return Ok(Some(Node::Dir));
        }
        Ok(match self.entries.get(path) {
            Some(Entry::File { source }) => Some(Node::File(source.clone())),
            Some(Entry::Symlink { target }) => Some(Node::Symlink(target.clone())),
            // A text has no path to open it by; nothing that looks into files needs one.
            Some(Entry::Text { .. } | Entry::Device(_) | Entry::Masked) => Some(Node::Other),
            Some(_) => Some(Node::Dir),
            None => match self.nearest_above(path) {
                Some((at, Entry::Tree { source })) => {
                    node_at(&source.join(path.strip_prefix(at).unwrap_or(path)))?
                }
                _ => None,
            },
        })
    }

    fn list(&self, dir: &Path) -> Vec<std::ffi::OsString> {
        let mut names: Vec<_> = self
            .below(dir)
            .filter(|(at, _)| at.parent() == Some(dir))
            .filter_map(|(at, _)| at.file_name().map(ToOwned::to_owned))
            .collect();
        let source = match (self.get(dir), self.nearest_above(dir)) {
            (Some(Entry::Tree { source }), _) => Some(source.clone()),
            (None, Some((at, Entry::Tree { source }))) => {
                Some(source.join(dir.strip_prefix(at).unwrap_or(dir)))
            }
            _ => None,
        };
        names.extend(source.iter().flat_map(|source| names_in(source)));
        names.sort();
        names.dedup();
        names
    }
}
