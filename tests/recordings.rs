//! Recordings that are there already: shown again, united, and imported from other tools.
//! Samples of other tools' recordings are in `tests/recordings/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{available, callgate, expect, json, names, repository, said, scratch, tool};

fn sample(name: &str) -> PathBuf {
    repository().join("tests/recordings").join(name)
}

/// Records `/bin/ls /` or a script into a file.
fn recorded(dir: &Path, name: &str, args: &[&str]) -> PathBuf {
    let file = dir.join(name);
    expect(0, callgate(["dig", "-o"]).arg(&file).args(args).current_dir(dir));
    file
}

/// `callgate dig import --json` for amd64, which the samples are of.
fn imported(args: &[&Path]) -> Value {
    json(&expect(
        0,
        callgate(["dig", "import", "--arch", "amd64", "--json"]).args(args),
    ))
}

/// What standard error says of input that is refused.
fn refused(command: &mut Command) -> String {
    let output = expect(2, command);
    assert!(output.stdout.is_empty(), "{}", said(&output));
    String::from_utf8(output.stderr).unwrap()
}

fn set(trace: &Value) -> BTreeSet<String> {
    names(&trace["syscalls"]).into_iter().collect()
}

/// Name → how often it was made, and how often it failed with whatever error.
fn counts(trace: &Value) -> BTreeMap<String, (u64, u64)> {
    let calls = trace["syscalls"].as_array().unwrap().iter();
    calls
        .map(|call| {
            let errors = call["errors"].as_object();
            let failed = errors.map_or(0, |errors| errors.values().map(|n| n.as_u64().unwrap()).sum());
            let made = call["count"].as_u64().unwrap();
            (call["name"].as_str().unwrap().to_owned(), (made, failed))
        })
        .collect()
}

#[test]
fn show_prints_what_dig_printed_as_table_and_as_json() {
    let dir = scratch();
    let file = dir.path().join("t.json");
    let dug = expect(0, callgate(["dig", "-o"]).arg(&file).args(["--", "/bin/ls", "/"]));
    let shown = expect(0, callgate(["dig", "show"]).arg(&file));
    assert_eq!(shown.stdout, dug.stdout);
    let shown = expect(0, callgate(["dig", "show", "--json"]).arg(&file));
    assert_eq!(shown.stdout, fs::read(&file).unwrap());
}

#[test]
fn since_main_leaves_the_interpreters_start_out_and_says_so() {
    let dir = scratch();
    fs::write(dir.path().join("p.py"), "import os\nos.getppid()\n").unwrap();
    let file = recorded(dir.path(), "t.json", &["p.py"]);
    let whole = json(&expect(0, callgate(["dig", "show", "--json"]).arg(&file)));
    let body = json(&expect(
        0,
        callgate(["dig", "show", "--json", "--since-main"]).arg(&file),
    ));
    assert!(set(&whole).contains("execve") && !set(&body).contains("execve"));
    assert!(set(&body).contains("getppid"));
    let wanted: BTreeSet<String> = whole["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|call| call["phases"].as_array().unwrap().contains(&"body".into()))
        .map(|call| call["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(set(&body), wanted);
    assert!(body["notes"].to_string().contains("body phase"), "{body}");
}

#[test]
fn scripts_that_are_called_like_a_subcommand_can_be_traced() {
    let dir = scratch();
    for name in ["show", "merge", "import"] {
        fs::write(dir.path().join(name), "import os\nos.getppid()\n").unwrap();
        let path = format!("./{name}");
        let trace = json(&expect(
            0,
            callgate(["dig", "--json", &path]).current_dir(dir.path()),
        ));
        assert!(set(&trace).contains("getppid"));
    }
    let help = expect(0, &mut callgate(["dig", "--help"]));
    assert!(String::from_utf8_lossy(&help.stdout).contains("./show"));
    let told = refused(&mut callgate(["dig", "--json", "show", "t.json"]));
    assert!(told.contains("unexpected argument 't.json'"), "{told}");
}

#[test]
fn the_table_is_grouped_by_purpose_with_risks_and_fits_80_columns() {
    let dir = scratch();
    let script = "import ctypes, os\nlibc = ctypes.CDLL(None)\nlibc.ptrace(0x4200, 0, 0, 0)\nlibc.syscall(999)\n\
                  os.path.exists('flag') or open('flag', 'w').close() or os.getppid()\n";
    fs::write(
        dir.path().join("a-probe-with-a-rather-long-name-for-a-table.py"),
        script,
    )
    .unwrap();
    let output = expect(
        0,
        callgate([
            "dig",
            "--runs",
            "2",
            "a-probe-with-a-rather-long-name-for-a-table.py",
        ])
        .current_dir(dir.path())
        .env("COLUMNS", "80"),
    );
    let table = String::from_utf8(output.stdout).unwrap();
    for line in table.lines() {
        assert!(line.chars().count() <= 80, "{}: {line}", line.chars().count());
    }
    let at = |words: &str| {
        table
            .find(words)
            .unwrap_or_else(|| panic!("no {words:?} in\n{table}"))
    };
    let heads = [
        "\n files ",
        "\n memory ",
        "\n process ",
        "\n signals ",
        "\n inspection ",
        "\n other ",
    ];
    assert!(heads.map(at).is_sorted(), "{table}");
    assert!(at("\n files ") < at("   openat ") && at("   openat ") < at("\n memory "));
    assert!(at("   syscall_999 ") > at("\n other "));
    let risks = &table[at("risky to allow")..];
    let ptrace = risks
        .lines()
        .find(|line| line.trim_start().starts_with("ptrace "))
        .unwrap();
    assert!(
        ptrace.contains("error") && ptrace.contains("other processes"),
        "{ptrace}"
    );
    let seldom = &table[at("not in every run")..at("risky to allow")];
    assert!(
        seldom.contains("getppid") && seldom.contains("1 of 2 runs"),
        "{seldom}"
    );
}

#[test]
fn several_runs_are_united_and_what_was_not_in_every_run_is_told() {
    let dir = scratch();
    let script = "import os\nif not os.path.exists('flag'):\n    open('flag', 'w').close()\n    os.getppid()\nos.getuid()\n";
    fs::write(dir.path().join("p.py"), script).unwrap();
    let output = expect(
        0,
        callgate(["dig", "--json", "--runs", "3", "p.py"]).current_dir(dir.path()),
    );
    let trace = json(&output);
    assert_eq!(trace["runs"], 3);
    let calls = trace["syscalls"].as_array().unwrap();
    let find = |name: &str| calls.iter().find(|call| call["name"] == name).unwrap();
    // Left out where it is 1.
    assert_eq!(find("getppid")["seen_in"], Value::Null);
    assert_eq!(find("getuid")["seen_in"], 3);
    assert_eq!(find("execve")["count"], 3, "fresh processes");
    assert!(String::from_utf8_lossy(&output.stderr).contains("run 3 of 3"));
}

#[test]
fn a_run_that_fails_makes_the_whole_a_failure_and_the_trace_says_so() {
    let dir = scratch();
    fs::write(
        dir.path().join("p.py"),
        "import os, sys\nif os.path.exists('flag'): sys.exit(3)\nopen('flag', 'w')\n",
    )
    .unwrap();
    let output = expect(
        1,
        callgate(["dig", "--json", "--runs", "3", "p.py"]).current_dir(dir.path()),
    );
    let trace = json(&output);
    assert_eq!(
        (&trace["runs"], &trace["outcome"]["exit_code"]),
        (&3.into(), &3.into())
    );
}

#[test]
fn an_interrupt_ends_the_runs_and_what_was_seen_until_then_is_written() {
    let dir = scratch();
    let script = "import os, sys, time\nif os.path.exists('flag'):\n    print('second', file=sys.stderr, flush=True)\n    \
                  time.sleep(60)\nopen('flag', 'w')\n";
    fs::write(dir.path().join("p.py"), script).unwrap();
    let mut child = callgate(["dig", "--runs", "3", "-o", "t.json", "p.py"])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "second"));
    expect(
        0,
        Command::new("sh").args(["-c", "kill -INT $1", "sh", &child.id().to_string()]),
    );
    let rest: Vec<String> = lines.map(|line| line.unwrap()).collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    let trace: Value = serde_json::from_slice(&fs::read(dir.path().join("t.json")).unwrap()).unwrap();
    assert_eq!(
        (&trace["runs"], &trace["outcome"]["status"]),
        (&2.into(), &"interrupted".into())
    );
    assert!(
        trace["notes"].to_string().contains("run 2 of 3"),
        "{}",
        trace["notes"]
    );
}

#[test]
fn merged_traces_are_a_trace_that_policies_are_made_of() {
    let dir = scratch();
    let ls = recorded(dir.path(), "ls.json", &["--", "/bin/ls", "/"]);
    let echo = recorded(dir.path(), "echo.json", &["--", "/bin/echo", "hello"]);
    let merged = dir.path().join("merged.json");
    expect(
        0,
        callgate(["dig", "merge", "-o"])
            .arg(&merged)
            .args([&ls, &echo, &ls]),
    );
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let (one, two, all) = (read(&ls), read(&echo), read(&merged));
    assert_eq!(all["runs"], 3);
    assert_eq!(set(&all), &set(&one) | &set(&two));
    let sum = 2 * counts(&one)["close"].0 + counts(&two)["close"].0;
    assert_eq!(counts(&all)["close"].0, sum);
    assert!(all["notes"].to_string().contains("/bin/echo"), "{}", all["notes"]);

    // Merging goes on, and what only `ls` does is not in every run.
    let again = json(&expect(
        0,
        callgate(["dig", "merge", "--json"]).args([&merged, &echo]),
    ));
    assert_eq!(again["runs"], 4);
    let shown = expect(0, callgate(["dig", "merge"]).args([&merged, &echo]));
    let shown = String::from_utf8(shown.stdout).unwrap();
    let seldom = &shown[shown.find("not in every run").unwrap()..];
    assert!(
        seldom.contains("getdents64") && seldom.contains("2 of 4 runs"),
        "{shown}"
    );

    let policy = |traces: &[&PathBuf]| json(&expect(0, callgate(["policy", "new"]).args(traces)));
    let names = |policy: &Value| -> BTreeSet<String> {
        let rules = policy["syscalls"].as_array().unwrap().iter();
        let allowed = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
        allowed
            .flat_map(|rule| rule["names"].as_array().unwrap())
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&policy(&[&merged])), names(&policy(&[&ls, &echo])));
}

#[test]
fn traces_of_different_architectures_are_not_merged() {
    let dir = scratch();
    let ls = recorded(dir.path(), "ls.json", &["--", "/bin/ls", "/"]);
    let other = dir.path().join("other.json");
    let trace: Value = serde_json::from_slice(&fs::read(&ls).unwrap()).unwrap();
    let arch = if trace["arch"] == "amd64" {
        "arm64"
    } else {
        "amd64"
    };
    fs::write(dir.path().join("names"), "read\n").unwrap();
    expect(
        0,
        callgate(["dig", "import", "--arch", arch, "-o"])
            .arg(&other)
            .arg(dir.path().join("names")),
    );
    let told = refused(callgate(["dig", "merge"]).args([&ls, &other]));
    assert!(told.contains("trace 2") && told.contains(arch), "{told}");
}

#[test]
fn an_imported_strace_log_has_the_calls_that_dig_sees() {
    if !available("strace", tool("strace")) {
        return;
    }
    let dir = scratch();
    let log = dir.path().join("log");
    let command = [
        "/bin/sh",
        "-c",
        "ls /nothing-here; (true | cat; kill -USR1 $$) & trap : USR1; wait; ls /",
    ];
    let mut told = String::new();
    // Whether processes meet in a wait is chance, so equal sets may take some runs.
    for _ in 0..6 {
        expect(
            0,
            Command::new("strace").args(["-f", "-o"]).arg(&log).args(command),
        );
        let trace = json(&expect(0, callgate(["dig", "import", "--json"]).arg(&log)));
        let dug = json(&expect(0, callgate(["dig", "--json", "--"]).args(command)));
        assert_eq!(
            (&trace["counts"], &trace["outcome"]),
            (&"exact".into(), &dug["outcome"])
        );
        let (theirs, ours) = (set(&trace), set(&dug));
        assert!(theirs.len() > 20, "{theirs:?}");
        if theirs == ours {
            return;
        }
        told = format!(
            "only strace: {:?}, only dig: {:?}",
            &theirs - &ours,
            &ours - &theirs
        );
    }
    panic!("{told}");
}

#[test]
fn a_log_and_the_table_of_the_same_run_count_the_same() {
    if !available("strace", tool("strace")) {
        return;
    }
    let dir = scratch();
    let both = dir.path().join("both");
    let command = ["sh", "-c", "ls /nothing-here 2>/dev/null | cat; ls / >/dev/null"];
    expect(
        0,
        Command::new("strace")
            .args(["-f", "-C", "-o"])
            .arg(&both)
            .args(command),
    );
    let text = fs::read_to_string(&both).unwrap();
    let (log, table) = text.split_at(text.find("% time").unwrap());
    let (log_file, table_file) = (dir.path().join("log"), dir.path().join("table"));
    fs::write(&log_file, log).unwrap();
    fs::write(&table_file, table).unwrap();
    let import = |file: &Path| json(&expect(0, callgate(["dig", "import", "--json"]).arg(file)));
    let (from_log, from_table) = (import(&log_file), import(&table_file));
    let mut returning = counts(&from_log);
    assert!(returning["openat"].1 > 0, "some fail");
    returning.remove("exit_group").unwrap();
    assert_eq!(returning, counts(&from_table));
    assert!(
        from_table["notes"].to_string().contains("exit_group"),
        "the table lacks it, and that is said"
    );
    // The two together are the log, with a note.
    let whole = import(&both);
    assert_eq!(counts(&whole), counts(&from_log));
    assert!(whole["notes"].to_string().contains("table"));
}

#[test]
fn the_files_of_strace_ff_are_one_recording() {
    if !available("strace", tool("strace")) {
        return;
    }
    let dir = scratch();
    let command = [
        "sh",
        "-c",
        "ls / >/dev/null; ls /nothing-here 2>/dev/null; exit 4",
    ];
    expect(
        4,
        Command::new("strace")
            .args(["-ff", "-o"])
            .arg(dir.path().join("log"))
            .args(command),
    );
    let mut files: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    let trace = json(&expect(0, callgate(["dig", "import", "--json"]).args(&files)));
    assert_eq!(trace["runs"], Value::Null, "one run");
    assert_eq!(
        trace["command"],
        serde_json::json!(["sh", "-c", "ls / >/dev/null; ls /nothing-her…",])
    );
    assert_eq!(counts(&trace)["execve"].0, 3);
}

#[test]
fn samples_of_every_format_are_recognised_and_become_traces_that_can_be_compared() {
    let dir = scratch();
    let names_file = dir.path().join("names.txt");
    fs::write(&names_file, "# by hand\nopenat\nsyscall_999\n").unwrap();
    for (file, format, present, command) in [
        (sample("strace-f.log"), "strace", "pipe2", "sh"),
        (sample("strace-c.txt"), "strace-c", "wait4", ""),
        (sample("numbers.txt"), "numbers", "syscall_999", ""),
        (sample("audit.log"), "audit", "clone3", "/usr/bin/probe"),
        (names_file, "names", "syscall_999", ""),
    ] {
        let trace = imported(&[&file]);
        assert!(set(&trace).contains(present), "{format}: {trace}");
        assert!(
            trace["notes"][0]
                .as_str()
                .unwrap()
                .ends_with(&format!("({format})")),
            "{trace}"
        );
        assert_eq!(trace["command"][0].as_str().unwrap_or_default(), command);
        let asked = ["--format", format].map(Path::new);
        assert_eq!(imported(&[asked[0], asked[1], &file]), trace, "{format}");

        let out = dir.path().join("t.json");
        fs::write(&out, trace.to_string()).unwrap();
        let diff = callgate(["policy", "diff", "--json"]).arg(&out).output().unwrap();
        assert!(
            [Some(0), Some(1)].contains(&diff.status.code()),
            "{}",
            said(&diff)
        );
    }
    let audit = imported(&[&sample("audit.log")]);
    let abis: Vec<&str> = audit["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["abi"].as_str().unwrap())
        .collect();
    assert_eq!(abis, ["x86_64", "x86_64", "i386", "x32"]);
}

#[test]
fn what_can_not_be_read_is_named_with_file_line_and_mend() {
    let dir = scratch();
    let file = dir.path().join("recording");
    for (format, text, words) in [
        (
            "auto",
            "read\nopennat\n",
            &["line 2", "did you mean \"openat\""][..],
        ),
        (
            "auto",
            "5 read(0, \"\", 1) = 0\nhello\n",
            &["line 2", "hello", "strace -f -o FILE"],
        ),
        (
            "numbers",
            "1 2\n\nthree\n",
            &["line 3", "three", "--format names"],
        ),
        ("auto", "Hello, world!\n", &["--format"]),
        (
            "audit",
            "type=1326 arch=feedbeef syscall=1\n",
            &["line 1", "feedbeef", "c000003e"],
        ),
        ("auto", "", &["no system call", "strace -f"]),
    ] {
        fs::write(&file, text).unwrap();
        let told = refused(callgate(["dig", "import", "--arch", "amd64", "--format", format]).arg(&file));
        assert!(told.contains(file.to_str().unwrap()), "{told}");
        for word in words {
            assert!(told.contains(word), "{text:?} should tell {word:?}: {told}");
        }
    }
    for (args, word) in [
        (&["dig", "show", "/nothing/here"][..], "/nothing/here"),
        (&["dig", "merge"], "TRACE"),
        (&["dig", "import"], "FILE"),
        (&["dig", "import", "--format", "pcap", "x"], "strace-c"),
        (&["dig", "--runs", "0", "x.py"], "--runs"),
    ] {
        let told = refused(&mut callgate(args));
        assert!(told.contains(word), "{args:?} should tell {word:?}: {told}");
    }
}
