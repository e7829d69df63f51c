//! Two policies compared by what they decide.

use std::collections::BTreeMap;
use std::path::Path;

use callgate_abi::Arch;
use callgate_policy::{ArchDiff, Policy, diff_policies, quoted, shipped};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::args::DiffArgs;
use crate::commands::dig::paint;
use crate::failure::Failure;
use crate::terminal::{BOLD, GREEN, escape};
use crate::{input, output, table};

/// What tells a policy from a trace.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "defaultAction")]
    default_action: Option<IgnoredAny>,
}

/// The policy that the first word means: a shipped name, or a file with a default action. None if it is a
/// trace; what is no regular file (standard input, a pipe) can be read once only and is one.
pub(super) fn policy(word: &Path) -> Result<Option<Policy>, Failure> {
    let Some(source) = word.to_str() else {
        return Ok(None);
    };
    let shipped = shipped::get(source).is_some();
    if !shipped && !word.is_file() {
        return Ok(None);
    }
    let is_policy =
        |bytes: &[u8]| serde_json::from_slice::<Kind>(bytes).is_ok_and(|kind| kind.default_action.is_some());
    match shipped || is_policy(&input::bytes(word)?.0) {
        true => input::policy(source).map(Some),
        false => Ok(None),
    }
}

pub(super) fn run(args: &DiffArgs, first: &Policy) -> Result<u8, Failure> {
    let second = input::policy(&args.against)?;
    let arches = args.arch.0.iter();
    let diffs: BTreeMap<Arch, ArchDiff> = arches
        .map(|arch| (*arch, diff_policies(first, &second, *arch)))
        .collect();
    if args.json {
        super::print(&diffs)?;
    } else {
        let heads = [&args.trace.display().to_string(), &args.against];
        output::stdout(render(&diffs, heads).as_bytes())?;
    }
    Ok(u8::from(diffs.values().any(|diff| !diff.different.is_empty())))
}

fn render(diffs: &BTreeMap<Arch, ArchDiff>, [first, second]: [&String; 2]) -> String {
    let mut text = String::new();
    for (arch, diff) in diffs {
        let (first, second) = (&escape(first), &escape(second));
        if diff.different.is_empty() {
            text.push_str(&paint(&format!(
                "{BOLD}{arch}{BOLD:#}: {GREEN}the same decisions{GREEN:#} in {first} and {second}\n"
            )));
            continue;
        }
        text.push_str(&paint(&format!(
            "{BOLD}{arch}{BOLD:#}: {} calls are decided differently in {first} (the first) and {second} (the second)\n",
            diff.different.len()
        )));
        let mut table = table::table(&["call", "number", "in the second", "and"]);
        for entry in &diff.different {
            table.add_row([
                table::text(&entry.name),
                table::number(entry.nr),
                table::verdict(&entry.action),
                table::text(entry.note.as_deref().unwrap_or_default()),
            ]);
        }
        text.push_str(&format!("{table}\n"));
        if !diff.missing.is_empty() || !diff.refused.is_empty() {
            let target = super::target(second);
            text.push_str(&format!(
                "to let run what either does: callgate policy merge {} {} -o {}\n",
                quoted(second),
                quoted(first),
                quoted(&target)
            ));
        }
    }
    text
}
