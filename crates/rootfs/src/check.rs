//! Looks at a root as the loader will, before anything runs in it: what won't be found, who needs it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Entry;
use crate::elf::{Missing, Needs, closure, parse_all};
use crate::materialise::{Marker, OpenError};
use crate::plan::Plan;
use crate::scan::{Candidates, Scan, scan};
use crate::view::{HostView, View};

/// The schema of [`Report`] as JSON.
pub const REPORT_SCHEMA: &str = "callgate.rootcheck/1";

/// What the loader will find in a root, and what not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`REPORT_SCHEMA`].
    pub schema: &'static str,
    /// How many ELF objects were resolved.
    pub objects: usize,
    /// Names that nothing in the root answers to: what needs them fails.
    pub unresolved: Vec<Missing>,
    /// Names that are in the root, but not where the loader looks: they work when another module has loaded them.
    pub uncertain: Vec<Missing>,
    /// What couldn't be read; for a plan, also what planning left out.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether everything will be found.
    pub fn is_complete(&self) -> bool {
        self.unresolved.is_empty()
    }
}

/// Why a directory can't be checked.
#[derive(Debug, thiserror::Error)]
#[error("checking the root {dir:?} failed: {source}")]
pub struct CheckError {
    /// The directory.
    dir: PathBuf,
    source: std::io::Error,
}

/// Checks a plan: each object in it is resolved as it will be inside.
pub fn check_plan(plan: &Plan) -> Report {
    let mut found = Scan::default();
    for (path, entry) in plan.iter() {
        match entry {
            Entry::File { source } => found.objects.push((path.to_owned(), source.clone())),
            Entry::Tree { source } => {
                let tree = plan.scan(path, source, Candidates::Named);
                found.objects.extend(tree.objects);
                found.notes.extend(tree.notes);
            }
            _ => {}
        }
    }
    let main = plan
        .python()
        .map(|python| python.executable.as_path())
        .or(plan.program());
    let mut report = resolve_all(plan, main, found);
    report.notes.extend(plan.notes().iter().cloned());
    report.notes.sort();
    report.notes.dedup();
    report
}

/// Checks a directory, whether callgate built it or not: each object in it is resolved as seen from inside.
///
/// # Errors
/// The directory isn't there or can't be read.
pub fn check_directory(dir: &Path) -> Result<Report, CheckError> {
    let readable = dir.read_dir().map(drop).and_then(|()| dir.canonicalize());
    let dir = readable.map_err(|source| CheckError {
        dir: dir.to_owned(),
        source,
    })?;
    let found = scan(Path::new("/"), &dir, Candidates::Executable, &|_| false);
    // Any directory can be checked; in one of ours, the marker names the program to begin with.
    let (marker, damage) = match Marker::read(&dir) {
        Ok(marker) => (Some(marker), None),
        Err(OpenError::NotOurs { .. }) => (None, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let main = marker.as_ref().and_then(Marker::main);
    let mut report = resolve_all(&HostView::below(&dir), main, found);
    if marker.is_some() {
        // Paths in a root of ours are those of the host it was built on.
        ask_the_host(main, &mut report);
    }
    report.notes.extend(damage);
    Ok(report)
}

/// Adds where the loader finds a missing object on the host, on behalf of the same program and object: in a
/// directory of its own, such as a wheel's, no general search would.
fn ask_the_host(main: Option<&Path>, report: &mut Report) {
    let missing = || report.unresolved.iter().chain(&report.uncertain);
    if missing().next().is_none() {
        return;
    }
    let needs = Needs {
        programs: main.map(Path::to_owned).into_iter().collect(),
        modules: missing().map(|missing| missing.needed_by.clone()).collect(),
    };
    let view = HostView::host();
    let on_host = closure(&view, parse_all(&view, &[]), &needs);
    for missing in report.unresolved.iter_mut().chain(&mut report.uncertain) {
        let name = Path::new(&missing.soname).file_name();
        let found = on_host.objects.iter().filter(|(_, found)| {
            found.needed_by.contains(&missing.needed_by)
                && found.asked.iter().any(|asked| asked.file_name() == name)
        });
        missing.on_host.extend(found.map(|(real, _)| real.clone()));
        missing.on_host.sort();
        missing.on_host.dedup();
    }
}

fn resolve_all(view: &dyn View, main: Option<&Path>, found: Scan) -> Report {
    let mut search = parse_all(view, &found.objects);
    let mut needs = Needs {
        programs: main.map(Path::to_owned).into_iter().collect(),
        modules: Vec::new(),
    };
    for (inside, _) in found.objects {
        // libc.so.6 names an interpreter too, as it can be run to show its version.
        let named_so = inside.to_string_lossy().contains(".so");
        match search.object(&inside) {
            Some((_, object)) if object.interpreter.is_some() && !named_so => needs.programs.push(inside),
            Some(_) => needs.modules.push(inside),
            None => {}
        }
    }
    if main.is_none() {
        // Which of the programs loads the modules isn't known: a process of its own for nothing.
        needs.programs.insert(0, PathBuf::new());
    }
    let closure = closure(view, search, &needs);
    let mut notes = found.notes;
    notes.extend(closure.notes);
    let (unresolved, uncertain) = closure.missing.into_iter().partition(Missing::is_fatal);
    Report {
        schema: REPORT_SCHEMA,
        objects: closure.objects.len(),
        unresolved,
        uncertain,
        notes,
    }
}
