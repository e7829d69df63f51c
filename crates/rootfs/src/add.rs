//! Adds what the planner could not know of: files and directories that are named by hand.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::elf::{Parsed, parse};
use crate::error::PlanError;
use crate::plan::Plan;

impl Plan {
    /// Adds files and directories of the host under their own paths, with the shared objects that they need and
    /// what links in them lead to.
    ///
    /// # Errors
    /// As for [`Plan::add_host`]: a path that is not there, or that would show too much of the host. Also where
    /// something else stands in the root.
    pub fn add(&mut self, paths: &[PathBuf]) -> Result<(), PlanError> {
        let complete: BTreeSet<PathBuf> = self.trees().map(Path::to_owned).collect();
        let mut programs = Vec::new();
        for path in paths {
            let real = self.add_host(path)?;
            if real.is_file() && matches!(parse(&real), Parsed::Elf(_)) {
                programs.push(real);
            }
        }
        self.complete_besides(complete, programs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_with_its_objects_and_a_path_that_is_not_there_is_named() {
        let mut plan = Plan::new();
        plan.add(&["/bin/sh".into()]).unwrap();
        let has =
            |plan: &Plan, name: &str| plan.iter().any(|(path, _)| path.to_string_lossy().contains(name));
        assert!(has(&plan, "/libc.so"), "{plan:?}");
        let error = plan.add(&["/nonexistent/file".into()]).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/file"), "{error}");
        let error = plan.add(&["/etc".into()]).unwrap_err();
        assert!(matches!(error, PlanError::TooWide { .. }), "{error}");
    }
}
