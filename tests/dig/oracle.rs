//! dig against `strace -f`: the same calls, on every probe in `probes/`, whether dig stops on every call
//! (`--counts`) or lets pass what it has seen.

mod strace;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use self::strace::Log;
use super::alike::{INJECTED, MOST_RUNS, alike};
use super::{count, dig};
use crate::support::{
    CALLGATE, available, callgate, expect, json, not_run, probe, probes, said, scratch, tool,
};

/// What "the same" means: two runs of one program need not make the same calls (threads meet or don't,
/// a lock is free or isn't), so dig is held against several runs.
const SAMENESS: &str = "sameness: what was in every strace run must be in dig's set, and what is in dig's set \
                        must be in one strace run at least (restart_syscall apart, which the kernel injects)";

/// A script comes to dig's interpreter by a descriptor, with a program of ours on the command line, and
/// to strace's by its path. CPython may ask for the working directory to find the path, and may move the
/// longer command line.
const BY_PATH: [&str; 1] = ["getcwd"];
const BY_DESCRIPTOR: [&str; 1] = ["mremap"];

/// The same environment for both.
fn plain(command: &mut Command) -> &mut Command {
    let home = std::env::var_os("HOME").unwrap_or_default();
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
}

/// Runs a command under `strace -f`, with the signals as dig's probes have them: none is ignored, as in a background job
/// SIGINT is, of which Python would make other calls.
fn strace(argv: &[&OsStr]) -> Log {
    let dir = scratch();
    let log = dir.path().join("log");
    let mut command = Command::new("env");
    command.args(["--default-signal", "strace", "-f", "-o"]);
    expect(0, plain(command.arg(&log).args(argv)));
    Log::parse(&String::from_utf8_lossy(&std::fs::read(&log).unwrap()))
}

fn names(trace: &Value) -> BTreeSet<String> {
    let calls = trace["syscalls"].as_array().unwrap();
    calls
        .iter()
        .map(|call| call["name"].as_str().unwrap().to_owned())
        .collect()
}

/// What dig lacks, and what dig has too much.
fn differences(dug: &BTreeSet<String>, runs: &[BTreeSet<String>]) -> (Vec<String>, Vec<String>) {
    let always = runs.iter().skip(1).fold(runs[0].clone(), |all, run| &all & run);
    let ever: BTreeSet<String> = runs.iter().flatten().cloned().collect();
    let list = |set: BTreeSet<String>| set.into_iter().filter(|name| name != INJECTED).collect();
    (list(&always - dug), list(dug - &ever))
}

/// Records a probe as a script and as a command, and holds both against strace.
fn same_as_strace(name: &str) {
    if !available("strace", tool("strace")) {
        return;
    }
    let probe = probe(name);
    let output = dig([&probe]).output().unwrap();
    if output.status.code() == Some(2) {
        not_run(
            "network",
            &format!("the environment of {name} can't be prepared: {}", said(&output)),
        );
        return;
    }
    // What a probe keeps for its next run, as matplotlib does its list of fonts, it has kept by now.
    let output = expect(0, &mut dig([&probe]));
    let script = json(&output);
    let python = script["python"]["executable"].as_str().unwrap().to_owned();
    let argv = [
        OsStr::new(&python),
        OsStr::new("-I"),
        OsStr::new("-B"),
        probe.as_os_str(),
    ];

    let fast = json(&expect(0, plain(dig(["--"]).args(argv))));
    let exact = json(&expect(0, plain(dig(["--counts", "--"]).args(argv))));
    assert_eq!(exact["counts"], "exact");
    alike(fast.clone(), exact.clone(), || {
        [&["--"][..], &["--counts", "--"]].map(|how| json(&expect(0, plain(dig(how).args(argv)))))
    });
    let command = names(&fast);
    let counted = names(&exact);
    // The script had another environment and its own way in: only these may be missing or too much.
    let mut as_script = names(&script);
    as_script.extend(
        BY_PATH
            .iter()
            .filter(|name| command.contains(**name))
            .map(ToString::to_string),
    );
    as_script.retain(|name| !BY_DESCRIPTOR.contains(&name.as_str()) || command.contains(name));

    let mut runs = vec![strace(&argv).names(), strace(&argv).names()];
    loop {
        let found = [
            differences(&command, &runs),
            differences(&counted, &runs),
            differences(&as_script, &runs),
        ];
        if found
            .iter()
            .all(|(lacks, extra)| lacks.is_empty() && extra.is_empty())
        {
            assert!(runs[0].len() > 20, "that is too few to mean anything: {runs:?}");
            return;
        }
        let told = format!(
            "{SAMENESS}\n{name} after {} runs of strace: dig lacks, dig has too much\n  as a command: {:?}\n  with --counts: {:?}\n  as a script: {:?}",
            runs.len(),
            found[0],
            found[1],
            found[2]
        );
        assert!(runs.len() < MOST_RUNS, "{told}");
        runs.push(strace(&argv).names());
    }
}

/// One test for each probe, and one that no probe is forgotten.
macro_rules! same_as_strace {
    ($($test:ident),+) => {
        $(#[test]
        fn $test() {
            same_as_strace(concat!(stringify!($test), ".py"));
        })+

        #[test]
        fn every_probe_is_held_against_strace() {
            let here = [$(stringify!($test)),+];
            for path in probes() {
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!(here.contains(&name), "{name} is not in the list");
            }
        }
    };
}

same_as_strace!(
    stdlib,
    with_jinja2,
    with_matplotlib,
    with_numpy,
    with_pandas,
    with_pillow,
    with_requests,
    with_threads
);

/// Under `setarch -R` (no address randomisation, inherited by both) a program with one thread makes the
/// same calls every time: then counts and errors must be equal too.
fn counts_as_strace(argv: &[&str]) {
    if !available("strace", tool("strace")) {
        return;
    }
    let argv: Vec<&OsStr> = argv.iter().map(OsStr::new).collect();
    let fixed: Vec<&OsStr> = ["setarch", "-R"]
        .iter()
        .map(OsStr::new)
        .chain(argv.iter().copied())
        .collect();
    let log = strace(&fixed).without_first_program();
    let mut command = Command::new("setarch");
    command
        .args(["-R", CALLGATE, "dig", "--json", "--counts", "--"])
        .args(&argv);
    let trace = json(&expect(0, plain(&mut command)));
    let calls = trace["syscalls"].as_array().unwrap();
    let dug: BTreeMap<String, u64> = calls
        .iter()
        .map(|call| {
            (
                call["name"].as_str().unwrap().into(),
                call["count"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        dug, log.counts,
        "dig (left) counts otherwise than strace (right): {argv:?}"
    );
    let errors: BTreeMap<String, BTreeMap<String, u64>> = calls
        .iter()
        .filter_map(|call| {
            let errors = call.get("errors")?.as_object()?;
            let errors = errors
                .iter()
                .map(|(errno, times)| (errno.clone(), times.as_u64().unwrap()));
            Some((call["name"].as_str().unwrap().to_owned(), errors.collect()))
        })
        .collect();
    assert_eq!(
        errors, log.errors,
        "dig (left) sees other errors than strace (right): {argv:?}"
    );
    assert_eq!(trace["counts"], "exact");
}

#[test]
fn counts_and_errors_of_a_tiny_program_are_those_of_strace() {
    counts_as_strace(&["/bin/true"]);
}

#[test]
fn counts_and_errors_of_ls_are_those_of_strace() {
    counts_as_strace(&["/bin/ls", "/usr"]);
}

#[test]
fn counts_and_errors_of_python_are_those_of_strace() {
    let python = callgate_python();
    counts_as_strace(&[&python, "-I", "-B", "-c", "print(1)"]);
}

/// The interpreter that callgate takes by default, by its path.
fn callgate_python() -> String {
    let dir = scratch();
    let script = dir.path().join("empty.py");
    std::fs::write(&script, "").unwrap();
    let trace = json(&expect(0, callgate(["dig", "--json"]).arg(Path::new(&script))));
    assert!(count(&trace, "execve") == 1, "{trace:#}");
    trace["python"]["executable"].as_str().unwrap().to_owned()
}
