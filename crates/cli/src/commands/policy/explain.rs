//! `callgate policy explain`: all that is known of a call.

use callgate_abi::Arch;
use callgate_policy::Explanation;
use serde_json::json;

use super::numbers::asked_for;
use crate::args::ExplainArgs;
use crate::commands::dig::paint;
use crate::failure::Failure;
use crate::output;
use crate::terminal::{BOLD, DIM};

pub(crate) fn run(args: &ExplainArgs) -> Result<u8, Failure> {
    let mut names: Vec<String> = asked_for(&args.call, &args.arch.0)?
        .iter()
        .map(|call| call.name().into_owned())
        .collect();
    names.dedup();
    let found = names
        .iter()
        .map(|name| callgate_policy::explain(name).map_err(Failure::input));
    let found: Vec<Explanation> = found.collect::<Result<_, _>>()?;
    if args.json {
        output::json(&json!({"schema": "callgate.explained/1", "calls": found}))?;
        return Ok(0);
    }
    let texts: Vec<String> = found.iter().map(render).collect();
    output::stdout(paint(&texts.join("\n")).as_bytes())?;
    Ok(0)
}

fn render(call: &Explanation) -> String {
    let mut text = format!("{BOLD}{}{BOLD:#}: {}\n", call.name, call.summary);
    let mut line = |head: &str, rest: String| text.push_str(&format!("  {DIM}{head:9}{DIM:#} {rest}\n"));
    let number = |arch: Arch| match (call.numbers.get(&arch), call.equivalents.get(&arch)) {
        (Some(nr), _) => format!("{arch} {nr}"),
        (None, Some(instead)) => {
            let calls = match instead.calls.is_empty() {
                true => "nothing in its place".to_owned(),
                false => format!("libc calls {}", instead.calls.join(", ")),
            };
            let note = instead.note.map(|note| format!(" ({note})")).unwrap_or_default();
            format!("not on {arch}: {calls}{note}")
        }
        (None, None) => format!("not on {arch}"),
    };
    line("numbers", Arch::ALL.map(number).join(", "));
    let since = call
        .since
        .map(|since| format!(", since Linux {since}"))
        .unwrap_or_default();
    line("group", format!("{}{since}", call.group));
    if !call.siblings.is_empty() {
        line(
            "siblings",
            format!("{} (which one is made depends on libc)", call.siblings.join(", ")),
        );
    }
    if let Some(risk) = &call.risk {
        let cve = risk.cve.map(|cve| format!(" ({cve})")).unwrap_or_default();
        line("risk", format!("{}: {}{cve}", risk.severity, risk.reason));
    }
    for (policy, answers) in &call.shipped {
        let mut by_answer: Vec<(&str, Vec<&str>)> = Vec::new();
        for (arch, answer) in answers {
            match by_answer.iter_mut().find(|(known, _)| known == answer) {
                Some((_, arches)) => arches.push(arch.name()),
                None => by_answer.push((answer, vec![arch.name()])),
            }
        }
        let words = by_answer
            .iter()
            .map(|(answer, arches)| match arches.len() == answers.len() {
                true => (*answer).to_owned(),
                false => format!("{answer} on {}", arches.join(", ")),
            });
        line(
            "policy",
            format!("{policy}: {}", words.collect::<Vec<_>>().join("; ")),
        );
    }
    text
}
