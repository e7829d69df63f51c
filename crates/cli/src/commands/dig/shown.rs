//! A trace as a person reads it: grouped by purpose, with what was not in every run and what is risky.

use std::collections::BTreeMap;

use callgate_abi::{Group, about};
use callgate_trace::{Call, Counts, Merged, Phase};
use comfy_table::{Attribute, Cell, Table};

use super::{paint, sights};
use crate::terminal::BOLD;
use crate::{risks, table};

/// The table with a heading and notes, no wider than the terminal; after it the Python stacks, if wanted.
pub(super) fn summary(merged: &Merged, stacks: bool) -> String {
    let mut parts = vec![heading(merged), calls(merged).to_string()];
    if stacks {
        parts.extend(sights::stacks(&merged.trace));
    }
    if let Some(seldom) = seldom(merged) {
        parts.push(seldom.to_string());
    }
    if let Some(risks) = risks::table(merged.trace.syscalls.iter().map(|call| call.name.as_str())) {
        parts.push(risks.to_string());
    }
    let mut text = parts.join("\n");
    text.push('\n');
    text
}

fn heading(merged: &Merged) -> String {
    let trace = &merged.trace;
    let mut ends = vec![trace.outcome.to_string()];
    if merged.runs > 1 {
        ends.push(format!("{} runs", merged.runs));
    }
    if trace.counts == Counts::LowerBound {
        ends.push("counts (≥) and errors are lower bounds".to_owned());
    }
    paint(&format!(
        "{BOLD}{} system calls{BOLD:#} on {} (Linux {}), {} files\n{}",
        trace.syscalls.len(),
        trace.arch,
        trace.kernel,
        trace.files.len(),
        ends.join("; ")
    ))
}

/// A group's word; what neither architecture's table has is last.
const NO_GROUP: &str = "other";

fn calls(merged: &Merged) -> Table {
    let trace = &merged.trace;
    let mut groups: BTreeMap<(bool, Option<Group>), Vec<&Call>> = BTreeMap::new();
    for call in &trace.syscalls {
        let group = about(&call.name).map(|about| about.group);
        groups.entry((group.is_none(), group)).or_default().push(call);
    }
    let mut table = table::table(&["call", "nr", "times", "errors", "phase", "first made at"]);
    for ((_, group), mut calls) in groups {
        calls.sort_by(|a, b| (&a.name, a.abi).cmp(&(&b.name, b.abi)));
        let word = group.map_or(NO_GROUP, Group::name);
        table.add_row([Cell::new(word).add_attribute(Attribute::Bold)]);
        for call in calls {
            table.add_row(row(call, trace.arch.abi() == call.abi, trace.counts));
        }
    }
    table
}

fn row(call: &Call, native: bool, counts: Counts) -> [Cell; 6] {
    let least = match counts {
        Counts::Exact => "",
        Counts::LowerBound => "≥ ",
    };
    let errors: Vec<String> = call
        .errors
        .iter()
        .map(|(name, times)| format!("{name} {times}"))
        .collect();
    let startup = call.phases.contains(&Phase::Startup);
    let body = call.phases.contains(&Phase::Body);
    let phase = match (startup, body) {
        (true, true) => "both",
        (true, false) => "startup",
        _ => "body",
    };
    let name = if native {
        format!("  {}", call.name)
    } else {
        format!("  {} ({})", call.name, call.abi)
    };
    [
        table::text(name),
        table::number(call.nr),
        table::number(format!("{least}{}", call.count)),
        table::text(errors.join(", ")),
        table::text(phase),
        place(call),
    ]
}

/// Made by the kernel in the program's name: the line is that of the call that it restarts.
const INJECTED: &str = "restart_syscall";

/// Where a call was made first.
fn place(call: &Call) -> Cell {
    match &call.site {
        Some(site) if call.name == INJECTED => {
            table::text(format!("by the kernel, at {}", table::short(site)))
        }
        site => table::site(site.as_ref()),
    }
}

/// The calls that were not in every run.
fn seldom(merged: &Merged) -> Option<Table> {
    let mut table = table::table(&["not in every run", "seen in"]);
    for (call, seen_in) in merged.not_in_every_run() {
        table.add_row([
            table::text(&call.name),
            Cell::new(format!("{seen_in} of {} runs", merged.runs)),
        ]);
    }
    (!table.is_empty()).then_some(table)
}
