//! `callgate dig`: records a probe, once or several times, and shows, unites and imports recordings.

mod recordings;
mod runs;
mod shown;
mod sights;

use std::path::Path;

use callgate_dig::{Attach, DigError, Request, Target, Word, attach, record};
use callgate_python::prelude::Bytecode;
use callgate_trace::{EndingKind, Merged, Trace};

use crate::args::{DigArgs, DigCommand, RecordArgs, TraceOutput};
use crate::failure::{BAD_INPUT, CANNOT, Failure};
use crate::terminal::{DIM, YELLOW, escape};
use crate::{input, interrupt, kept, output};

pub(crate) fn run(args: &DigArgs) -> Result<u8, Failure> {
    match &args.command {
        None => record_probe(&args.record),
        Some(DigCommand::Show(args)) => recordings::show(args),
        Some(DigCommand::Merge(args)) => recordings::merge(args),
        Some(DigCommand::Import(args)) => recordings::import(args),
    }
}

fn record_probe(args: &RecordArgs) -> Result<u8, Failure> {
    if let Some(pid) = args.pid {
        return record_running(args, pid);
    }
    let target = target(args)?;
    args.output.file.as_deref().map_or(Ok(()), output::check)?;
    interrupt::install()?;
    let request = Request {
        timeout: args.timeout,
        counts: args.counts,
        stdout_to_stderr: true,
        stacks: args.stacks,
        load: args.load,
        ..Request::new(target)
    };
    let mut traces: Vec<Trace> = Vec::new();
    for run in 1..=args.runs {
        if args.runs > 1 {
            say!("{DIM}run {run} of {} …{DIM:#}", args.runs);
        }
        let trace = record(request.clone(), |stopper| {
            interrupt::watch(stopper, Word::Interrupt as u32)
        })
        .map_err(|e| failure(&e))?;
        interrupt::unwatch();
        let interrupted = trace.outcome.status == EndingKind::Interrupted;
        traces.push(trace);
        if interrupted {
            break;
        }
    }
    let mut merged = Trace::merge(traces).map_err(|error| Failure::new(1, error))?;
    if merged.runs < args.runs {
        let note = format!("interrupted in run {} of {}", merged.runs, args.runs);
        merged.trace.notes.push(note);
    }
    if args.runs > 1 {
        merged.trace.notes.extend(runs::fixed(&request.target));
    }
    if args.load {
        let note = "recorded under load, with threads interrupted every few ms";
        merged.trace.notes.push(note.to_owned());
    }
    written(args, &merged)
}

/// Attaches to a process and records it until it ends or is let go.
fn record_running(args: &RecordArgs, pid: i32) -> Result<u8, Failure> {
    args.output.file.as_deref().map_or(Ok(()), output::check)?;
    interrupt::install()?;
    let request = Attach {
        pid,
        timeout: args.timeout,
        stacks: args.stacks,
    };
    let trace = attach(request, |stopper| {
        interrupt::watch(stopper, Word::Interrupt as u32);
        say!("{DIM}attached to process {pid}; Ctrl-C lets it go …{DIM:#}");
    })
    .map_err(|error| failure(&error))?;
    interrupt::unwatch();
    written(args, &Merged::from(trace))
}

/// Writes what was recorded, and says whether the probe did what it set out to do.
fn written(args: &RecordArgs, merged: &Merged) -> Result<u8, Failure> {
    write(&args.output, merged, args.stacks)?;
    let outcome = &merged.trace.outcome;
    if outcome.succeeded() || outcome.status == EndingKind::Detached {
        return Ok(0);
    }
    say!(
        "{YELLOW}the probe failed{YELLOW:#}: it {}; the trace holds what was seen",
        merged.trace.outcome
    );
    Ok(1)
}

fn target(args: &RecordArgs) -> Result<Target, Failure> {
    if let Some(path) = &args.probe {
        let script = input::script(path, &args.python)?;
        let prelude = Bytecode::recall(&script.interpreter, &script.cache);
        kept::complain(&script.cache);
        return Ok(Target::Script {
            interpreter: Box::new(script.interpreter),
            code: script.code,
            name: script.name,
            args: args.rest.clone(),
            prelude,
        });
    }
    let name = args
        .rest
        .first()
        .ok_or_else(|| Failure::input("nothing to trace"))?;
    Ok(Target::Command {
        program: input::program(name, BAD_INPUT)?,
        argv: args.rest.clone(),
    })
}

/// What went wrong, with its exit code.
pub(crate) fn failure(error: &DigError) -> Failure {
    Failure::new(if error.is_bad_input() { BAD_INPUT } else { CANNOT }, error)
}

/// Writes a trace where it is wanted, and its notes to standard error.
fn write(to: &TraceOutput, merged: &Merged, stacks: bool) -> Result<(), Failure> {
    let json = merged.to_json().map_err(|error| Failure::new(1, error))?;
    if let Some(path) = &to.file {
        output::file(path, json.as_bytes())?;
    }
    let to_stdout = to.file.as_deref() == Some(Path::new("-"));
    if to.json && !to_stdout {
        output::stdout(json.as_bytes())?;
    }
    if !to.json && !to_stdout {
        output::stdout(shown::summary(merged, stacks).as_bytes())?;
    }
    tell_notes(merged);
    Ok(())
}

fn tell_notes(merged: &Merged) {
    for note in &merged.trace.notes {
        say!("{DIM}note: {}{DIM:#}", escape(note));
    }
}

/// Styled text as standard output can show it.
pub(crate) fn paint(text: &str) -> String {
    if crate::terminal::colours_stdout() {
        text.to_owned()
    } else {
        anstream::adapter::strip_str(text).to_string()
    }
}
