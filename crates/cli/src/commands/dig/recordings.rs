//! `callgate dig show|merge|import`: what is done with recordings that are there already.

use std::path::Path;

use callgate_trace::import::Import;
use callgate_trace::{Call, Merged, Phase};

use super::{sights, write};
use crate::args::{ImportArgs, MergeArgs, ShowTraceArgs, TraceOutput};
use crate::failure::Failure;
use crate::{input, output};

pub(super) fn show(args: &ShowTraceArgs) -> Result<u8, Failure> {
    let mut merged = read(&args.trace)?;
    if args.since_main {
        merged.trace.restrict(Phase::Body);
    }
    if let Some(name) = &args.call {
        output::stdout(sights::of_call(&merged, name)?.as_bytes())?;
        return Ok(0);
    }
    if args.files {
        output::stdout(sights::files(&merged.trace).as_bytes())?;
        super::tell_notes(&merged);
        return Ok(0);
    }
    let kept = |call: &Call| call.sights.iter().any(|sight| !sight.stack.is_empty());
    if args.stacks && !merged.trace.syscalls.iter().any(kept) {
        let note = "no Python stacks are in this trace: `callgate dig --stacks` keeps them";
        merged.trace.notes.push(note.to_owned());
    }
    let output = TraceOutput {
        file: None,
        json: args.json,
    };
    write(&output, &merged, args.stacks)?;
    Ok(0)
}

pub(super) fn merge(args: &MergeArgs) -> Result<u8, Failure> {
    let all = args
        .traces
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let merged = Merged::unite(all).map_err(Failure::input)?;
    write(&args.output, &merged, false)?;
    Ok(0)
}

pub(super) fn import(args: &ImportArgs) -> Result<u8, Failure> {
    let mut import = Import::new(args.arch);
    for path in &args.files {
        let (text, name) = input::text(path)?;
        import
            .add(&name, &text, args.format.0)
            .map_err(|error| Failure::input(format!("{name}: {error}")))?;
    }
    let trace = import.finish().map_err(|error| {
        let names: Vec<String> = args.files.iter().map(|path| path.display().to_string()).collect();
        Failure::input(format!("{}: {error}", names.join(", ")))
    })?;
    write(&args.output, &Merged::from(trace), false)?;
    Ok(0)
}

fn read(path: &Path) -> Result<Merged, Failure> {
    let (text, name) = input::text(path)?;
    Merged::from_json(&text).map_err(|error| Failure::input(format!("{name}: {error}")))
}
