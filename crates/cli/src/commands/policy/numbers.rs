//! `callgate policy numbers`: names ↔ numbers on both architectures.

use std::collections::BTreeMap;

use callgate_abi::{Arch, Syscall};
use callgate_policy::{UnknownCall, equivalents};
use serde::Serialize;
use serde_json::json;

use crate::args::NumbersArgs;
use crate::failure::Failure;
use crate::{output, table};

/// One call on every architecture.
#[derive(Serialize)]
struct Row {
    name: String,
    numbers: BTreeMap<Arch, u32>,
    /// What libc calls on an architecture that lacks it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    equivalents: BTreeMap<Arch, Vec<String>>,
}

pub(crate) fn run(args: &NumbersArgs) -> Result<u8, Failure> {
    let calls = match args.calls.is_empty() {
        true => args.arch.0.iter().flat_map(|arch| arch.calls()).collect(),
        false => {
            let asked = args.calls.iter().map(|word| word.trim());
            let found: Vec<Vec<Syscall>> = asked
                .map(|word| asked_for(word, &args.arch.0))
                .collect::<Result<_, _>>()?;
            found.concat()
        }
    };
    let mut rows: Vec<Row> = Vec::new();
    for call in calls {
        if !rows.iter().any(|row| row.name == call.name()) {
            rows.push(row(call));
        }
    }
    if args.json {
        output::json(&json!({"schema": "callgate.numbers/1", "calls": rows}))?;
        return Ok(0);
    }
    let mut table = table::table(&["call", "amd64", "arm64", "where it is missing"]);
    for row in &rows {
        let number = |arch| {
            row.numbers
                .get(&arch)
                .map_or_else(|| "-".to_owned(), u32::to_string)
        };
        let instead = row
            .equivalents
            .iter()
            .map(|(arch, names)| match names.is_empty() {
                true => format!("{arch}: nothing"),
                false => format!("{arch}: {}", names.join(", ")),
            });
        table.add_row([
            table::text(&row.name),
            table::number(number(Arch::X86_64)),
            table::number(number(Arch::Aarch64)),
            table::text(instead.collect::<Vec<_>>().join("; ")),
        ]);
    }
    output::stdout(format!("{table}\n").as_bytes())?;
    Ok(0)
}

/// The calls that a word means on the architectures: a name, or a number that has one.
pub(super) fn asked_for(word: &str, arches: &[Arch]) -> Result<Vec<Syscall>, Failure> {
    let found: Vec<Syscall> = match word.parse::<u32>() {
        Ok(nr) => {
            let calls = arches.iter().map(|arch| Syscall::new(arch.abi(), nr));
            calls.filter(|call| call.known_name().is_some()).collect()
        }
        Err(_) => {
            callgate_policy::known_name(word).map_err(|error: UnknownCall| Failure::input(error))?;
            let calls = Arch::ALL.iter().filter_map(|arch| arch.call(word).ok());
            calls.collect()
        }
    };
    if found.is_empty() {
        let names: Vec<&str> = arches.iter().map(|arch| arch.name()).collect();
        let above = |arch: &Arch| word.parse::<u32>().is_ok_and(|nr| nr > arch.newest());
        let advice = arches.iter().all(above).then(|| {
            "it is above the newest known call: policies give such numbers their default action, or ENOSYS \
             (policy new --unknown enosys)"
                .to_owned()
        });
        return Err(Failure::input(format!("{} has no call {word}", names.join(" or "))).with_advice(advice));
    }
    Ok(found)
}

fn row(call: Syscall) -> Row {
    let mut row = Row {
        name: call.name().into_owned(),
        numbers: BTreeMap::new(),
        equivalents: BTreeMap::new(),
    };
    for arch in Arch::ALL {
        let found = equivalents(call, arch);
        match found.calls.first() {
            Some(there) if found.same => {
                row.numbers.insert(arch, there.nr());
            }
            _ => {
                let there = found.calls.iter().map(|call| format!("{call} {}", call.nr()));
                row.equivalents.insert(arch, there.collect());
            }
        }
    }
    row
}
