//! `--out DIR`: what is brought out of the work directory, what is not, and that nobody is led astray.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::places::Place;
use super::{exec, interpreter, outcome, outcome_of, policy, rule, small_root};
use crate::support::sys::{Refusal, refuse};
use crate::support::{CALLGATE, available, callgate, expect, root, said, scratch};

/// Everything below a directory, sorted.
fn tree(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            } else {
                let path = entry.path();
                all.push(path.strip_prefix(dir).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    all.sort();
    all
}

/// A directory that does not exist yet, and its `--out`.
fn out(dir: &Path) -> (PathBuf, String) {
    let at = dir.join("out");
    let flag = format!("--out={}", at.display());
    (at, flag)
}

fn notes(outcome: &Value) -> Vec<String> {
    let notes = outcome["notes"].as_array().cloned().unwrap_or_default();
    notes
        .iter()
        .map(|note| note.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_new_or_changed_comes_out_at_every_tier() {
    let code = "import os\n\
                os.makedirs('plots/a'); open('plots/a/one.png', 'wb').write(b'x' * 100_000)\n\
                os.makedirs('empty'); open('zero', 'w').close()\n\
                open('changed', 'a').write('!')\n\
                f = os.open('tool', os.O_CREAT | os.O_WRONLY, 0o777); os.write(f, b'#!')\n\
                try: os.chmod('tool', 0o6777)\n\
                except PermissionError: assert 'TMPDIR' in os.environ";
    for place in Place::all() {
        let dir = scratch();
        let owner = place.owner();
        std::os::unix::fs::chown(dir.path(), Some(owner), Some(owner)).unwrap();
        let given = dir.path().join("given");
        std::fs::write(&given, "given").unwrap();
        std::os::unix::fs::chown(&given, Some(owner), Some(owner)).unwrap();
        let (at, flag) = out(dir.path());
        let same = format!("--file=same/file={}", given.display());
        let changed = format!("--file=changed={}", given.display());
        let outcome = place.outcome(&[&flag, &same, &changed], code);
        assert_eq!(
            outcome["out"],
            json!({"files": [
                {"name": "changed", "bytes": 6},
                {"name": "plots/a/one.png", "bytes": 100_000},
                {"name": "tool", "bytes": 2},
                {"name": "zero", "bytes": 0},
            ], "skipped": 0}),
            "{outcome:#}"
        );
        assert_eq!(tree(&at), ["changed", "plots/a/one.png", "tool", "zero"]);
        assert_eq!(std::fs::read(at.join("changed")).unwrap(), b"given!");
        assert_eq!(
            std::fs::read(at.join("plots/a/one.png")).unwrap(),
            [b'x'; 100_000]
        );
        for name in tree(&at) {
            let data = std::fs::metadata(at.join(&name)).unwrap();
            assert_eq!(
                (data.uid(), data.permissions().mode() & 0o7777),
                (owner, 0o644),
                "{name}"
            );
        }
        // Without being asked, nothing comes out.
        assert_eq!(place.outcome(&[], "open('x', 'w')").get("out"), None);
    }
}

#[test]
fn only_regular_files_come_out_and_what_is_left_is_named_at_every_tier() {
    let code = "import os, socket\n\
                os.symlink('/etc/passwd', 'link'); os.symlink('/etc', 'directory link'); os.symlink('..', 'up')\n\
                os.symlink('nowhere', 'dangling'); os.mkfifo('pipe'); os.link('given', 'hard link')\n\
                os.makedirs('d'); os.symlink('/etc/shadow', 'd/secret'); open('d/good', 'w').write('good')\n\
                os.makedirs('deep/' * 70); open('deep/' * 70 + 'x', 'w').close()";
    for place in Place::all() {
        let dir = scratch();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let given = dir.path().join("given");
        std::fs::write(&given, "given").unwrap();
        let (at, flag) = out(dir.path());
        let outcome = place.outcome(&[&flag, &format!("--file=given={}", given.display())], code);
        assert_eq!(outcome["exit_code"], 0, "{outcome:#}");
        assert_eq!(outcome["out"]["files"], json!([{"name": "d/good", "bytes": 4}]));
        assert_eq!(outcome["out"]["skipped"], 8, "{outcome:#}");
        assert_eq!(tree(&at), ["d/good"]);
        let notes = notes(&outcome);
        for (name, why) in [
            ("\"link\"", "a symlink"),
            ("\"directory link\"", "a symlink"),
            ("\"up\"", "a symlink"),
            ("\"dangling\"", "a symlink"),
            ("\"d/secret\"", "a symlink"),
            ("\"pipe\"", "a named pipe"),
            ("\"hard link\"", "a hard link to \"given\""),
            ("deep/deep", "64 deep"),
        ] {
            let told = notes.iter().any(|note| {
                note.starts_with("not brought out: ") && note.contains(name) && note.contains(why)
            });
            assert!(told, "{name}: {why}\n{notes:#?}");
        }
    }
}

#[test]
fn a_socket_stays_inside() {
    let dir = scratch();
    let (at, flag) = out(dir.path());
    let code = "import socket; socket.socket(socket.AF_UNIX).bind('socket'); open('x', 'w').close()";
    let outcome = outcome(&["--policy=python-network", &flag], code);
    assert!(
        notes(&outcome).contains(&"not brought out: \"socket\": a socket".to_owned()),
        "{outcome:#}"
    );
    assert_eq!(tree(&at), ["x"]);
}

#[test]
fn numbers_and_sizes_are_bounded_also_of_files_that_are_all_holes() {
    let dir = scratch();
    let (at, flag) = out(dir.path());
    let code = "import os\n\
                for i in range(4200): open(f'{i:04}', 'w').write('x')\n\
                open('!holes', 'w').truncate(900 << 20)\n\
                open('!half', 'w').truncate(9 << 20); open('!other half', 'w').truncate(9 << 20)";
    let outcome = outcome(&[&flag, "--tmp-size=17M"], code);
    assert_eq!(outcome["exit_code"], 0, "{outcome:#}");
    let notes = notes(&outcome);
    let left = |name: &str| format!("not brought out: \"{name}\": ");
    for (name, why) in [("!holes", "943718400 bytes"), ("!other half", "9437184 bytes")] {
        let told = notes
            .iter()
            .any(|note| note.starts_with(&left(name)) && note.contains(why));
        assert!(told, "{name}\n{notes:#?}");
    }
    let files = outcome["out"]["files"].as_array().unwrap();
    assert_eq!((files.len(), &files[0]["name"]), (4096, &json!("!half")));
    assert_eq!(outcome["out"]["skipped"], 2 + 4200 - 4095);
    assert!(
        notes
            .iter()
            .any(|note| note.ends_with("more were not brought out")),
        "{notes:#?}"
    );
    assert_eq!(tree(&at).len(), 4096);
    // Named are only some.
    assert!(
        notes
            .iter()
            .filter(|note| note.contains("not brought out: "))
            .count()
            <= 20
    );
}

#[test]
fn odd_names_come_out_as_they_are_and_never_reach_a_terminal() {
    let dir = scratch();
    let (at, flag) = out(dir.path());
    let code = "import os\n\
                for name in [b'\\x1b[2J', b'line\\nbreak', b'-rf', b'\\xff\\xfe', b'.callgate-1-0.part', 'ä'.encode()]:\n\
                \x20   open(name, 'w').close()\n\
                os.symlink(b'x', b'\\x1b]0;title\\x07link')";
    let told = outcome(&[&flag], code);
    let names: Vec<_> = told["out"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].clone())
        .collect();
    assert_eq!(
        names,
        [
            "\u{1b}[2J",
            "-rf",
            ".callgate-1-0.part",
            "line\nbreak",
            "ä",
            "\u{fffd}\u{fffd}"
        ]
    );
    let odd = &told["out"]["files"][5];
    assert_eq!(odd["name_hex"], "fffe");
    assert_eq!(told["out"]["files"][0].get("name_hex"), None);
    assert!(at.join(OsStr::from_bytes(b"\xff\xfe")).exists());
    assert_eq!(std::fs::read_dir(&at).unwrap().count(), 6);
    std::fs::remove_dir_all(&at).unwrap();
    let output = exec(&[&flag], code);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        !output.stderr.contains(&0x1b) && !output.stderr.contains(&7),
        "{}",
        said(&output)
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("brought out 6 files of 0 bytes"));
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_nothing_runs() {
    let dir = scratch();
    let (at, flag) = out(dir.path());
    std::fs::create_dir(&at).unwrap();
    std::fs::write(at.join("mine"), "mine").unwrap();
    for (flag, word) in [
        (flag.clone(), "is not empty"),
        (format!("{flag}/mine"), "Not a directory"),
        (format!("{flag}/no/parent"), "No such file"),
        ("--out=/proc/self/out".to_owned(), "No such file"),
    ] {
        let output = exec(&[&flag], "print('ran')");
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(output.stdout.is_empty(), "{}", said(&output));
        assert!(said(&output).contains(word), "{word}\n{}", said(&output));
    }
    assert_eq!(tree(&at), ["mine"]);
}

#[test]
fn files_come_out_however_the_run_ends_and_nobody_writes_to_them_any_more() {
    // A process that outlives the code goes on writing until it is killed.
    let write = "import os, time\n\
                 if os.fork() == 0:\n\
                 \x20   os.setsid()\n\
                 \x20   while True: open('log', 'a').write('x' * 1000)\n\
                 while not os.path.exists('log'): time.sleep(0.01)\n";
    for (end, status, code) in [
        ("", "exited", 0),
        ("raise SystemExit(7)", "exited", 7),
        ("while True: pass", "timeout", 124),
        ("os.kill(os.getpid(), 11)", "signaled", 139),
        ("os.setpriority(0, 0, 7)", "violation", 159),
    ] {
        let dir = scratch();
        let (at, flag) = out(dir.path());
        let policy = policy(dir.path(), &json!([rule("KILL_PROCESS", &["setpriority"])]));
        let outcome = outcome(
            &[&flag, "--timeout=2", "--policy", &policy],
            &format!("{write}{end}"),
        );
        assert_eq!(
            (outcome["status"].as_str(), outcome["exit_code"].as_i64()),
            (Some(status), Some(code)),
            "{outcome:#}"
        );
        let size = std::fs::metadata(at.join("log")).unwrap().len();
        assert_eq!(outcome["out"]["files"], json!([{"name": "log", "bytes": size}]));
        assert!(size > 0);
    }
}

#[test]
fn files_that_the_host_has_no_room_for_are_a_failure() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let line = "mount -t tmpfs -o size=64k tmpfs \"$1\" && shift && exec \"$@\"";
    let code = "open('a', 'w').write('x' * 1000); open('b', 'w').write('x' * 100_000); open('c', 'w').close(); print(1)";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec", line, "sh"])
        .arg(dir.path())
        .args([CALLGATE, "exec", "--json", "--python", interpreter(), "--out"])
        .arg(dir.path())
        .args(["-c", code])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&outcome["exit_code"], &outcome["stdout"]),
        (&json!(0), &json!("1\n"))
    );
    assert_eq!(outcome["out"]["files"], json!([{"name": "a", "bytes": 1000}]));
    assert!(
        outcome["out"]["error"]
            .as_str()
            .unwrap()
            .contains("\"b\": No space left"),
        "{outcome:#}"
    );
}

#[test]
fn a_command_and_a_built_root_have_a_work_directory_too() {
    let dir = scratch();
    let built = format!("--root={}", small_root(&dir.path().join("root"), &[]));
    let (at, flag) = out(dir.path());
    let outcome = outcome(&[&built, &flag], "open('x', 'w').write('1')");
    assert_eq!(
        outcome["out"]["files"],
        json!([{"name": "x", "bytes": 1}]),
        "{outcome:#}"
    );
    std::fs::remove_dir_all(&at).unwrap();
    let command = [
        "exec",
        "--json",
        "--policy=docker-default",
        &flag,
        "--",
        "sh",
        "-c",
        "echo 12 >x",
    ];
    let outcome = outcome_of(&callgate(command).output().unwrap());
    assert_eq!(
        outcome["out"]["files"],
        json!([{"name": "x", "bytes": 3}]),
        "{outcome:#}"
    );
}

#[test]
fn without_openat2_nothing_runs_whose_files_could_not_be_brought_out_safely() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let (_, flag) = out(dir.path());
    for (errno, word) in [(libc::ENOSYS, "ENOSYS"), (libc::EPERM, "EPERM")] {
        let mut command = callgate(["exec", "--python", interpreter(), &flag, "-c", "print('ran')"]);
        refuse(
            &mut command,
            &Refusal {
                nr: libc::SYS_openat2,
                args: &[],
                errno,
            },
        );
        let output = expect(125, &mut command);
        assert!(output.stdout.is_empty(), "{}", said(&output));
        assert!(
            said(&output).contains(&format!("openat2: {word}")),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn what_the_code_closes_to_an_ordinary_caller_stays_inside_and_is_named() {
    for place in Place::all() {
        // The superuser reads it.
        if !matches!(place.tier(), "unprivileged" | "landlock") {
            continue;
        }
        let dir = scratch();
        std::os::unix::fs::chown(dir.path(), Some(place.owner()), Some(place.owner())).unwrap();
        let (at, flag) = out(dir.path());
        // At tier landlock modes can't be changed; a file may be made with any.
        let code = "import os\n\
                    for name, mode in ('open', 0o600), ('closed', 0): os.close(os.open(name, os.O_CREAT | os.O_WRONLY, mode))\n\
                    os.mkdir('directory', 0)";
        let told = place.outcome(&[&flag], code);
        assert_eq!(
            told["out"]["files"],
            json!([{"name": "open", "bytes": 0}]),
            "{told:#}"
        );
        let notes = notes(&told);
        for name in ["closed", "directory"] {
            assert!(
                notes.contains(&format!("not brought out: {name:?}: Permission denied")),
                "{notes:#?}"
            );
        }
        assert_eq!(tree(&at), ["open"]);
        // And it is no hindrance to the next.
        assert_eq!(place.outcome(&[], "")["exit_code"], 0);
    }
}
