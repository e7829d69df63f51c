//! `callgate root build --from TRACE`: the smallest root in which a probe runs, and what `root check` says of it.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::elsewhere;
use crate::fit::{can_install, fitted};
use crate::support::{available, callgate, expect, json as parse, probe, probes, root, said, scratch};

/// Builds a root from a trace; returns what was said.
fn build(trace: &Path, root: &Path) -> String {
    said(&expect(
        0,
        callgate(["root", "build", "--from"]).arg(trace).arg(root),
    ))
}

fn marker(root: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(root.join(".callgate-root.json")).unwrap()).unwrap()
}

/// The place in a root of a path of the host.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap())
}

#[test]
fn every_probe_runs_in_the_root_of_its_trace_with_nothing_missing() {
    if !available("root", root()) || !can_install() {
        return;
    }
    let dir = scratch();
    for path in probes() {
        let (trace, policy) = fitted(&path).write(dir.path());
        let root = dir.path().join("root");
        build(&trace, &root);
        let mut exec = callgate(["exec", "--root"]);
        let output = expect(0, exec.arg(&root).arg("--policy").arg(&policy).arg(&path));
        let text = said(&output);
        assert!(
            text.contains("\nok: ") && text.contains("tier full"),
            "{}: {text}",
            path.display()
        );
        let checked = expect(0, callgate(["root", "check"]).arg(&root));
        assert!(checked.stderr.is_empty(), "{}", said(&checked));
        let from = &marker(&root)["traced_from"];
        assert_eq!(from["trace"], trace.to_str().unwrap());
        assert_eq!(from["command"][1], path.to_str().unwrap());
    }
}

#[test]
fn the_root_of_a_trace_is_a_fraction_of_the_whole_and_runs_without_mounts_too() {
    if !available("root", root()) || !can_install() {
        return;
    }
    let dir = scratch();
    let path = probe("with_requests.py");
    let (trace, policy) = fitted(&path).write(dir.path());
    let (small, whole) = (dir.path().join("small"), dir.path().join("whole"));
    build(&trace, &small);
    expect(0, callgate(["root", "build", "--script"]).arg(&path).arg(&whole));
    let (small_marker, whole_marker) = (marker(&small), marker(&whole));
    let of = |marker: &Value, key: &str| marker[key].as_u64().unwrap();
    for key in ["files", "bytes"] {
        let (small, whole) = (of(&small_marker, key), of(&whole_marker, key));
        assert!(small * 3 < whole, "{key}: {small} of {whole}");
    }
    assert_eq!(whole_marker.get("traced_from"), None);
    let mut exec = callgate(["exec", "--tier", "container", "--root"]);
    expect(0, exec.arg(&small).arg("--policy").arg(&policy).arg(&path));
}

#[test]
fn a_lost_shared_object_is_named_with_its_place_on_the_host() {
    if !available("root", root()) || !can_install() {
        return;
    }
    let dir = scratch();
    let (trace, _) = fitted(&probe("with_numpy.py")).write(dir.path());
    let root = dir.path().join("root");
    build(&trace, &root);
    // One that only the wheel's own search path leads to, and one of the system's.
    let openblas = |name: &str| name.starts_with("libscipy_openblas");
    let system = |name: &str| name.starts_with("libm.so");
    for wanted in [&openblas as &dyn Fn(&str) -> bool, &system] {
        let lost = walkdir(&root)
            .into_iter()
            .find(|path| wanted(path.file_name().unwrap().to_str().unwrap()))
            .unwrap();
        let bytes = std::fs::read(&lost).unwrap();
        std::fs::remove_file(&lost).unwrap();
        let host = Path::new("/").join(lost.strip_prefix(&root).unwrap());
        let report = parse(&expect(1, callgate(["root", "check", "--json"]).arg(&root)));
        let missing = report["unresolved"].as_array().unwrap();
        assert!(!missing.is_empty(), "{report:#}");
        for missing in missing {
            assert_eq!(missing["soname"], host.file_name().unwrap().to_str().unwrap());
            let on_host = missing["on_host"].as_array().unwrap();
            assert!(on_host.contains(&json!(host)), "{}: {missing:#}", host.display());
        }
        let table = said(&expect(
            1,
            callgate(["root", "check"]).arg(&root).env("COLUMNS", "400"),
        ));
        assert!(table.contains(host.to_str().unwrap()), "{table}");
        std::fs::write(&lost, bytes).unwrap();
    }
}

/// All files below a directory.
fn walkdir(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => all.extend(walkdir(&entry.path())),
            kind if kind.is_file() => all.push(entry.path()),
            _ => {}
        }
    }
    all
}

/// Uses one of everything; in its root, what is left out is not there.
const ONE_OF_EACH: &str = "
import os, sys
os.chdir(sys.argv[1])
assert open('link/../b.txt').read() == 'behind the link'
assert os.readlink('dangling') == 'nowhere'
assert open('data/text').read() == 'text'
os.stat('data/asked')
os.listdir('listed')
for path in ('secret', 'out.txt', 'gone', 'fifo', '/proc/self/status', '/sys/kernel', '/etc/shadow'):
    try:
        if path in ('fifo', '/sys/kernel'): os.stat(path)
        else: open(path, 'w' if path == 'out.txt' else 'r').close()
    except OSError: pass
open('/dev/null').close()
if os.path.exists('gone'): os.remove('gone')
print('all there')
";

#[test]
fn links_and_parent_steps_lead_where_they_do_on_the_host_and_nothing_unused_or_closed_is_there() {
    if !available("root", root()) {
        return;
    }
    let (host, out) = (elsewhere(), scratch());
    let at = |name: &str| host.path().join(name);
    for dir in ["data", "real/sub", "listed"] {
        std::fs::create_dir_all(at(dir)).unwrap();
    }
    for (name, text) in [
        ("data/text", "text"),
        ("data/asked", "asked"),
        ("data/unused", ""),
        ("listed/unused", ""),
        ("real/b.txt", "behind the link"),
        ("b.txt", "a trap for who takes `..` by name"),
        ("secret", "key"),
        ("gone", ""),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    std::fs::set_permissions(at("secret"), PermissionsExt::from_mode(0o600)).unwrap();
    symlink("real/sub", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    expect(0, std::process::Command::new("mkfifo").arg(at("fifo")));
    let script = out.path().join("each.py");
    std::fs::write(&script, ONE_OF_EACH).unwrap();
    let trace = out.path().join("t.json");
    let mut dig = callgate(["dig", "-o"]);
    expect(0, dig.arg(&trace).arg(&script).arg("--").arg(host.path()));

    let root = out.path().join("root");
    let text = build(&trace, &root);
    for (what, name) in [
        ("lets only their owner or group", "secret"),
        ("lets only their owner or group", "/etc/shadow"),
        ("are fifos", "fifo"),
        ("were written by the probe", "out.txt"),
    ] {
        let named = text
            .lines()
            .any(|line| line.contains(what) && line.contains(name));
        assert!(named, "{name}: {text}");
    }
    let there = |name: &str| inside(&root, &at(name)).symlink_metadata().is_ok();
    for name in [
        "data/text",
        "data/asked",
        "real/sub",
        "real/b.txt",
        "link",
        "dangling",
        "listed",
    ] {
        assert!(there(name), "{name}: {text}");
    }
    for name in [
        "data/unused",
        "listed/unused",
        "secret",
        "out.txt",
        "fifo",
        "b.txt",
        "gone",
    ] {
        assert!(!there(name), "{name}");
    }
    for name in [
        "proc/self",
        "sys",
        "run",
        "etc/shadow",
        "usr/share/zoneinfo/Europe",
    ] {
        assert!(!root.join(name).exists(), "{name}");
    }
    let passwd = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(passwd.starts_with("sandbox:"), "{passwd}");
    assert_eq!(
        inside(&root, &at("link")).read_link().unwrap(),
        Path::new("real/sub")
    );

    let policy = out.path().join("p.json");
    expect(0, callgate(["policy", "new", "-o"]).arg(&policy).arg(&trace));
    let mut exec = callgate(["exec", "--root"]);
    let output = expect(
        0,
        exec.arg(&root)
            .arg("--policy")
            .arg(&policy)
            .arg(&script)
            .arg("--")
            .arg(host.path()),
    );
    assert!(said(&output).contains("all there"), "{}", said(&output));
}

#[test]
fn a_commands_root_has_the_interpreter_of_its_script_and_the_loader() {
    if !available("root", root()) {
        return;
    }
    let (host, out) = (elsewhere(), scratch());
    let script = host.path().join("run.sh");
    std::fs::write(&script, "#!/bin/sh\nexec /bin/cat /etc/passwd\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let (trace, root) = (out.path().join("t.json"), out.path().join("root"));
    let policy = out.path().join("p.json");
    expect(0, callgate(["dig", "-o"]).arg(&trace).arg("--").arg(&script));
    build(&trace, &root);
    expect(0, callgate(["policy", "new", "-o"]).arg(&policy).arg(&trace));
    let policy = out.path().join("p.json");
    expect(0, callgate(["policy", "new", "-o"]).arg(&policy).arg(&trace));
    let mut exec = callgate(["exec", "--root"]);
    let output = expect(
        0,
        exec.arg(&root)
            .arg("--policy")
            .arg(&policy)
            .arg("--")
            .arg(&script),
    );
    assert!(said(&output).contains("sandbox:x:"), "{}", said(&output));
    let files = marker(&root)["files"].as_u64().unwrap();
    assert!(files < 30, "{files} files");
}

#[test]
fn traces_that_make_no_root_are_refused_with_the_mend() {
    let dir = scratch();
    let trace = dir.path().join("t.json");
    let mut value = json!({"schema": "callgate.trace/1", "arch": "amd64", "kernel": "6.1", "command": ["a"],
        "outcome": {"status": "exited", "exit_code": 0}, "counts": "exact", "syscalls": []});
    let other = if cfg!(target_arch = "x86_64") {
        "arm64"
    } else {
        "amd64"
    };
    let native = if other == "arm64" { "amd64" } else { "arm64" };
    for (arch, word) in [(native, "lists no files"), (other, "record the probe here")] {
        value["arch"] = json!(arch);
        std::fs::write(&trace, value.to_string()).unwrap();
        let mut build = callgate(["root", "build", "--from"]);
        let text = said(&expect(2, build.arg(&trace).arg(dir.path().join("root"))));
        assert!(text.contains(word) && text.contains("t.json"), "{text}");
    }
    let both = ["root", "build", "--from", "t", "--script", "s", "d"];
    expect(2, &mut callgate(both));
}
