//! `callgate policy disasm --verdicts`: what a program answers to every call.

use callgate_abi::{Action, Arch, Filter};
use callgate_policy::{Answer, Verdicts, bpf, verdicts};
use serde_json::{Value, json};

use crate::args::DisasmArgs;
use crate::failure::Failure;
use crate::{output, table};

pub(super) fn run(filter: &Filter, arch: Arch, args: &DisasmArgs) -> Result<u8, Failure> {
    let program = bpf::Program::new(filter)
        .map_err(|error| Failure::input(format!("{}: the kernel would not load it: {error}", args.source)))?;
    let found = verdicts(&program, arch);
    if args.json {
        output::json(&as_json(&found))?;
    } else {
        output::stdout(render(&found).as_bytes())?;
    }
    Ok(0)
}

/// One row for each answer, the softest first.
fn render(found: &Verdicts) -> String {
    let mut rows: Vec<(&Answer, Vec<String>)> = Vec::new();
    let mut add = |answer, name| match rows.iter_mut().find(|(known, _)| *known == answer) {
        Some((_, names)) => names.push(name),
        None => rows.push((answer, vec![name])),
    };
    for (call, answer) in &found.calls {
        add(answer, call.name().into_owned());
    }
    for (first, last, answer) in &found.unnamed {
        add(answer, range(*first, *last));
    }
    for entry in &found.entries {
        for (answer, count) in &entry.answers {
            add(answer, format!("{count} calls by {}'s entry", entry.abi));
        }
    }
    rows.sort_by_key(|(answer, _)| *answer);
    let mut table = table::table(&["answer", found.arch.name()]);
    for (answer, names) in rows {
        table.add_row([table::text(answer.to_string()), table::text(names.join(", "))]);
    }
    format!("{table}\n")
}

fn range(first: u32, last: u32) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    }
}

fn as_json(found: &Verdicts) -> Value {
    let with = |answer: &Answer, mut object: Value| {
        let word = |action: &Option<Action>| action.map_or("notify".to_owned(), |action| action.to_string());
        object["answer"] = answer.to_string().into();
        object["actions"] = answer.actions.iter().map(word).collect();
        object["args"] = answer.args.iter().copied().collect();
        object["sampled"] = answer.sampled.into();
        object
    };
    let calls = found
        .calls
        .iter()
        .map(|(call, answer)| with(answer, json!({"name": call.name(), "nr": call.nr()})));
    let unnamed = found
        .unnamed
        .iter()
        .map(|(first, last, answer)| with(answer, json!({"first": first, "last": last})));
    let entries = found.entries.iter().flat_map(|entry| {
        entry
            .answers
            .iter()
            .map(move |(answer, count)| with(answer, json!({"abi": entry.abi, "calls": count})))
    });
    json!({
        "schema": "callgate.verdicts/1",
        "arch": found.arch,
        "calls": calls.collect::<Vec<_>>(),
        "unnamed": unnamed.collect::<Vec<_>>(),
        "entries": entries.collect::<Vec<_>>(),
    })
}
