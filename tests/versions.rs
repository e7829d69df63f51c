//! The newer CPythons: those that tell their own layout (from 3.13 on), and one whose layout is not known.
//!
//! Each is a real one on the PATH; `.ci/pythons` makes them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::exec::outcome;
use crate::serve::server::Setup;
use crate::support::{available, callgate, expect, json as parsed, said, scratch};

/// The ones that are here, by minor version.
fn newer() -> Vec<(u32, String)> {
    let found = |minor| {
        let python = callgate_testing::python(minor);
        available(&format!("python3.{minor}"), python.clone().map(drop)).then(|| python.unwrap())
    };
    (13..=15)
        .filter_map(|minor| Some((minor, found(minor)?.to_str()?.to_owned())))
        .collect()
}

/// One call from each kind of frame.
const FRAMES: &str = "\
import asyncio, os, threading

def generator():
    yield os.getsid(0)

def thread():
    os.getpgid(0)

class Held:
    @property
    def held(self):
        return [os.getpriority(os.PRIO_PROCESS, 0) for _ in range(1)]

async def task():
    await asyncio.sleep(0)
    os.sched_getscheduler(0)

async def tasks():
    async with asyncio.TaskGroup() as group:
        group.create_task(task())

list(generator())
other = threading.Thread(target=thread)
other.start()
other.join()
Held().held
asyncio.run(tasks())
";

const FRAMES_SITES: [(&str, u64, &str); 4] = [
    ("getsid", 4, "generator"),
    ("getpgid", 7, "thread"),
    ("getpriority", 12, "held"),
    ("sched_getscheduler", 16, "task"),
];

/// The first sight of a call.
fn sight(trace: &Value, call: &str) -> Value {
    let calls = trace["syscalls"].as_array().unwrap();
    let found = calls.iter().find(|entry| entry["name"] == call);
    found.unwrap_or_else(|| panic!("{call}"))["sights"][0].clone()
}

fn name_of(path: &Value) -> &str {
    path.as_str().unwrap_or_default().rsplit('/').next().unwrap()
}

/// `callgate dig --json` with this script, run by the prelude and by itself.
fn recordings(python: &Path, script: &Path) -> [Value; 2] {
    let by_prelude = [OsStr::new("--python"), python.as_os_str(), script.as_os_str()];
    let itself = [
        "--".as_ref(),
        python.as_os_str(),
        "-I".as_ref(),
        script.as_os_str(),
    ];
    [&by_prelude[..], &itself[..]].map(|words| {
        let mut dig = callgate(["dig", "--json", "--stacks"]);
        parsed(&expect(0, dig.args(words)))
    })
}

#[test]
fn a_recording_names_the_lines_of_newer_pythons() {
    let dir = scratch();
    let script = dir.path().join("frames.py");
    std::fs::write(&script, FRAMES).unwrap();
    for (minor, python) in newer() {
        for trace in recordings(python.as_ref(), &script) {
            for (call, line, function) in FRAMES_SITES {
                let sight = sight(&trace, call);
                let site = &sight["site"];
                let place = (name_of(&site["file"]), &site["line"], &site["function"]);
                assert_eq!(
                    place,
                    ("frames.py", &json!(line), &json!(function)),
                    "3.{minor}: {sight:#}"
                );
                assert_eq!(sight["stack"][0], *site, "3.{minor}");
            }
            let sight = sight(&trace, "getpriority");
            let stack = sight["stack"].as_array().unwrap();
            let lines: Vec<_> = stack.iter().map(|frame| frame["line"].as_u64()).collect();
            assert_eq!(lines[..2], [Some(12), Some(26)], "3.{minor}: {sight:#}");
            assert!(trace.get("notes").is_none(), "3.{minor}: {}", trace["notes"]);
        }
    }
}

/// Two threads end, then a third makes a call that no policy of ours allows.
const REFUSED: &str = "\
import os, threading

def refused():
    os.sched_rr_get_interval(0)

class Made:
    def run(self):
        refused()

for made in (print, print, Made().run):
    thread = threading.Thread(target=made)
    thread.start()
    thread.join()
";

#[test]
fn a_refusal_names_the_line_of_newer_pythons() {
    for (minor, python) in newer() {
        let ran = outcome(
            &["--python", &python],
            "import asyncio\nasync def a(): return 3\nprint(asyncio.run(a()))\n",
        );
        assert_eq!(
            (&ran["stdout"], &ran["exit_code"]),
            (&json!("3\n"), &json!(0)),
            "3.{minor}: {ran:#}"
        );
        let refused = outcome(&["--python", &python], REFUSED);
        let violation = &refused["violation"];
        assert_eq!(
            violation["syscall"], "sched_rr_get_interval",
            "3.{minor}: {refused:#}"
        );
        assert_eq!(violation["site"]["line"], 4, "3.{minor}: {violation:#}");
        assert_eq!(violation["site"]["function"], "refused");
        assert!(violation.get("no_lines").is_none(), "{violation:#}");
    }
}

#[test]
fn forks_of_newer_pythons_run_programs() {
    for (minor, python) in newer() {
        let server = Setup::new(&["--python", &python]).ready();
        let version = server.run("import sys, threading\nt = threading.Thread(target=print, args=(sys.version_info[1],))\nt.start()\nt.join()");
        assert_eq!(
            (&version["stdout"], &version["error"]),
            (&json!(format!("{minor}\n")), &json!(""))
        );
        let raised = server.run("def f():\n    return 1 / 0\n\nf()\n");
        let traceback = raised["stderr"].as_str().unwrap();
        assert!(
            traceback.contains("File \"<code>\", line 2, in f\n    return 1 / 0\n"),
            "3.{minor}: {traceback}"
        );
        assert_eq!(traceback.matches("File ").count(), 2, "3.{minor}: {traceback}");
        let refused = server.run("import os\n\nos.sched_rr_get_interval(0)\n");
        assert_eq!(refused["violation"]["site"]["line"], 3, "3.{minor}: {refused:#}");
    }
}

/// A copy of an interpreter that says it has no global lock: its layout would be another one.
fn free_threaded(dir: &Path, python: &str) -> PathBuf {
    expect(
        0,
        Command::new(python)
            .args(["-m", "venv", "--without-pip", "--copies"])
            .arg(dir),
    );
    let copy = dir.join("bin/python");
    let mut bytes = std::fs::read(&copy).unwrap();
    // The table: what it begins with, the version, and the word that says it.
    let cookie = bytes.windows(8).enumerate();
    let tables: Vec<usize> = cookie
        .filter(|(at, word)| word == b"xdebugpy" && bytes.get(at + 11) == Some(&3))
        .map(|(at, _)| at + 16)
        .collect();
    let [word] = tables[..] else {
        panic!("{python} has {} tables of offsets", tables.len())
    };
    bytes[word] = 1;
    std::fs::remove_file(&copy).unwrap();
    std::fs::write(&copy, bytes).unwrap();
    expect(0, Command::new("chmod").arg("755").arg(&copy));
    copy
}

#[test]
fn where_the_layout_is_not_known_native_code_stands_alone_and_the_reason_is_told_once() {
    let dir = scratch();
    let script = dir.path().join("p.py");
    std::fs::write(
        &script,
        format!("{FRAMES}\nif not os.fork():\n    os._exit(0)\nos.wait()\n"),
    )
    .unwrap();
    for (minor, python) in newer() {
        let python = free_threaded(&dir.path().join(format!("venv{minor}")), &python);
        for trace in recordings(&python, &script) {
            for (call, ..) in FRAMES_SITES {
                let sight = sight(&trace, call);
                assert!(
                    sight.get("site").is_none() && sight.get("stack").is_none(),
                    "{sight:#}"
                );
                let native = sight["native"].as_array().unwrap();
                assert!(
                    native.iter().any(|object| object["file"] == json!(python)),
                    "{sight:#}"
                );
            }
            let notes = trace["notes"].as_array().unwrap();
            assert_eq!(notes.len(), 1, "3.{minor}: {notes:#?}");
            let note = notes[0].as_str().unwrap();
            assert!(
                note.starts_with("no Python lines: ") && note.contains("(free-threaded) is not known"),
                "{note}"
            );
        }
        let flags = ["--python", python.to_str().unwrap()];
        let refused = outcome(&flags, REFUSED);
        let violation = &refused["violation"];
        assert_eq!(
            (&violation["syscall"], &violation["site"]),
            (&json!("sched_rr_get_interval"), &Value::Null)
        );
        let why = violation["no_lines"].as_str().unwrap();
        assert!(why.contains("(free-threaded) is not known"), "{why}");
        let shown = crate::exec::exec(&flags, REFUSED);
        assert!(
            said(&shown).contains("no line can be told: no Python state found in process"),
            "{}",
            said(&shown)
        );
    }
}
