//! Takes out of a built root what its new plan doesn't have.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::materialise::flatten::{Item, Items};
use crate::materialise::marker::MARKER;

/// Removes what isn't among `items`, or is of another kind there; returns how many things went. The error names
/// the path. Symlinks are never followed, and what runs left in scratch directories is theirs.
pub(crate) fn prune(root: &Path, items: &Items) -> Result<u64, (PathBuf, io::Error)> {
    let mut removed = 0;
    directory(root, Path::new("/"), false, items, &mut removed)?;
    Ok(removed)
}

fn directory(
    at: &Path,
    inside: &Path,
    scratch: bool,
    items: &Items,
    removed: &mut u64,
) -> Result<(), (PathBuf, io::Error)> {
    let failed = |error| (at.to_owned(), error);
    for entry in at.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, inside) = (entry.path(), inside.join(entry.file_name()));
        let failed = |error| (path.clone(), error);
        let kind = entry.file_type().map_err(failed)?;
        let item = items.items.get(&inside);
        let fits = match item {
            Some(Item::Dir { .. } | Item::Tmp) => kind.is_dir(),
            Some(Item::Copy { .. } | Item::Text { .. }) => kind.is_file(),
            Some(Item::Link { .. }) => kind.is_symlink(),
            Some(Item::Device(_)) => !kind.is_dir() && !kind.is_symlink(),
            // The marker is replaced last; a temporary one of an interrupted build goes.
            None => inside == Path::new("/").join(MARKER) || scratch,
        };
        match (fits, kind.is_dir()) {
            (true, true) if item.is_some() => {
                let scratch = matches!(item, Some(Item::Tmp));
                directory(&path, &inside, scratch, items, removed)?;
            }
            (true, _) => {}
            (false, true) => {
                fs::remove_dir_all(&path).map_err(failed)?;
                *removed += 1;
            }
            (false, false) => {
                fs::remove_file(&path).map_err(failed)?;
                *removed += 1;
            }
        }
    }
    Ok(())
}
