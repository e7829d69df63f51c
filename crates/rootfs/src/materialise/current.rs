//! Whether a root that was built is still what its plan says.

use std::path::Path;

use super::flatten::flatten;
use super::{BuildError, BuiltRoot, marker};
use crate::plan::Plan;

/// The root that stands in `dir`, if it was built to the end and the host has had nothing else since of what `plan`
/// names, by paths, sizes and times. What is in `dir` itself is not looked through: nobody but its owner can change it.
///
/// # Errors
/// [`BuildError::Io`] if something of the host can't be read.
pub fn current(plan: &Plan, dir: &Path) -> Result<Option<BuiltRoot>, BuildError> {
    let Ok(there) = marker::open(dir) else {
        return Ok(None);
    };
    let items = flatten(plan).map_err(|(path, source)| BuildError::Io {
        dir: dir.to_owned(),
        operation: "reading",
        path,
        source,
    })?;
    Ok((there.key == items.key()).then_some(there))
}
