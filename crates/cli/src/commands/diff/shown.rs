//! A diff as people read it: a table, what is dangerous in it, and the change.

use std::collections::BTreeMap;

use callgate_abi::{Arch, Site};
use callgate_policy::{ArchDiff, Change, DiffEntry};

use crate::commands::dig::paint;
use crate::terminal::{BOLD, DIM, YELLOW, escape};
use crate::{risks, table};

/// One line of the table: a name, or an argument of the call above it, with what each architecture says.
#[derive(Default)]
struct Row {
    by_arch: BTreeMap<Arch, (u32, String)>,
    /// The refused arguments, by what they are called, with each architecture's answer.
    arguments: BTreeMap<String, BTreeMap<Arch, String>>,
    group: Option<String>,
    site: Option<Site>,
    note: Option<String>,
    rank: u8,
}

/// The table for people, the worst first, with a heading and the notes.
pub(crate) fn render(diffs: &BTreeMap<Arch, ArchDiff>, against: &str, traced: Arch) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (arch, diff) in diffs {
        for (rank, list) in [(0, &diff.missing), (1, &diff.refused), (3, &diff.allowed)] {
            for entry in list {
                let rank = if entry.reason.is_some() { 2 } else { rank };
                let fresh = || Row {
                    rank,
                    ..Row::default()
                };
                add(rows.entry(&entry.name).or_insert_with(fresh), *arch, rank, entry);
            }
        }
    }
    let mut head = vec!["call".to_owned()];
    for arch in diffs.keys() {
        let predicted = if *arch == traced { "" } else { " (predicted)" };
        head.push(format!("{arch}{predicted}"));
    }
    head.extend(["group".to_owned(), "first made at".to_owned()]);
    let mut table = table::table(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let mut sorted: Vec<(&str, Row)> = rows.into_iter().collect();
    sorted.sort_by(|(a, x), (b, y)| x.rank.cmp(&y.rank).then(a.cmp(b)));
    for (name, row) in &sorted {
        let mut cells = vec![table::text(name)];
        for arch in diffs.keys() {
            cells.push(match row.by_arch.get(arch) {
                Some((nr, action)) => table::number_and_verdict(*nr, action),
                None => table::text("  -"),
            });
        }
        cells.push(table::text(row.group.as_deref().unwrap_or_default()));
        cells.push(match (&row.site, &row.note) {
            (Some(site), _) => table::site(Some(site)),
            (None, Some(note)) => table::text(note),
            (None, None) => table::site(None),
        });
        table.add_row(cells);
        for (argument, answers) in &row.arguments {
            let mut cells = vec![table::text(format!("  {argument}"))];
            for arch in diffs.keys() {
                cells.push(match answers.get(arch) {
                    Some(action) => table::verdict(action),
                    None => table::text(""),
                });
            }
            table.add_row(cells);
        }
    }
    let mut text = paint(&format!(
        "{BOLD}observed calls against {}{BOLD:#}\n",
        escape(against)
    ));
    text.push_str(&format!("{table}\n"));
    for (arch, diff) in diffs {
        let undecided = diff.undecided().count();
        let depends = match undecided {
            0 => String::new(),
            count => format!(", {count} can't be told"),
        };
        text.push_str(&paint(&format!(
            "{BOLD}{arch}{BOLD:#}: {} missing, {} refused, {} allowed{depends}; {} allowed but not observed\n",
            diff.missing.len(),
            diff.refused.len(),
            diff.allowed.len() - undecided,
            diff.unobserved.len()
        )));
        for note in &diff.notes {
            text.push_str(&paint(&format!("{DIM}note ({arch}): {}{DIM:#}\n", escape(note))));
        }
    }
    text + &considered(diffs)
}

/// What is dangerous among the missing and the refused, and what can't be told, each once.
fn considered(diffs: &BTreeMap<Arch, ArchDiff>) -> String {
    let needed = diffs
        .values()
        .flat_map(|diff| diff.missing.iter().chain(&diff.refused));
    let risks = risks::table(needed.map(|entry| entry.name.as_str()));
    let mut text = risks.map(|table| format!("{table}\n")).unwrap_or_default();
    let mut told: Vec<(&str, &str)> = Vec::new();
    for entry in diffs.values().flat_map(ArchDiff::undecided) {
        let line = (entry.name.as_str(), entry.reason.as_deref().unwrap_or_default());
        if !told.contains(&line) {
            text.push_str(&paint(&format!(
                "{DIM}depends: {}: {}{DIM:#}\n",
                line.0,
                escape(line.1)
            )));
            told.push(line);
        }
    }
    text
}

/// The change for each architecture that needs one, ready to be used.
pub(super) fn changes(diffs: &BTreeMap<Arch, ArchDiff>) -> String {
    let needed = diffs
        .iter()
        .filter_map(|(arch, diff)| Some((arch, diff.change.as_ref()?)));
    needed.map(|(arch, change)| one(*arch, change)).collect()
}

fn one(arch: Arch, change: &Change) -> String {
    let mut text = paint(&format!("\n{BOLD}the change for {arch}{BOLD:#}\n"));
    for command in &change.commands {
        text.push_str(&format!("{}\n", escape(command)));
    }
    if !change.oci.remove.is_empty() {
        text.push_str(&paint(&format!(
            "\n{DIM}in an OCI profile for {arch}, first take these names out of their rules:{DIM:#}\n"
        )));
        for removal in &change.oci.remove {
            text.push_str(&format!("syscalls[{}]: {}\n", removal.rule, removal.name));
        }
    }
    if let (false, Ok(rules)) = (
        change.oci.add.is_empty(),
        serde_json::to_string_pretty(&change.oci.add),
    ) {
        text.push_str(&paint(&format!(
            "\n{DIM}in an OCI profile for {arch}, add to syscalls:{DIM:#}\n{}\n",
            escape(&rules)
        )));
    }
    text.push_str(&paint(&format!(
        "\n{DIM}in dify-sandbox's conf/config.yaml on {arch}. The list is whole, as up to a94a466 the\n\
         setting replaces the built-in list (later versions add to it). It can't speak of\n\
         arguments:{DIM:#}\n{}\n",
        change.dify
    )));
    for sentence in &change.not_possible {
        text.push_str(&paint(&format!("{YELLOW}note:{YELLOW:#} {}\n", escape(sentence))));
    }
    text
}

fn add(row: &mut Row, arch: Arch, rank: u8, entry: &DiffEntry) {
    row.by_arch.insert(arch, (entry.nr, entry.action.clone()));
    for argument in &entry.arguments {
        let name = format!("arg{} {}", argument.index, argument.name);
        row.arguments
            .entry(name)
            .or_default()
            .insert(arch, argument.action.clone());
    }
    row.group = row
        .group
        .take()
        .or_else(|| entry.group.map(|group| group.to_string()));
    row.site = row.site.take().or_else(|| entry.site.clone());
    row.note = row.note.take().or_else(|| entry.note.clone());
    row.rank = row.rank.min(rank);
}
