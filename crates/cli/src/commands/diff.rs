//! `callgate policy diff`: what a policy does to what was observed, or how it differs from another.

mod compared;
mod shown;

use std::collections::BTreeMap;
use std::path::Path;

use callgate_abi::Arch;
use callgate_policy::{ArchDiff, Observed, Policy, Source, shipped};
use serde::Serialize;

use crate::args::DiffArgs;
use crate::failure::Failure;
use crate::{input, output};

pub(crate) use shown::render;

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    #[serde(flatten)]
    arches: &'a BTreeMap<Arch, ArchDiff>,
}

const SCHEMA: &str = "callgate.diff/1";

pub(crate) fn run(args: &DiffArgs) -> Result<u8, Failure> {
    if let Some(first) = compared::policy(&args.trace)? {
        return compared::run(args, &first);
    }
    let trace = input::trace(&args.trace)?;
    let policy = input::policy(&args.against)?;
    let observed = Observed::from(&trace);
    let mut diffs = compare(&observed, &policy, &args.arch.0);
    let target = target(&args.against);
    // The commands follow each other: the second architecture's begin with what the first's have written.
    let mut read = args.against.as_str();
    for (arch, diff) in &mut diffs {
        let source = Source { read, write: &target };
        diff.add_change(&policy, *arch, source);
        if diff
            .change
            .as_ref()
            .is_some_and(|change| !change.commands.is_empty())
        {
            read = &target;
        }
    }
    if args.json {
        print(&diffs)?;
    } else {
        let text = render(&diffs, &args.against, trace.arch) + &shown::changes(&diffs);
        output::stdout(text.as_bytes())?;
    }
    Ok(u8::from(diffs.values().any(ArchDiff::differs)))
}

fn print(arches: &BTreeMap<Arch, ArchDiff>) -> Result<(), Failure> {
    output::json(&Report {
        schema: SCHEMA,
        arches,
    })
}

/// Where a changed policy is written: over its file; a shipped one, or one from standard input, becomes a file
/// in the current directory.
fn target(source: &str) -> String {
    match source {
        "-" => "policy.json".to_owned(),
        name if shipped::get(name).is_some() => format!("{name}.policy.json"),
        file => Path::new(file).display().to_string(),
    }
}

/// The answer for each architecture.
pub(crate) fn compare(observed: &Observed, policy: &Policy, arches: &[Arch]) -> BTreeMap<Arch, ArchDiff> {
    arches
        .iter()
        .map(|arch| (*arch, callgate_policy::diff(observed, policy, *arch)))
        .collect()
}
