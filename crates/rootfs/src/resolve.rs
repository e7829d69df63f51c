//! Follows a path through its symlinks, one component at a time, and remembers each link met.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::view::{Node, View};

/// The kernel follows this many links (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// Each symlink met on the way, with what it says.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// The path without any symlink.
    pub(crate) real: PathBuf,
    /// What stands there; never a symlink.
    pub(crate) node: Node,
}

/// Why a path leads nowhere.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// Nothing is there, or a component is no directory.
    NotFound,
    /// Too many links.
    Loop,
    /// A component couldn't be read.
    Io(PathBuf, io::Error),
}

/// What was met on the way, also where that leads nowhere.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// Each symlink, with what it says.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Each directory that was left again by a `..`: it has to be there as well.
    pub(crate) left: Vec<PathBuf>,
}

/// Follows `path` (absolute; `..` allowed) in `view`.
pub(crate) fn resolve(view: &dyn View, path: &Path) -> Result<Resolved, Unresolved> {
    let mut trail = Trail::default();
    let (real, node) = walk(view, path, &mut trail)?;
    Ok(Resolved {
        links: trail.links,
        real,
        node,
    })
}

/// As [`resolve`], one component after the other as the kernel does (path_resolution(7)): `..` is the parent of
/// where the links have led, not of the name before it.
pub(crate) fn walk(view: &dyn View, path: &Path, trail: &mut Trail) -> Result<(PathBuf, Node), Unresolved> {
    let mut todo: VecDeque<OsString> = VecDeque::new();
    queue(&mut todo, path);
    let Trail { links, left } = trail;
    let mut real = PathBuf::from("/");
    let mut node = Node::Dir;
    while let Some(name) = todo.pop_front() {
        if node != Node::Dir {
            return Err(Unresolved::NotFound);
        }
        if name == ".." {
            left.push(real.clone());
            real.pop();
            continue;
        }
        let next = real.join(&name);
        match view
            .lookup(&next)
            .map_err(|error| Unresolved::Io(next.clone(), error))?
        {
            None => return Err(Unresolved::NotFound),
            Some(Node::Symlink(target)) => {
                if links.len() == MAX_LINKS {
                    return Err(Unresolved::Loop);
                }
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                queue(&mut todo, &target);
                links.push((next, target));
            }
            Some(found) => {
                real = next;
                node = found;
            }
        }
    }
    Ok((real, node))
}

/// Puts the components of `path` in front of what is still to be walked.
fn queue(todo: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => todo.push_front(name.to_owned()),
            Component::ParentDir => todo.push_front("..".into()),
            _ => {}
        }
    }
}

/// [`resolve`] for many files in few directories: each directory is walked once.
pub(crate) struct Resolver<'v> {
    view: &'v dyn View,
    directories: HashMap<PathBuf, Option<PathBuf>>,
}

impl<'v> Resolver<'v> {
    pub(crate) fn new(view: &'v dyn View) -> Self {
        Resolver {
            view,
            directories: HashMap::new(),
        }
    }

    pub(crate) fn view(&self) -> &'v dyn View {
        self.view
    }

    /// The path without symlinks of an existing directory.
    pub(crate) fn directory(&mut self, dir: &Path) -> Option<PathBuf> {
        if let Some(known) = self.directories.get(dir) {
            return known.clone();
        }
        let real = resolve(self.view, dir)
            .ok()
            .filter(|at| at.node == Node::Dir)
            .map(|at| at.real);
        self.directories.insert(dir.to_owned(), real.clone());
        real
    }

    /// A regular file: its path without symlinks, and where this process can open it.
    pub(crate) fn file(&mut self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let real = self.directory(path.parent()?)?.join(path.file_name()?);
        match self.view.lookup(&real).ok()?? {
            Node::File(open_at) => Some((real, open_at)),
            Node::Symlink(_) => match resolve(self.view, &real).ok()? {
                Resolved {
                    real,
                    node: Node::File(open_at),
                    ..
                } => Some((real, open_at)),
                _ => None,
            },
            _ => None,
        }
    }
}
