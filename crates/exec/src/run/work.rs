//! The work directory of a run: what is brought into it and out of it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use callgate_rootfs::{Entry, Identity};

use super::request::Run;
use crate::limits::Limits;
use crate::out::{WorkDirectory, collect};
use crate::outcome::{Outcome, SetUpFailure, Status};
use crate::setup::Ground;
use crate::tier::Tier;

/// The work directory, as far as files are brought out of it.
pub(super) struct Work<'a> {
    run: &'a Run,
    ground: &'a Ground,
    tier: Tier,
    opened: Option<WorkDirectory>,
}

impl<'a> Work<'a> {
    /// Checks that there is one if it is needed, and room for what is brought into it.
    pub(super) fn new(run: &'a Run, ground: &'a Ground, tier: Tier) -> Result<Self, SetUpFailure> {
        let failure = |step: &str, error: String, advice: Option<&str>| SetUpFailure {
            step: step.to_owned(),
            error,
            advice: advice.map(str::to_owned),
        };
        let asked = [("file", !run.files.is_empty()), ("out", run.out.is_some())];
        for (step, _) in asked.into_iter().filter(|(_, asked)| *asked) {
            if ground.work_directory().is_none() {
                return Err(failure(
                    step,
                    format!("this root has no {} to work in", Identity::HOME),
                    Some("build it again with `callgate root build`, which makes one"),
                ));
            }
        }
        let fits = run.files.fit(&run.limits);
        fits.map_err(|error| failure("file", error.to_string(), None))?;
        Ok(Self {
            run,
            ground,
            tier,
            opened: None,
        })
    }

    /// Opens it: the command stands in its root, and has not begun.
    pub(super) fn open(&mut self, command: i32) -> io::Result<()> {
        if self.run.out.is_none() {
            return Ok(());
        }
        let home = Path::new(Identity::HOME);
        self.opened = Some(match (self.tier, self.ground) {
            (Tier::Container, Ground::Directory(root)) => {
                WorkDirectory::at(&root.join(home.strip_prefix("/").unwrap_or(home)))?
            }
            (_, Ground::Host { scratch, .. }) => WorkDirectory::at(scratch.path())?,
            _ => WorkDirectory::of(command, home)?,
        });
        Ok(())
    }

    /// Brings out what is in it. Nothing of the run may be alive any more.
    pub(super) fn bring_out(self, outcome: &mut Outcome) {
        let (Some(work), Some(to)) = (self.opened, &self.run.out) else {
            return;
        };
        if outcome.status == Status::SetupFailed {
            return;
        }
        let Limits { tmp_size, .. } = self.run.limits;
        let (out, notes) = collect(&work, to, &self.run.files, &planned(self.ground), tmp_size);
        outcome.out = Some(out);
        outcome.notes.extend(notes);
    }
}

/// What the root itself has in the work directory, as seen from there: none of it is the code's.
fn planned(ground: &Ground) -> BTreeSet<PathBuf> {
    let Ground::Planned(plan) = ground else {
        return BTreeSet::new();
    };
    plan.below(Path::new(Identity::HOME))
        .filter(|(_, entry)| !matches!(entry, Entry::Dir { .. } | Entry::Tmp))
        .filter_map(|(at, _)| Some(at.strip_prefix(Identity::HOME).ok()?.to_owned()))
        .collect()
}
