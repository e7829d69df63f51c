//! `--unknown enosys`: what numbers get that are newer than callgate's tables.

use std::path::Path;

use super::{REFUSED, policy, read};
use crate::support::{callgate, compiled, expect, json, said, scratch};

const ENOSYS: i32 = 38;

/// `future.json`: the trace of a program that makes call 9999, without that call.
fn traced(dir: &Path) -> Option<std::path::PathBuf> {
    let program = compiled("future", dir)?;
    let dig = callgate(["dig", "-o", "future.json", "--"])
        .arg(&program)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(dir.join("future.json").is_file(), "{}", said(&dig));
    Some(program)
}

#[test]
fn a_number_above_the_newest_gets_enosys_where_the_policy_asks_for_it_and_is_killed_elsewhere() {
    let dir = scratch();
    let dir = dir.path();
    let Some(program) = traced(dir) else { return };
    for (unknown, code) in [("enosys", ENOSYS), ("default", REFUSED)] {
        let new = ["new", "future.json", "--unknown", unknown, "-o", "p.json"];
        expect(0, &mut policy(dir, new));
        let mut exec = callgate(["exec", "--policy", "p.json", "--"]);
        expect(code, exec.arg(&program).current_dir(dir));
        expect(0, &mut policy(dir, ["verify", "p.json"]));
    }
}

#[test]
fn the_answer_to_unknown_numbers_stays_in_the_file_through_every_edit_and_is_shown() {
    let dir = scratch();
    let dir = dir.path();
    let plain = r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let text = plain.replacen('{', r#"{"x-callgate": {"unknown": "enosys"},"#, 1);
    std::fs::write(dir.join("plain.json"), plain).unwrap();
    std::fs::write(dir.join("p.json"), text).unwrap();
    let kept = |name: &str| read(&dir.join(name))["x-callgate"]["unknown"] == "enosys";
    for edit in [
        ["allow", "p.json", "close"],
        ["deny", "p.json", "ptrace"],
        ["remove", "p.json", "read"],
        ["merge", "p.json", "plain.json"],
        ["intersect", "p.json", "p.json"],
    ] {
        expect(0, policy(dir, edit).args(["-o", "out.json"]));
        assert!(kept("out.json"), "{edit:?}");
    }
    expect(
        0,
        &mut policy(dir, ["intersect", "p.json", "plain.json", "-o", "out.json"]),
    );
    assert!(!kept("out.json"), "plain.json kills such numbers, so both do");

    let shown = said(&expect(0, &mut policy(dir, ["show", "p.json"])));
    assert!(shown.contains("\"x-callgate\""), "{shown}");
    let found = json(&expect(
        1,
        &mut policy(dir, ["diff", "p.json", "--against", "plain.json", "--json"]),
    ));
    assert!(found.to_string().contains("errno(ENOSYS)"), "{found}");
    let program = said(&expect(0, &mut policy(dir, ["disasm", "p.json"])));
    assert!(program.contains("ret ERRNO(ENOSYS)"), "{program}");
    let unknown = said(&expect(2, &mut policy(dir, ["explain", "9999"])));
    assert!(unknown.contains("--unknown enosys"), "{unknown}");
}

#[test]
fn formats_that_have_one_answer_for_all_numbers_say_that_they_lose_it() {
    let dir = scratch();
    let dir = dir.path();
    let text = r#"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "x-callgate": {"unknown": "enosys"},
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#;
    std::fs::write(dir.join("p.json"), text).unwrap();
    for format in [
        "names",
        "numbers",
        "seccompiler",
        "dify",
        "k8s",
        "minijail",
        "kafel",
    ] {
        let lost = said(&expect(
            2,
            &mut policy(dir, ["emit", "p.json", "--format", format]),
        ));
        assert!(
            lost.contains("numbers above the newest known call get errno(ENOSYS)"),
            "{lost}"
        );
    }
    // These keep callgate's own key in the file.
    for format in ["moby", "oci"] {
        let told = said(&expect(
            0,
            &mut policy(dir, ["emit", "p.json", "--format", format]),
        ));
        assert!(told.contains("numbers above the newest known call get"), "{told}");
    }
    let bad = text.replace("enosys", "enosis");
    std::fs::write(dir.join("bad.json"), bad).unwrap();
    let said = said(&expect(2, &mut policy(dir, ["show", "bad.json"])));
    assert!(
        said.contains("x-callgate.unknown") && said.contains("`enosys`"),
        "{said}"
    );
}
