//! `dig import`: strace is the oracle, samples stand for the other tools.

use super::*;

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
        // In the same directory as dig: a shell asks for it only where PWD says something else.
        let mut strace = Command::new("strace");
        strace.current_dir(std::env::temp_dir());
        expect(0, strace.args(["-f", "-o"]).arg(&log).args(command));
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
    assert!(returning.values().any(|(_, errors)| *errors > 0), "some fail");
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
