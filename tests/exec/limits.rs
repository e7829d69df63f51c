//! What a run may use: the options, how the outcome tells which limit was hit, and what holds without a
//! cgroup.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::places::Place;
use super::{exec, feed, outcome, policy};
use crate::support::{CALLGATE, available, callgate, expect, root, said, scratch, tool, without_cgroups};

/// A run's status, exit code and the limit that it hit.
fn hit(outcome: &Value) -> Value {
    json!([outcome["status"], outcome["exit_code"], outcome["limit"]])
}

#[test]
fn the_limit_that_ended_a_run_is_named_with_its_value() {
    if !available("root", root()) {
        return;
    }
    let memory = outcome(&["--tier", "full", "--memory", "64M"], "x = b'x' * (200 << 20)\n");
    let limit = json!({"name": "memory", "value": 64 << 20, "unit": "bytes"});
    assert_eq!(hit(&memory), json!(["oom", 137, limit]), "{memory:#}");
    let peak = memory["usage"]["memory_peak_bytes"].as_u64().unwrap();
    assert!((60 << 20..=64 << 20).contains(&peak), "{peak}");

    let cpu = outcome(&["--tier", "full", "--cpu", "0.3"], "while True: pass\n");
    let limit = json!({"name": "cpu", "value": 300, "unit": "ms"});
    assert_eq!(hit(&cpu), json!(["cpu", 137, limit]), "{cpu:#}");
    let used = cpu["usage"]["cpu_ms"].as_u64().unwrap();
    assert!((290..900).contains(&used), "{used}");

    let time = outcome(&["--timeout", "0.5"], "import time\ntime.sleep(600)\n");
    let limit = json!({"name": "timeout", "value": 500, "unit": "ms"});
    assert_eq!(hit(&time), json!(["timeout", 124, limit]), "{time:#}");

    // Python ignores the signal; most programs end by it.
    let grows = "import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n\
                 with open('/tmp/file', 'wb') as file: file.write(b'x' * 20_000)\n";
    let file = outcome(&["--file-size", "10K"], grows);
    let limit = json!({"name": "file-size", "value": 10_240, "unit": "bytes"});
    assert_eq!(hit(&file), json!(["file_size", 153, limit]), "{file:#}");
    assert_eq!(file["signal"], "SIGXFSZ");
}

#[test]
fn a_limit_that_refuses_and_does_not_kill_is_named_when_the_code_fails_of_it() {
    let cases: [(&[&str], &str, &str); 3] = [
        (
            &["--file-size", "10K"],
            "open('/tmp/file', 'wb').write(b'x' * 20_000)\n",
            "--file-size 10K",
        ),
        (
            &["--files", "9"],
            "all = [open('/dev/null') for _ in range(20)]\n",
            "--files 9",
        ),
        (
            &["--tmp-size", "64K"],
            "open('/tmp/file', 'wb').write(b'x' * 200_000)\n",
            "--tmp-size 64K",
        ),
    ];
    for (flags, code, option) in cases {
        if option.starts_with("--tmp-size") && !available("root", root()) {
            continue;
        }
        let failed = outcome(flags, code);
        assert_eq!(hit(&failed), json!(["exited", 1, null]), "{failed:#}");
        let notes = failed["notes"].to_string();
        assert!(
            notes.contains("the code says") && notes.contains(option),
            "{notes}"
        );
        let report = exec(flags, code);
        assert!(
            String::from_utf8_lossy(&report.stderr).contains(option),
            "{}",
            said(&report)
        );
    }
}

#[test]
fn the_report_for_people_says_how_to_raise_the_limit() {
    if !available("root", root()) {
        return;
    }
    let cases: [(&[&str], &str, i32, &[&str]); 5] = [
        (
            &["--timeout", "0.5"],
            "import time\ntime.sleep(600)\n",
            124,
            &["killed at the time limit", "--timeout 0.5", "--timeout 1"],
        ),
        (
            &["--file-size", "10K"],
            "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n\
             open('/tmp/file', 'wb').write(b'x' * 20_000)\n",
            153,
            &["limit of a file's size", "--file-size 10K", "--file-size 20K"],
        ),
        (
            &["--memory", "64M"],
            "x = b'x' * (200 << 20)\n",
            137,
            &["out of memory", "--memory 64M", "--memory 128M"],
        ),
        (
            &["--cpu", "0.25"],
            "while True: pass\n",
            137,
            &["limit of CPU time", "--cpu 0.25", "--cpu 0.5"],
        ),
        (
            &["--output-limit", "4"],
            "print('hello')\n",
            0,
            &["cut:", "stdout", "--output-limit"],
        ),
    ];
    for (flags, code, exit, words) in cases {
        let output = exec(flags, code);
        assert_eq!(output.status.code(), Some(exit), "{}", said(&output));
        let stderr = String::from_utf8_lossy(&output.stderr);
        for word in words {
            assert!(stderr.contains(word), "{word}: {stderr}");
        }
    }
}

#[test]
fn what_a_limit_refuses_without_ending_the_run_is_noted() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let forks = "import os, time\n\
                 for _ in range(5):\n\
                 \x20   try:\n        if os.fork() == 0: time.sleep(600)\n    except OSError: print('refused')\n";
    let refused = outcome(&["--tier", "full", "--policy", &open, "--pids", "4"], forks);
    assert_eq!(refused["stdout"], "refused\n".repeat(2), "{refused:#}");
    assert_eq!(refused["usage"]["pids_peak"], 4, "{refused:#}");
    let notes = refused["notes"].to_string();
    assert!(notes.contains("2 times") && notes.contains("--pids"), "{notes}");

    let child = "import os\n\
                 if os.fork() == 0: block = b'x' * (200 << 20)\n\
                 print(os.wait()[1])\n";
    let flags = ["--tier", "full", "--policy", &open, "--memory", "64M"];
    let survived = outcome(&flags, child);
    assert_eq!(
        (&survived["status"], &survived["stdout"]),
        (&json!("exited"), &json!("9\n")),
        "{survived:#}"
    );
    assert_eq!(survived.get("limit"), None);
    assert!(
        survived["notes"].to_string().contains("1 of its processes"),
        "{survived:#}"
    );
}

#[test]
fn a_run_is_bounded_by_default_and_unbounded_memory_has_to_be_asked_for() {
    if !available("root", root()) {
        return;
    }
    let code = "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_FSIZE))\n\
                try: block = bytearray(1200 << 20)\nexcept MemoryError: print('refused')\nelse: print('held')\n";
    let bounded = outcome(&["--tier", "full"], code);
    assert_eq!(bounded["status"], "oom", "{bounded:#}");
    let unbounded = outcome(&["--tier", "full", "--memory", "none"], code);
    assert_eq!(
        unbounded["stdout"], "(1024, 1024) (1073741824, 1073741824)\nheld\n",
        "{unbounded:#}"
    );
}

#[test]
fn an_output_limit_cuts_each_stream_captured_or_not() {
    let code = "import sys\nsys.stdout.write('o' * 100_000)\nsys.stderr.write('e' * 50)\n";
    let captured = outcome(&["--output-limit", "1K"], code);
    assert_eq!(captured["stdout"], "o".repeat(1024));
    assert_eq!(captured["stderr"], "e".repeat(50));
    assert_eq!(captured["truncated"], json!(["stdout"]));
    let passed = exec(&["--output-limit", "1K"], code);
    assert_eq!(passed.stdout, "o".repeat(1024).as_bytes());
    assert!(
        passed.stderr.starts_with("e".repeat(50).as_bytes()),
        "{}",
        said(&passed)
    );
}

#[test]
fn a_pipe_that_is_held_outside_of_the_run_does_not_hold_it_up() {
    if !available("root", root()) {
        return;
    }
    let dir = scratch();
    let open = policy(dir.path(), &json!([]));
    let script = dir.path().join("gives.py");
    // The code sends its output away, to somebody who keeps it open.
    std::fs::write(
        &script,
        "import socket, sys\nprint('said', flush=True)\nsocket.send_fds(socket.socket(fileno=0), [b'x'], [1])\n",
    )
    .unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut child = callgate(["exec", "--json", "--timeout", "20", "--policy", &open])
        .arg(&script)
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Unread, the descriptor stays in flight for as long as our end of the socket is open.
    let mut json = String::new();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    while reader.read_line(&mut json).unwrap() > 0 {}
    assert!(child.wait().unwrap().success(), "{json}");
    let outcome: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&outcome["status"], &outcome["stdout"]),
        (&json!("exited"), &json!("said\n")),
        "{outcome:#}"
    );
    drop(ours);
}

/// `callgate exec ARGS` where no cgroup can be written to.
fn exec_without_cgroups(args: &[&str]) -> Command {
    let mut command = without_cgroups();
    command
        .args([CALLGATE, "exec", "--python", "/usr/bin/python3"])
        .args(args);
    command
}

#[test]
fn without_a_cgroup_tier_full_fails_and_auto_says_what_is_missing() {
    if !available("root", root().and_then(|()| tool("unshare"))) {
        return;
    }
    for flags in [&["--tier", "full"][..], &["--tier", "full", "--memory", "64M"]] {
        let args: Vec<&str> = flags.iter().chain(&["-c", "print('reached')"]).copied().collect();
        let output = expect(125, &mut exec_without_cgroups(&args));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.stdout.is_empty(), "{}", said(&output));
        for word in [
            "nothing ran: cgroup:",
            "/sys/fs/cgroup",
            "--tier auto",
            "Delegate=yes",
        ] {
            assert!(stderr.contains(word), "{word}: {stderr}");
        }
    }
    let output = expect(0, &mut exec_without_cgroups(&["-c", "print('reached')"]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    for word in [
        "tier full",
        "missing layer: cgroup:",
        "memory and CPU time per process",
        "without a cgroup",
    ] {
        assert!(stderr.contains(word), "{word}: {stderr}");
    }
    let json = expect(
        0,
        &mut exec_without_cgroups(&[
            "--json",
            "--memory",
            "96M",
            "-c",
            "try: b'x' * (200 << 20)\nexcept MemoryError: print('refused')",
        ]),
    );
    let outcome = super::outcome_of(&json);
    assert_eq!(
        (&outcome["tier"], &outcome["stdout"]),
        (&json!("full"), &json!("refused\n")),
        "{outcome:#}"
    );
    assert!(
        outcome["missing"][0].as_str().unwrap().starts_with("cgroup: "),
        "{outcome:#}"
    );
    assert_eq!(outcome["usage"]["memory_peak_bytes"], Value::Null);
    let doctor = without_cgroups()
        .args([CALLGATE, "doctor", "--json"])
        .output()
        .unwrap();
    let report = crate::support::json(&doctor);
    for name in ["cgroups", "tier full"] {
        let facilities = report["facilities"].as_array().unwrap();
        let facility = facilities
            .iter()
            .find(|facility| facility["name"] == name)
            .unwrap();
        assert_eq!(facility["present"], json!(false), "{facility}");
    }
}

#[test]
fn limits_hold_at_every_tier_and_say_how() {
    for place in Place::all() {
        let outcome = place.outcome(
            &["--memory", "64M", "--files", "20"],
            "import os\nprint(os.sysconf('SC_OPEN_MAX'))\n",
        );
        assert_eq!(outcome["stdout"], "20\n", "{outcome:#}");
        let per_process = outcome["layers"].to_string().contains("per process");
        assert_eq!(per_process, place.tier() != "full", "{outcome:#}");
        assert_eq!(
            per_process,
            outcome["notes"].to_string().contains("of each process"),
            "{outcome:#}"
        );
    }
}

#[test]
fn sizes_and_numbers_that_are_none_are_bad_input() {
    let cases: [(&str, &str, &str); 9] = [
        ("--memory", "lots", "256M"),
        ("--memory", "64", "at least 1M"),
        ("--memory", "1.5G", "`none`"),
        ("--tmp-size", "0", "more than 0"),
        ("--file-size", "1MB", "K, M or G"),
        ("--output-limit", "-1", "K, M or G"),
        ("--pids", "0", "1.."),
        ("--files", "2", "3.."),
        ("--cpu", "0", "more than 0 seconds"),
    ];
    for (flag, value, words) in cases {
        let output = expect(
            2,
            &mut callgate(["exec", &format!("{flag}={value}"), "-c", "print(1)"]),
        );
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains(flag) && stderr.contains(words),
            "{flag} {value}: {stderr}"
        );
    }
    let help = expect(0, &mut callgate(["exec", "--help"]));
    let help = String::from_utf8_lossy(&help.stdout);
    for word in [
        "--memory <SIZE>",
        "[default: 1G]",
        "[default: 512]",
        "[default: 256M]",
        "none",
        "137",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn code_comes_by_an_option_and_input_by_a_file() {
    let dir = scratch();
    let input = dir.path().join("input");
    std::fs::write(&input, "whisper").unwrap();
    let input = input.to_str().unwrap();
    let code = "import sys; print(sys.stdin.read().upper(), sys.argv)";
    let output = expect(
        0,
        &mut callgate(["exec", "-q", "--stdin", input, "-c", code, "--", "a"]),
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "WHISPER ['<code>', 'a']\n"
    );
    // Without the option the code's input is ours.
    let piped = feed(&mut callgate(["exec", "-q", "-c", code]), b"piped");
    assert_eq!(String::from_utf8_lossy(&piped.stdout), "PIPED ['<code>']\n");
    // With it, what comes by our input can be the code.
    let both = feed(
        &mut callgate(["exec", "-q", "--stdin", input, "-"]),
        code.as_bytes(),
    );
    assert_eq!(String::from_utf8_lossy(&both.stdout), "WHISPER ['<stdin>']\n");
    let command = expect(
        0,
        &mut callgate([
            "exec", "-q", "--stdin", input, "--policy", "python", "--", "/bin/cat",
        ]),
    );
    assert_eq!(String::from_utf8_lossy(&command.stdout), "whisper");
    for bad in ["/nonexistent", "/"] {
        let output = expect(2, &mut callgate(["exec", "--stdin", bad, "-c", ""]));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("--stdin /"),
            "{}",
            said(&output)
        );
    }
    expect(2, &mut callgate(["exec", "-c", "", "script.py"]));
}
