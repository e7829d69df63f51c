//! `callgate policy diff`: what a policy does to what was observed, or how it differs from another.

mod compared;

use std::collections::BTreeMap;

use callgate_abi::{Arch, Site};
use callgate_policy::{ArchDiff, DiffEntry, Observed, Policy};

use crate::args::DiffArgs;
use crate::commands::dig::paint;
use crate::failure::Failure;
use crate::terminal::{BOLD, DIM, escape};
use crate::{input, output, table};

pub(crate) fn run(args: &DiffArgs) -> Result<u8, Failure> {
    if let Some(first) = compared::policy(&args.trace)? {
        return compared::run(args, &first);
    }
    let trace = input::trace(&args.trace)?;
    let policy = input::policy(&args.against)?;
    let observed = Observed::from(&trace);
    let diffs = compare(&observed, &policy, &args.arch.0);
    if args.json {
        output::json(&diffs)?;
    } else {
        output::stdout(render(&diffs, &args.against, trace.arch).as_bytes())?;
    }
    let differs = diffs
        .values()
        .any(|diff| !diff.missing.is_empty() || !diff.refused.is_empty());
    Ok(u8::from(differs))
}

/// The answer for each architecture.
pub(crate) fn compare(observed: &Observed, policy: &Policy, arches: &[Arch]) -> BTreeMap<Arch, ArchDiff> {
    arches
        .iter()
        .map(|arch| (*arch, callgate_policy::diff(observed, policy, *arch)))
        .collect()
}

/// One line of the table: a name with what each architecture says of it.
#[derive(Default)]
struct Row {
    by_arch: BTreeMap<Arch, (u32, String)>,
    count: Option<u64>,
    site: Option<Site>,
    note: Option<String>,
    rank: u8,
}

/// The table for people, the worst first, with a heading and the notes.
pub(crate) fn render(diffs: &BTreeMap<Arch, ArchDiff>, against: &str, traced: Arch) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for (arch, diff) in diffs {
        for (rank, list) in [(0, &diff.missing), (1, &diff.refused), (2, &diff.allowed)] {
            for entry in list {
                add(
                    rows.entry(&entry.name).or_insert_with(|| Row {
                        rank,
                        ..Row::default()
                    }),
                    *arch,
                    rank,
                    entry,
                );
            }
        }
    }
    let mut head = vec!["call".to_owned()];
    for arch in diffs.keys() {
        head.push(arch.to_string());
        head.push(if *arch == traced {
            "verdict".to_owned()
        } else {
            "predicted".to_owned()
        });
    }
    head.extend(["times".to_owned(), "first made at".to_owned()]);
    let mut table = table::table(&head.iter().map(String::as_str).collect::<Vec<_>>());
    let mut sorted: Vec<(&str, Row)> = rows.into_iter().collect();
    sorted.sort_by(|(a, x), (b, y)| x.rank.cmp(&y.rank).then(a.cmp(b)));
    for (name, row) in &sorted {
        let mut cells = vec![table::text(name)];
        for arch in diffs.keys() {
            match row.by_arch.get(arch) {
                Some((nr, action)) => cells.extend([table::number(nr), table::verdict(action)]),
                None => cells.extend([table::number("-"), table::text("")]),
            }
        }
        cells.push(row.count.map_or_else(|| table::number("-"), table::number));
        cells.push(match (&row.site, &row.note) {
            (Some(site), _) => table::site(Some(site)),
            (None, Some(note)) => table::text(note),
            (None, None) => table::site(None),
        });
        table.add_row(cells);
    }
    let mut text = paint(&format!("{BOLD}observed calls against {against}{BOLD:#}\n"));
    text.push_str(&format!("{table}\n"));
    for (arch, diff) in diffs {
        text.push_str(&paint(&format!(
            "{BOLD}{arch}{BOLD:#}: {} missing, {} refused, {} allowed; {} allowed but not observed\n",
            diff.missing.len(),
            diff.refused.len(),
            diff.allowed.len(),
            diff.unobserved.len()
        )));
        for note in &diff.notes {
            text.push_str(&paint(&format!("{DIM}note ({arch}): {}{DIM:#}\n", escape(note))));
        }
    }
    text
}

fn add(row: &mut Row, arch: Arch, rank: u8, entry: &DiffEntry) {
    row.by_arch.insert(arch, (entry.nr, entry.action.clone()));
    row.count = row.count.or(entry.count);
    row.site = row.site.take().or_else(|| entry.site.clone());
    row.note = row.note.take().or_else(|| entry.note.clone());
    row.rank = row.rank.min(rank);
}
