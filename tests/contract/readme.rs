//! README.md: the keys and schemas of the JSON that is printed stand in it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{callgate, expect, json, repository, scratch, sources};

/// What stands before and after the part on JSON.
const PART: (&str, &str) = ("### JSON", "### Policy files");

fn part() -> String {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let begin = readme.find(PART.0).unwrap();
    let end = readme.find(PART.1).unwrap();
    readme[begin..end].to_owned()
}

/// The words of the part, as JSON keys are words.
fn words(part: &str) -> BTreeSet<&str> {
    part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect()
}

/// All keys of a value but those that are data: names of errors, and of policies.
fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if key.chars().any(|c| c.is_ascii_lowercase()) {
                    into.insert(key.clone());
                }
                if key != "shipped" {
                    keys(value, into);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

#[test]
fn every_key_that_is_printed_stands_in_the_readme() {
    let dir = scratch();
    let said = |args: &[&str], code: i32| {
        let mut command = callgate(args);
        json(&expect(code, command.current_dir(dir.path())))
    };
    let script = "import os, socket\nsocket.socketpair()\nopen('/etc/passwd')\n";
    std::fs::write(dir.path().join("p.py"), script).unwrap();
    std::fs::write(
        dir.path().join("bad.py"),
        "import os\nos.sched_setaffinity(0, [0])\n",
    )
    .unwrap();
    let mut printed = BTreeSet::new();
    for value in [
        said(&["dig", "--json", "--stacks", "-o", "t.json", "p.py"], 0),
        said(&["dig", "--json", "--runs", "2", "p.py"], 0),
        said(
            &["policy", "diff", "--json", "t.json", "--against", "dify-python"],
            1,
        ),
        said(
            &["policy", "diff", "--json", "dify-python", "--against", "python"],
            1,
        ),
        said(&["exec", "--json", "--timings", "bad.py"], 159),
        said(&["exec", "--json", "--learn", "l.json", "bad.py"], 0),
        said(
            &["exec", "--json", "--timeout", "0.3", "-c", "while True: pass"],
            124,
        ),
        said(&["exec", "--json", "--out", "o", "-c", "open('x', 'w')"], 0),
        said(&["exec", "--json", "-c", "import no_such_module"], 1),
        said(&["root", "check", "--json", "--script", "p.py"], 0),
        said(&["doctor", "--json"], 0),
        said(&["policy", "verify", "--json", "--arch", "amd64", "python"], 0),
        said(&["policy", "lint", "--json", "python"], 0),
        said(&["policy", "list", "--json"], 0),
        said(&["policy", "explain", "--json", "open"], 0),
        said(&["policy", "numbers", "--json", "open"], 0),
        said(
            &[
                "policy",
                "disasm",
                "--verdicts",
                "--json",
                "--arch",
                "amd64",
                "python",
            ],
            0,
        ),
        said(&["root", "build", "--json", "--from", "t.json", "r"], 0),
        said(&["fit", "--json", "p.py"], 0),
    ] {
        keys(&value, &mut printed);
    }
    let part = part();
    let words = words(&part);
    let left_out: Vec<_> = printed
        .iter()
        .filter(|key| !words.contains(key.as_str()))
        .collect();
    assert!(left_out.is_empty(), "{left_out:?}");
    assert!(printed.len() > 70, "{printed:?}");
}

#[test]
fn every_schema_stands_in_the_readme() {
    let sources = sources(&repository().join("crates"));
    let part = part();
    let schemas: BTreeSet<_> = sources
        .split('"')
        .filter(|word| word.starts_with("callgate.") && word.ends_with("/1"))
        // What lies in the cache is nobody else's.
        .filter(|word| !["callgate.environment/1", "callgate.found/3"].contains(word))
        .collect();
    assert!(schemas.len() >= 7, "{schemas:?}");
    for schema in schemas {
        assert!(part.contains(schema), "{schema}");
    }
}
