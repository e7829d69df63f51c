//! Plans that are kept between runs: planning reads every object of an environment, and few runs change it.

use std::path::{Path, PathBuf};

use callgate_cache::Cache;
use callgate_python::interpreter::Interpreter;

use crate::Entry;
use crate::error::PlanError;
use crate::identity::Identity;
use crate::plan::Plan;

/// What a root is wanted for.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// This interpreter: [`Plan::for_python`].
    Python(&'a Interpreter),
    /// This program, by its absolute path, with these files of its own: [`Plan::for_command`].
    Command(&'a Path, &'a [PathBuf]),
}

/// Whose names a plan has while it is kept.
const NOBODY: Identity = Identity {
    uid: 65_534,
    gid: 65_534,
};

impl Plan {
    /// The root for what is wanted, as [`Plan::for_python`] or [`Plan::for_command`] plans it; from the cache if
    /// nothing has changed of what was looked at then: each directory and each object of its trees, each name
    /// on the way, and each that was looked for in vain. The names in it are nobody's ([`Plan::named`]).
    ///
    /// # Errors
    /// Those of the two.
    pub fn recall(cache: &Cache, wanted: Wanted<'_>) -> Result<Plan, PlanError> {
        // HOME decides what would show too much, PATH what `#!/usr/bin/env` finds.
        let variable = |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        match wanted {
            Wanted::Python(interpreter) => {
                cache.recall("python-root", &(interpreter, variable("HOME")), || {
                    Plan::for_python(interpreter, &NOBODY)
                })
            }
            Wanted::Command(program, data) => {
                let key = (program, data, variable("HOME"), variable("PATH"));
                cache.recall("command-root", &key, || Plan::for_command(program, data, &NOBODY))
            }
        }
    }

    /// The plan with somebody's names in it: each run has a uid of its own.
    #[must_use]
    pub fn named(mut self, identity: Identity) -> Self {
        for (path, text) in identity.files() {
            if let Some(Entry::Text { bytes, .. }) = self.get_mut(path) {
                *bytes = text.into_bytes();
            }
        }
        self.identity = Some(identity);
        self
    }
}
