//! dify-sandbox's list of numbers: its config.yaml, or a line of its environment.

use callgate_abi::Arch;
use serde_json::Value;

use super::yaml::documents;
use super::{ImportError, lists};
use crate::Policy;

const KEY: &str = "allowed_syscalls";
const VARIABLE: &str = "ALLOWED_SYSCALLS";

pub(super) fn read(text: &str, arch: Arch, notes: &mut Vec<String>) -> Result<Policy, ImportError> {
    let is_list = |line: &str| line.split('#').next().unwrap_or_default().contains(VARIABLE);
    let numbers = match text.lines().any(is_list) {
        true => environment(text)?,
        false => config(text)?,
    };
    notes.push(
        "the list is read as the whole one: up to dify-sandbox's a94a466 it replaces the built-in list, later \
         versions may add it to theirs"
            .to_owned(),
    );
    let names = lists::named(&numbers, arch, notes);
    if !names.iter().any(|name| name == "setgroups") {
        notes.push("dify-sandbox allows setgroups besides, for its own set-up".to_owned());
    }
    Ok(lists::allowing(names, "in dify-sandbox's allowed_syscalls"))
}

fn config(text: &str) -> Result<Vec<u32>, ImportError> {
    let documents = documents(text)?;
    let [document] = &documents[..] else {
        return Err(ImportError::Part(format!(
            "{} documents where config.yaml has one",
            documents.len()
        )));
    };
    let numbers = match document.value.get(KEY) {
        Some(Value::Array(numbers)) if !numbers.is_empty() => numbers,
        Some(Value::Array(_) | Value::Null) => {
            let mend = "dify-sandbox then uses its built-in list: take the shipped policy dify-python";
            return Err(document.fault(KEY, format!("the list is empty; {mend}")));
        }
        Some(_) => return Err(document.fault(KEY, "expected a list of numbers: [0, 1, …]")),
        None => return Err(document.fault("", format!("no {KEY} in the file"))),
    };
    let number = |(index, value): (usize, &Value)| {
        let nr = value.as_u64().and_then(|nr| u32::try_from(nr).ok());
        nr.ok_or_else(|| {
            document.fault(
                &format!("{KEY}[{index}]"),
                format!("{value} is no system call number"),
            )
        })
    };
    numbers.iter().enumerate().map(number).collect()
}

fn environment(text: &str) -> Result<Vec<u32>, ImportError> {
    let mut found: Option<Vec<u32>> = None;
    for (index, line) in text.lines().enumerate() {
        let fault = |what: String| ImportError::Line {
            file: None,
            line: index + 1,
            what,
        };
        let bare = line.split('#').next().unwrap_or_default();
        let Some((_, rest)) = bare.split_once(VARIABLE) else {
            continue;
        };
        let list = rest
            .trim_start()
            .strip_prefix(['=', ':'])
            .ok_or_else(|| fault(format!("expected {VARIABLE}=0,1,…")))?;
        let list = list.trim().trim_matches(['"', '\'']);
        let numbers: Result<Vec<u32>, ImportError> = list
            .split(',')
            .map(|word| {
                // As dify-sandbox itself, which refuses anything else.
                let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
                let nr = digits.then(|| word.parse().ok()).flatten();
                nr.ok_or_else(|| {
                    fault(format!(
                        "{word:?} is no system call number: expected 0,1,… without spaces"
                    ))
                })
            })
            .collect();
        if found.replace(numbers?).is_some() {
            return Err(fault(format!("{VARIABLE} for the second time: keep one")));
        }
    }
    found.ok_or(ImportError::Unclear)
}
