//! Completes a plan: follows the links that lead out of its trees, and adds the shared objects that are loaded.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use callgate_cache::{Part, saw};

use crate::Entry;
use crate::elf::{Needs, closure, parse_all};
use crate::error::PlanError;
use crate::host::on_host;
use crate::plan::Plan;
use crate::scan::{Candidates, Scan, scan};
use crate::view::{HostView, lexical};

/// So many dangling links in one tree are worth a word; one or two are ordinary.
const MANY_DANGLING: usize = 10;

impl Plan {
    /// Adds what the programs and the objects in the plan's trees need, until nothing new comes up.
    pub(crate) fn complete(&mut self, programs: Vec<PathBuf>) -> Result<(), PlanError> {
        self.complete_besides(BTreeSet::new(), programs)
    }

    /// The same, where these trees are complete already.
    pub(crate) fn complete_besides(
        &mut self,
        mut scanned: BTreeSet<PathBuf>,
        programs: Vec<PathBuf>,
    ) -> Result<(), PlanError> {
        let mut modules = Vec::new();
        while let Some((inside, source)) = self.unscanned(&scanned) {
            let scan = self.scan(&inside, &source, Candidates::Named);
            scanned.insert(inside.clone());
            modules.extend(scan.objects);
            self.notes.extend(scan.notes);
            self.mask(scan.odd)?;
            self.follow(&inside, scan.links, &mut modules)?;
        }
        let view = HostView::host();
        let search = parse_all(&view, &modules);
        let modules = modules.into_iter().map(|(inside, _)| inside).collect();
        let closure = closure(&view, search, &Needs { programs, modules });
        for file in closure.files() {
            self.add_host(file)?;
        }
        self.missing.extend(closure.missing);
        self.notes.extend(closure.notes);
        Ok(())
    }

    /// Adds trees to a plan that is complete, with what their links lead to.
    pub(crate) fn grow(
        &mut self,
        add: impl FnOnce(&mut Plan) -> Result<(), PlanError>,
    ) -> Result<(), PlanError> {
        let mut scanned: BTreeSet<PathBuf> = self.trees().map(Path::to_owned).collect();
        add(self)?;
        while let Some((inside, source)) = self.unscanned(&scanned) {
            let scan = self.scan(&inside, &source, Candidates::Named);
            scanned.insert(inside.clone());
            self.notes.extend(scan.notes);
            self.mask(scan.odd)?;
            self.follow(&inside, scan.links, &mut Vec::new())?;
        }
        Ok(())
    }

    /// Keeps what is no file out of sight.
    fn mask(&mut self, odd: Vec<(PathBuf, &'static str)>) -> Result<(), PlanError> {
        for (path, word) in odd {
            self.notes
                .push(format!("{} is a {word}, which is left out", path.display()));
            self.insert(path, Entry::Masked)?;
        }
        Ok(())
    }

    /// Walks one tree of the plan, without what is hidden or overlaid by another tree.
    pub(crate) fn scan(&self, inside: &Path, source: &Path, candidates: Candidates) -> Scan {
        let skip = |path: &Path| path != inside && self.get(path).is_some();
        scan(inside, source, candidates, &skip)
    }

    /// The directories that are in it whole.
    pub(crate) fn trees(&self) -> impl Iterator<Item = &Path> {
        let trees = self
            .iter()
            .filter(|(_, entry)| matches!(entry, Entry::Tree { .. }));
        trees.map(|(at, _)| at)
    }

    fn unscanned(&self, scanned: &BTreeSet<PathBuf>) -> Option<(PathBuf, PathBuf)> {
        self.iter().find_map(|(path, entry)| match entry {
            Entry::Tree { source } if !scanned.contains(path) => Some((path.to_owned(), source.clone())),
            _ => None,
        })
    }

    /// Adds the targets of links that lead out of the tree at `tree`.
    fn follow(
        &mut self,
        tree: &Path,
        links: Vec<(PathBuf, PathBuf)>,
        modules: &mut Vec<(PathBuf, PathBuf)>,
    ) -> Result<(), PlanError> {
        let mut dangling = 0;
        for (link, target) in links {
            let target = link.parent().unwrap_or(Path::new("/")).join(target);
            // The link's own directory is real, so for a target in a tree the name alone tells.
            let by_name = lexical(&target);
            let covered = matches!(self.get(&by_name), Some(Entry::Tree { .. } | Entry::File { .. }))
                || matches!(self.nearest_above(&by_name), Some((_, Entry::Tree { .. })));
            if covered {
                continue;
            }
            match self.add_target(&target) {
                Ok(Target::Added(real)) => {
                    if real.to_string_lossy().contains(".so") {
                        modules.push((real.clone(), real));
                    }
                }
                Ok(Target::Closed) => self.notes.push(format!(
                    "{} leads to {}, which only its owner may read: left out",
                    link.display(),
                    target.display()
                )),
                Err(PlanError::NotFound { .. }) => dangling += 1,
                Err(error @ PlanError::Io { .. }) => return Err(error),
                Err(error) => {
                    self.notes
                        .push(format!("{} leads nowhere inside: {error}", link.display()));
                }
            }
        }
        if dangling >= MANY_DANGLING {
            self.notes.push(format!(
                "{dangling} symlinks in {} lead nowhere on this host either",
                tree.display()
            ));
        }
        Ok(())
    }

    /// Adds what a link of a tree leads to. A link must not open what the host closes: a package could bring one
    /// to a private key, and whoever plans the root may read it.
    fn add_target(&mut self, target: &Path) -> Result<Target, PlanError> {
        let real = on_host(target)?.real;
        saw(&real, Part::Whole);
        let metadata = real.symlink_metadata().map_err(PlanError::io("reading", &real))?;
        let wanted = if metadata.is_dir() { 0o005 } else { 0o004 };
        if metadata.permissions().mode() & wanted != wanted {
            return Ok(Target::Closed);
        }
        self.add_host(target).map(Target::Added)
    }
}

enum Target {
    Added(PathBuf),
    Closed,
}
