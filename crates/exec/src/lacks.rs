//! What the code missed by its own words, where the host has it, and the option that brings it in.
//!
//! The words are those on its standard error, which the code writes itself: they explain and decide nothing. A
//! file that not everyone on the host may read is not told of; packages are looked for where packages lie, and
//! what has no directory in its name beside us.

mod found;
mod limits;
mod objects;
mod packages;
mod recognise;
mod refusals;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use self::found::Found;
pub(crate) use self::limits::limits_said;
use self::recognise::{Wanted, recognise};
pub(crate) use self::refusals::refusal_said;
use crate::run::{Root, Run};
use crate::tier::Tier;

/// Something that the code did not find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// What it is.
    pub kind: LackKind,
    /// Its name as the code said it.
    pub name: String,
    /// Where the host has it, the likeliest first; empty if it was not found, or is not for everyone to read.
    pub on_host: Vec<PathBuf>,
    /// The options of `callgate exec` that bring in the first of these, one word each; none for a root that is
    /// built beforehand, or where no option helps.
    pub options: Vec<String>,
    /// What else helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// The kinds of things that are missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LackKind {
    /// A Python module: `ModuleNotFoundError`.
    PythonModule,
    /// A shared object: what the loader and dlopen(3) say.
    SharedObject,
    /// A file, a directory or a program: `FileNotFoundError`, and ENOENT in Node.js.
    File,
    /// A module or package of Node.js.
    NodeModule,
}

/// So many are told.
const MOST: usize = 8;

/// What is missed according to the end of a standard error.
pub(crate) fn lacks(run: &Run, tier: Tier, stderr: &[u8]) -> Vec<Lack> {
    let mut all: Vec<Wanted> = Vec::new();
    // Without a root of its own everything is there, and closed.
    for wanted in recognise(&String::from_utf8_lossy(stderr), tier == Tier::Landlock) {
        if !all.contains(&wanted) {
            all.push(wanted);
        }
    }
    // The last words are about what ended it.
    let first = all.len().saturating_sub(MOST);
    all.into_iter()
        .skip(first)
        .map(|wanted| answer(run, wanted))
        .collect()
}

fn answer(run: &Run, wanted: Wanted) -> Lack {
    let Wanted { kind, name } = wanted;
    let Found {
        on_host,
        mut options,
        mut advice,
    } = match kind {
        LackKind::PythonModule => packages::python(run, &name),
        LackKind::SharedObject => objects::object(&name),
        LackKind::File => found::file(&name),
        LackKind::NodeModule => packages::node(&name),
    };
    if let (Root::Directory(dir), Some("--add")) = (&run.root, options.first().map(String::as_str)) {
        let paths: Vec<&String> = options.iter().skip(1).step_by(2).collect();
        advice = Some(format!(
            "build {} with it: callgate root build … --add {}",
            dir.display(),
            paths.first().map(|path| path.as_str()).unwrap_or_default()
        ));
        options.clear();
    }
    Lack {
        kind,
        name,
        on_host,
        options,
        advice,
    }
}
