//! What belongs in a root for Python: the interpreter, its library, its packages, and the objects they load.

use std::path::{Path, PathBuf};

use callgate_cache::{Part, saw};
use callgate_python::interpreter::Interpreter;
use serde::{Deserialize, Serialize};

use crate::Entry;
use crate::error::PlanError;
use crate::identity::Identity;
use crate::plan::Plan;

/// The Python of a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonInside {
    /// The path to start it with, inside the root.
    pub executable: PathBuf,
    /// Its version, e.g. `3.11.7`.
    pub version: String,
    /// `sys.prefix`.
    pub prefix: PathBuf,
}

impl Plan {
    /// A root in which `interpreter` runs as it does on the host, with all its packages.
    ///
    /// Holds the executable with its symlinks, the virtual environment if it is one, the standard library, every
    /// directory of `sys.path`, what links in these lead to, the shared objects that the executable and all
    /// extension modules need, certificates and time zones; and [`Plan::base`]. A base installation's packages stay
    /// out ([`Entry::Hidden`]) when the environment doesn't use them.
    ///
    /// Objects that aren't found make no error: see [`Plan::missing`].
    ///
    /// # Errors
    /// [`PlanError::NotFound`] for an interpreter that isn't there any more, [`PlanError::TooWide`] for a
    /// directory on `sys.path` that would show too much of the host.
    pub fn for_python(interpreter: &Interpreter, identity: &Identity) -> Result<Plan, PlanError> {
        let mut plan = Plan::base(*identity)?;
        plan.python = Some(PythonInside {
            executable: interpreter.executable.clone(),
            version: interpreter.version.to_string(),
            prefix: interpreter.prefix.clone(),
        });
        plan.add_host(&interpreter.executable)?;
        if interpreter.prefix != interpreter.base_prefix {
            plan.add_host(&interpreter.prefix)?;
        }
        for library in [&interpreter.stdlib, &interpreter.platstdlib] {
            if let Some(real) = plan.add_host_if_there(library)? {
                plan.hide_unused_packages(&real, &interpreter.sys_path)?;
            }
        }
        for path in interpreter.sys_path.iter().chain(&interpreter.tz_paths) {
            plan.add_host_if_there(path)?;
        }
        plan.add_certificates(&interpreter.ssl_paths)?;
        plan.complete(vec![interpreter.executable.clone()])?;
        Ok(plan)
    }

    /// Hides the package directories in a standard library that `sys.path` doesn't name.
    fn hide_unused_packages(&mut self, library: &Path, sys_path: &[PathBuf]) -> Result<(), PlanError> {
        let used: Vec<_> = sys_path
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect();
        for name in ["site-packages", "dist-packages"] {
            let dir = library.join(name);
            saw(&dir, Part::Being);
            let is_directory = dir.symlink_metadata().is_ok_and(|data| data.is_dir());
            if is_directory && !used.iter().any(|used| used.starts_with(&dir)) {
                self.insert(&dir, Entry::Hidden)?;
            }
        }
        Ok(())
    }
}
