//! Whether what a template has imported is still what is there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::run::Root;

/// When the directories were changed that modules are imported from: installing, removing or replacing a
/// package changes one of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, Option<SystemTime>)>);

impl Stamp {
    /// As it is now.
    pub(super) fn of(root: &Root, executable: &Path) -> Self {
        let paths = match root {
            Root::ForPython(interpreter) => {
                let mut paths = interpreter.sys_path.clone();
                paths.push(interpreter.real_executable.clone());
                paths
            }
            Root::ForNode(node) => vec![node.executable.clone()],
            Root::ForCommand(program) => vec![program.clone()],
            Root::Directory(dir) => {
                let inside = dir.join(executable.strip_prefix("/").unwrap_or(executable));
                vec![dir.clone(), inside]
            }
        };
        let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
        Self(
            paths
                .into_iter()
                .map(|path| (path.clone(), changed(&path)))
                .collect(),
        )
    }
}
