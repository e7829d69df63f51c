//! Who made one call, each time that it or an argument of it was new; and the files of a trace.

use callgate_abi::ArgKey;
use callgate_trace::{Call, How, Merged, Object, Phase, Sight, Trace};
use comfy_table::Table;

use super::paint;
use crate::failure::Failure;
use crate::table;
use crate::terminal::{BOLD, escape};

/// All sights of a call, under every ABI that it was made through.
pub(super) fn of_call(merged: &Merged, name: &str) -> Result<String, Failure> {
    let calls: Vec<&Call> = merged
        .trace
        .syscalls
        .iter()
        .filter(|call| call.name == name)
        .collect();
    if calls.is_empty() {
        return Err(
            Failure::input(format!("{name} is not in this trace: it was not observed")).with_advice(Some(
                "the table without --call lists the calls that were".to_owned(),
            )),
        );
    }
    let mut text = String::new();
    for call in calls {
        text += &heading(merged, call);
        if call.sights.is_empty() {
            text += "the trace does not say who made it\n";
            continue;
        }
        text += &format!("{}\n", sights(call));
    }
    Ok(text)
}

fn heading(merged: &Merged, call: &Call) -> String {
    let mut parts = vec![match call.count {
        1 => "made once".to_owned(),
        times => format!("made {times} times"),
    }];
    if merged.runs > 1 {
        let seen = merged.seen_in(call.syscall());
        parts.push(format!("seen in {seen} of {} runs", merged.runs));
    }
    let many: Vec<String> = (0..6_u8)
        .filter(|index| call.args.is_many(*index))
        .map(|index| format!("argument {index} had more values than are listed"))
        .collect();
    parts.extend(many);
    let name = escape(&call.name).into_owned();
    paint(&format!(
        "{BOLD}{name}{BOLD:#} ({} number {}): {}\n",
        call.abi,
        call.nr,
        parts.join("; ")
    ))
}

fn sights(call: &Call) -> Table {
    let mut table = table::table(&["phase", "ms", "thread", "new arguments", "made at"]);
    for sight in &call.sights {
        let phase = match sight.phase {
            Phase::Startup => "startup",
            Phase::Body => "body",
        };
        let thread = &sight.thread;
        let thread = if thread.main {
            format!("{} {}", thread.name, thread.tid)
        } else {
            format!("{} {} of {}", thread.name, thread.tid, thread.pid)
        };
        table.add_row([
            table::text(phase),
            table::number(sight.ms),
            table::text(thread),
            table::text(arguments(&sight.args)),
            table::text(places(sight)),
        ]);
    }
    table
}

/// The new keys, a line for each argument.
fn arguments(keys: &[ArgKey]) -> String {
    let lines: Vec<String> = keys
        .iter()
        .map(|key| format!("{}: {}", key.index, key.name))
        .collect();
    if lines.is_empty() {
        "-".to_owned()
    } else {
        lines.join("\n")
    }
}

/// The stack or the line, then the native stack, or the code that asked and the object that entered the kernel.
fn places(sight: &Sight) -> String {
    let mut lines = stack(sight);
    if lines.is_empty() {
        lines.extend(sight.site.as_ref().map(table::short));
    }
    if sight.native.is_empty() {
        lines.extend(sight.caller.as_ref().map(object));
        lines.extend(sight.object.as_ref().map(object));
    }
    lines.extend(native(sight));
    if lines.is_empty() {
        lines.push("-".to_owned());
    }
    lines.join("\n")
}

fn object(object: &Object) -> String {
    let name = object.file.rsplit('/').next().unwrap_or_default();
    if name.is_empty() {
        format!("memory without a file, {:#x}", object.offset)
    } else {
        format!("{name}+{:#x}", object.offset)
    }
}

/// The stack of each call's first sight that has one, below the call's name.
pub(super) fn stacks(trace: &Trace) -> Option<String> {
    let with_stack = |call: &Call| {
        let python = call.sights.iter().find(|sight| !sight.stack.is_empty());
        let sight = python.or_else(|| call.sights.iter().find(|sight| !sight.native.is_empty()))?;
        let name = escape(&call.name).into_owned();
        let mut lines = stack(sight);
        lines.extend(native(sight));
        Some(paint(&format!(
            "{BOLD}{name}{BOLD:#}\n  {}",
            escape(&lines.join("\n  "))
        )))
    };
    let all: Vec<String> = trace.syscalls.iter().filter_map(with_stack).collect();
    (!all.is_empty()).then(|| {
        format!(
            "Stacks of the first sights, innermost first: Python, then native code\n{}",
            all.join("\n")
        )
    })
}

/// The frames of a stack, innermost first; empty where none was kept. Those of the import system are one line.
fn stack(sight: &Sight) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for frame in &sight.stack {
        let line = if frame.file.starts_with("<frozen importlib.") {
            "the import system".to_owned()
        } else {
            format!("{} in {}", table::short(frame), frame.function)
        };
        if lines.last() != Some(&line) || line != "the import system" {
            lines.push(line);
        }
    }
    if sight.stack_omitted > 0 {
        lines.push(format!("… {} outer frames", sight.stack_omitted));
    }
    lines
}

/// The frames of a native stack, innermost first. Those of one file in a row are one line, with the first's place.
fn native(sight: &Sight) -> Vec<String> {
    let files = sight.native.chunk_by(|one, other| one.file == other.file);
    files
        .map(|frames| match frames.len() {
            1 => object(&frames[0]),
            many => format!("{} and {} further frames", object(&frames[0]), many - 1),
        })
        .collect()
}

/// The paths that were used, and how.
pub(super) fn files(trace: &Trace) -> String {
    let mut table = table::table(&["file", "used to", "there"]);
    for file in &trace.files {
        let how: Vec<&str> = file.how.iter().copied().map(How::name).collect();
        table.add_row([
            table::text(&file.path),
            table::text(how.join(", ")),
            table::mark(file.found),
        ]);
    }
    format!("{table}\n")
}
