//! What belongs in a root for one probe: the files that a trace saw it use, and no others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use callgate_abi::Arch;
use callgate_trace::{FileUse, How, Trace};
use serde::{Deserialize, Serialize};

use crate::Entry;
use crate::elf::{Parsed, parse};
use crate::error::PlanError;
use crate::guard::kernel_interface;
use crate::identity::Identity;
use crate::plan::Plan;
use crate::python::PythonInside;
use crate::resolve::{Trail, Unresolved, walk};
use crate::scan::oddity;
use crate::view::{HostView, Node, View};

/// The trace that a root was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedFrom {
    /// The trace's file, as it was named.
    pub trace: String,
    /// The probe's command.
    pub command: Vec<String>,
}

/// A character that stands for bytes that a trace could not write as text.
const REPLACED: char = '\u{fffd}';
/// So many paths of one kind are named in a note.
const SHOWN: usize = 3;

impl Plan {
    /// A root with the files that the probe of a trace used: those that it opened, executed, mapped, asked about
    /// or read as a link, and were there; with the symlinks on the way as the host has them, the loader and the
    /// shared objects of each program, and what every root has but time zones. `source` is the trace's file.
    ///
    /// Left out: what lies in `/proc`, `/sys`, `/dev` and `/run`; what the probe wrote, and everything in the
    /// scratch directories, which are empty in each run; what is no file (any more); what others than its owner
    /// may not read. Except for the first two kinds, [`Plan::notes`] says so. A directory that was listed shows
    /// only what the probe used of it.
    ///
    /// # Errors
    /// [`PlanError::NoFiles`], [`PlanError::OtherMachine`], [`PlanError::NotFound`] if the interpreter is gone.
    pub fn for_trace(trace: &Trace, source: &str, identity: &Identity) -> Result<Plan, PlanError> {
        if trace.arch != Arch::NATIVE {
            return Err(PlanError::OtherMachine { arch: trace.arch });
        }
        let mut plan = Plan::bare(*identity)?;
        plan.traced_from = Some(TracedFrom {
            trace: source.to_owned(),
            command: trace.command.clone(),
        });
        let mut used = Used {
            plan,
            view: HostView::host(),
            left_out: BTreeMap::new(),
            programs: Vec::new(),
        };
        let executed = |file: &&FileUse| file.found && file.how.contains(&How::Exec);
        match (&trace.python, trace.files.iter().find(executed)) {
            (Some(python), _) => {
                let executable = PathBuf::from(&python.executable);
                used.program(&executable)?;
                used.plan.python = Some(PythonInside {
                    executable,
                    version: python.version.clone(),
                    prefix: PathBuf::from(&python.prefix),
                });
            }
            (None, Some(program)) => {
                let path = match trace.command.first().map(PathBuf::from) {
                    Some(path) if path.is_absolute() => path,
                    _ => PathBuf::from(&program.path),
                };
                used.program(&path)?;
                used.plan.program = Some(path);
            }
            (None, None) => return Err(PlanError::NoFiles),
        }
        for file in trace.files.iter().filter(|file| file.found) {
            used.file(file)?;
        }
        used.finish()
    }
}

/// A plan that grows.
struct Used {
    plan: Plan,
    view: HostView,
    /// Why paths were left out, with the paths.
    left_out: BTreeMap<&'static str, Vec<String>>,
    /// Programs that a loader loads, the main one first.
    programs: Vec<PathBuf>,
}

impl Used {
    /// The probe's own program, which has to be there.
    fn program(&mut self, path: &Path) -> Result<(), PlanError> {
        let programs = self.plan.add_program(path)?;
        self.programs.extend(programs);
        Ok(())
    }

    fn leave_out(&mut self, why: &'static str, path: &str) {
        self.left_out.entry(why).or_default().push(path.to_owned());
    }

    fn file(&mut self, file: &FileUse) -> Result<(), PlanError> {
        if file.path.contains(REPLACED) {
            self.leave_out("have names that are no text", &file.path);
            return Ok(());
        }
        let path = Path::new(&file.path);
        if kernel_interface(path).is_some() {
            return Ok(());
        }
        let only_link = file.how.iter().all(|how| *how == How::Link);
        let mut trail = Trail::default();
        let end = match (only_link, path.parent()) {
            (true, Some(parent)) => walk(&self.view, parent, &mut trail).and_then(|(real, _)| {
                let at = real.join(path.file_name().unwrap_or_default());
                match self.view.lookup(&at) {
                    Ok(Some(Node::Symlink(target))) => Ok((at, Node::Symlink(target))),
                    Ok(_) => Err(Unresolved::NotFound),
                    Err(error) => Err(Unresolved::Io(at, error)),
                }
            }),
            _ => walk(&self.view, path, &mut trail),
        };
        let written = file.how.contains(&How::Write);
        let (real, node) = match end {
            Ok(found) => found,
            Err(Unresolved::NotFound | Unresolved::Loop) => {
                // What the probe made itself may be gone with it.
                if !written && !self.in_scratch(path) {
                    self.leave_out("are gone since the trace was made", &file.path);
                }
                return Ok(());
            }
            Err(Unresolved::Io(..)) => {
                self.leave_out("can't be read by this user", &file.path);
                return Ok(());
            }
        };
        if kernel_interface(&real).is_some() {
            return Ok(());
        }
        if self.in_scratch(&real) {
            if !written && node != Node::Dir {
                self.leave_out(
                    "lie in a scratch directory, which is empty in each run",
                    &file.path,
                );
            }
            return Ok(());
        }
        if written && node != Node::Dir {
            self.leave_out("were written by the probe, and roots are read-only", &file.path);
            return self.directory(real.parent().unwrap_or(Path::new("/")));
        }
        self.plan.add_links(trail.links)?;
        for dir in &trail.left {
            self.directory(dir)?;
        }
        match node {
            Node::Dir => self.directory(&real),
            Node::Symlink(target) => self.plan.insert(&real, Entry::Symlink { target }),
            Node::File(source) => self.regular(file, &real, source),
            Node::Other => {
                let kind = real
                    .symlink_metadata()
                    .ok()
                    .and_then(|data| oddity(data.file_type()));
                let why = match kind {
                    Some("socket") => "are sockets",
                    Some("fifo") => "are fifos",
                    _ => "are devices",
                };
                self.leave_out(why, &file.path);
                Ok(())
            }
        }
    }

    fn regular(&mut self, file: &FileUse, real: &Path, source: PathBuf) -> Result<(), PlanError> {
        // The root's own passwd and its like stay.
        if !matches!(self.plan.get(real), None | Some(Entry::File { .. })) {
            return Ok(());
        }
        if file.how.contains(&How::Exec) && !self.programs.iter().any(|known| known == real) {
            // The kernel loads the interpreter of a #! line and the loader by itself: no trace has them.
            match parse(real) {
                Parsed::Elf(_) => self.programs.push(real.to_owned()),
                _ => match self.plan.add_program(real) {
                    Ok(programs) => self.programs.extend(programs),
                    Err(error) => self.plan.notes.push(error.to_string()),
                },
            }
        }
        self.plan.insert(real, Entry::File { source })
    }

    fn directory(&mut self, real: &Path) -> Result<(), PlanError> {
        if real == Path::new("/") || self.in_scratch(real) {
            return Ok(());
        }
        self.plan.insert(real, Entry::Dir { mode: 0o755 })
    }

    /// Whether it is, or is in, a directory that each run finds empty.
    fn in_scratch(&self, path: &Path) -> bool {
        path.ancestors()
            .any(|above| matches!(self.plan.get(above), Some(Entry::Tmp)))
    }

    fn finish(self) -> Result<Plan, PlanError> {
        let Self {
            mut plan,
            left_out,
            programs,
            ..
        } = self;
        for (why, paths) in left_out {
            let shown = paths[..paths.len().min(SHOWN)].join(", ");
            let more = match paths.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            plan.notes.push(format!("left out, as they {why}: {shown}{more}"));
        }
        plan.complete(programs)?;
        Ok(plan)
    }
}
