//! `policy diff` decides: arguments against conditions, and a change that is tried.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{policy, read, trace};
use crate::support::{CALLGATE, callgate, expect, json as parse, names, said, scratch};

const SOCKETS: &str =
    "import os, socket\nos.getcwd()\nsocket.socket(socket.AF_UNIX)\nsocket.socket(socket.AF_INET)\n";

/// A policy that allows all that Python's start needs and local sockets, refuses mkdir softly, and kills.
fn unix_only(dir: &Path) {
    trace(dir, "plain", "pass\n");
    expect(0, &mut policy(dir, ["new", "plain.json", "-o", "p.json"]));
    let allow = [
        "allow",
        "p.json",
        "socket",
        "--when",
        "arg0=AF_UNIX",
        "-o",
        "p.json",
    ];
    expect(0, &mut policy(dir, allow));
    expect(
        0,
        &mut policy(
            dir,
            [
                "deny", "p.json", "mkdir", "mkdirat", "--errno", "EPERM", "-o", "p.json",
            ],
        ),
    );
}

fn diff(code: i32, dir: &Path, trace: &str, against: &str, more: &[&str]) -> Value {
    let mut command = policy(dir, ["diff", trace, "--against", against, "--json"]);
    parse(&expect(code, command.args(more)))
}

fn entry<'a>(list: &'a Value, name: &str) -> &'a Value {
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {list:#}"))
}

#[test]
fn a_family_that_the_policy_lacks_is_missing_with_its_argument_risk_group_and_line() {
    let dir = scratch();
    unix_only(dir.path());
    trace(dir.path(), "t", SOCKETS);
    let found = diff(1, dir.path(), "t.json", "p.json", &[]);
    assert_eq!(found["schema"], "callgate.diff/1");
    for arch in ["amd64", "arm64"] {
        let socket = entry(&found[arch]["missing"], "socket");
        assert_eq!(
            socket["arguments"],
            json!([{"index": 0, "value": 2, "name": "AF_INET", "action": "kill"}]),
            "{arch}"
        );
        assert_eq!(
            (&socket["group"], &socket["action"]),
            (&json!("network"), &json!("kill"))
        );
        assert_eq!(socket["risk"]["severity"], "note");
        assert!(socket["site"]["line"].as_u64().unwrap() > 0);
    }
    let text = expect(
        1,
        &mut policy(dir.path(), ["diff", "t.json", "--against", "p.json"]),
    );
    let text = String::from_utf8(text.stdout).unwrap();
    let argument = text.lines().find(|line| line.contains("arg0 AF_INET")).unwrap();
    assert!(argument.contains("killed"), "{text}");
    let risky = text.split("risky to allow").nth(1).unwrap();
    assert!(risky.contains(" socket "), "{text}");

    trace(
        dir.path(),
        "unix",
        "import socket, os\nos.getcwd()\nsocket.socket(socket.AF_UNIX)\n",
    );
    let found = diff(1, dir.path(), "unix.json", "p.json", &[]);
    assert_eq!(entry(&found["amd64"]["allowed"], "socket")["action"], "allow");
}

#[test]
fn what_arguments_a_trace_does_not_tell_is_said_and_not_guessed() {
    let dir = scratch();
    unix_only(dir.path());
    std::fs::write(dir.path().join("names.txt"), "read\nsocket\n").unwrap();
    expect(
        0,
        callgate(["dig", "import", "names.txt", "--arch", "amd64", "-o", "t.json"]).current_dir(dir.path()),
    );
    let found = diff(0, dir.path(), "t.json", "p.json", &[]);
    let socket = entry(&found["amd64"]["allowed"], "socket");
    assert_eq!(socket["action"], "conditional");
    assert_eq!(socket["reason"], "the trace does not tell argument 0");
    let text = expect(
        0,
        &mut policy(dir.path(), ["diff", "t.json", "--against", "p.json"]),
    );
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(", 1 can't be told; "), "{text}");
    assert!(
        text.contains("depends: socket: the trace does not tell argument 0"),
        "{text}"
    );
}

#[test]
fn the_commands_of_the_change_run_as_they_stand_and_leave_nothing_to_differ() {
    let dir = scratch();
    unix_only(dir.path());
    trace(
        dir.path(),
        "t",
        &format!("{SOCKETS}os.mkdir('made')\nos.sched_setaffinity(0, os.sched_getaffinity(0))\n"),
    );
    std::fs::remove_dir(std::env::temp_dir().join("made")).unwrap_or_default();
    for (against, written) in [("p.json", "p.json"), ("dify-python", "dify-python.policy.json")] {
        let found = diff(1, dir.path(), "t.json", against, &[]);
        let path = format!(
            "{}:{}",
            Path::new(CALLGATE).parent().unwrap().display(),
            std::env::var("PATH").unwrap()
        );
        for arch in ["amd64", "arm64"] {
            for command in found[arch]["change"]["commands"].as_array().unwrap() {
                let command = command.as_str().unwrap();
                assert!(command.starts_with("callgate policy allow "), "{command}");
                let mut shell = Command::new("sh");
                shell
                    .args(["-euc", command])
                    .env("PATH", &path)
                    .current_dir(dir.path());
                expect(0, &mut shell);
            }
        }
        let after = diff(0, dir.path(), "t.json", written, &[]);
        assert!(after["amd64"].get("change").is_none(), "{after:#}");
    }
    // No wider than needed: other families stay closed.
    let wide = "import socket\nsocket.socket(socket.AF_INET6)\n";
    trace(dir.path(), "six", wide);
    let six = diff(1, dir.path(), "six.json", "p.json", &["--arch", "amd64"]);
    assert_eq!(names(&six["amd64"]["missing"]), ["socket"]);
}

#[test]
fn the_fragment_merged_into_an_oci_profile_leaves_nothing_to_differ() {
    let dir = scratch();
    unix_only(dir.path());
    trace(dir.path(), "t", &format!("{SOCKETS}os.mkdir('made2')\n"));
    std::fs::remove_dir(std::env::temp_dir().join("made2")).unwrap_or_default();
    for arch in ["amd64", "arm64"] {
        let found = diff(1, dir.path(), "t.json", "p.json", &["--arch", arch]);
        let change = &found[arch]["change"]["oci"];
        let mut profile = read(&dir.path().join("p.json"));
        let rules = profile["syscalls"].as_array_mut().unwrap();
        assert!(
            !change["remove"].as_array().unwrap().is_empty(),
            "mkdir is refused: {change:#}"
        );
        for removal in change["remove"].as_array().unwrap() {
            let names = rules[removal["rule"].as_u64().unwrap() as usize]["names"]
                .as_array_mut()
                .unwrap();
            names.retain(|name| *name != removal["name"]);
        }
        rules.retain(|rule| !rule["names"].as_array().unwrap().is_empty());
        rules.extend(change["add"].as_array().unwrap().iter().cloned());
        assert!(
            rules
                .iter()
                .any(|rule| rule["names"] == json!(["socket"]) && rule["args"][0]["valueTwo"] == 2),
            "{change:#}"
        );
        let merged = dir.path().join("merged.json");
        std::fs::write(&merged, serde_json::to_vec(&profile).unwrap()).unwrap();
        diff(0, dir.path(), "t.json", "merged.json", &["--arch", arch]);
    }
}

#[test]
fn dify_s_list_is_whole_and_has_every_observed_call() {
    let dir = scratch();
    trace(dir.path(), "t", SOCKETS);
    for (arch, old, new) in [("amd64", 0, [41, 79]), ("arm64", 63, [198, 17])] {
        let found = diff(1, dir.path(), "t.json", "dify-python", &["--arch", arch]);
        let line = found[arch]["change"]["dify"].as_str().unwrap();
        let list = line
            .strip_prefix("allowed_syscalls: [")
            .unwrap()
            .strip_suffix(']')
            .unwrap();
        let mut numbers: Vec<u64> = list.split(", ").map(|number| number.parse().unwrap()).collect();
        for entry in ["missing", "refused", "allowed"]
            .iter()
            .flat_map(|list| found[arch][list].as_array().unwrap())
        {
            assert!(numbers.contains(&entry["nr"].as_u64().unwrap()), "{arch} {entry}");
        }
        assert!(
            numbers.contains(&old) && new.iter().all(|number| numbers.contains(number)),
            "{arch}: {line}"
        );
        // As a recording: what dify would allow lets run all that was observed.
        std::fs::write(dir.path().join("list.txt"), list).unwrap();
        expect(
            0,
            callgate(["dig", "import", "list.txt", "--arch", arch, "-o", "list.json"])
                .current_dir(dir.path()),
        );
        let mut make = policy(dir.path(), ["new", "list.json", "-o", "list.policy.json"]);
        expect(0, &mut make);
        diff(0, dir.path(), "t.json", "list.policy.json", &["--arch", arch]);
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), list.split(", ").count(), "each number once");
    }
    let text = expect(1, &mut policy(dir.path(), ["diff", "t.json"]));
    assert!(String::from_utf8_lossy(&text.stdout).contains("setting replaces the built-in list"));
}

/// The table's lines, without what is to be copied and may not be broken.
fn widest(text: &str) -> usize {
    let table = text.split("\n\n").next().unwrap();
    table
        .lines()
        .filter(|line| line.starts_with([' ', '─', '═']))
        .map(|line| line.chars().count())
        .max()
        .unwrap()
}

#[test]
fn the_table_fits_80_columns_and_names_are_whole() {
    let dir = scratch();
    trace(dir.path(), "t", SOCKETS);
    for columns in [Some("80"), None] {
        let mut command = policy(dir.path(), ["diff", "t.json", "--against", "python"]);
        match columns {
            Some(columns) => command.env("COLUMNS", columns),
            None => command.env_remove("COLUMNS"),
        };
        let output = expect(1, &mut command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(widest(&text) <= 80, "{}", said(&output));
        for name in [
            "set_tid_address",
            "socket",
            "getcwd",
            "newfstatat",
            "set_robust_list",
        ] {
            assert!(
                text.lines()
                    .any(|line| line.split_whitespace().next() == Some(name)),
                "{name} is not whole: {text}"
            );
        }
    }
}

#[test]
fn policies_that_differ_in_an_argument_are_shown_with_a_call_that_tells_them_apart() {
    let dir = scratch();
    let family = |family: u64| {
        json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": ["socket"],
               "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": family, "op": "SCMP_CMP_EQ"}]}]})
    };
    for (name, value) in [("unix.json", 1), ("inet.json", 2)] {
        std::fs::write(dir.path().join(name), family(value).to_string()).unwrap();
    }
    let found = diff(1, dir.path(), "unix.json", "inet.json", &["--arch", "amd64"]);
    let note = found["amd64"]["different"][0]["note"].as_str().unwrap();
    assert!(note.contains("socket(AF_UNIX, "), "{note}");
    assert!(note.contains("allow against kill"), "{note}");
}
