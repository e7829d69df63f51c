//! Code that takes all that it can get.

use serde_json::{Value, json};

use super::remains::{Watched, Where, everywhere};

/// What processes are made with, which the policy `python` refuses with an errno.
const FORKS: (&str, &str) = ("ALLOWED_SYSCALLS", "clone,fork,vfork,wait4,setsid,kill");

fn ended_by(data: &Value, limits: &[&str]) {
    let limit = data["limit"]["name"].as_str().unwrap_or_default();
    assert!(
        limits.contains(&limit) && data["exit_code"] == -1,
        "{}",
        brief(data)
    );
}

/// An answer without its output.
fn brief(data: &Value) -> String {
    let mut data = data.clone();
    for stream in ["stdout", "stderr", "error"] {
        let text = data[stream].as_str().unwrap_or_default();
        let start: String = text.chars().take(300).collect();
        data[stream] = json!(format!("{start}… ({} bytes)", text.len()));
    }
    format!("{data:#}")
}

#[test]
fn endless_output_is_cut_and_the_servers_memory_stays_what_it_was() {
    for place in everywhere() {
        let watched = Watched::start(place, &["--output-limit", "1M"], &[]);
        let before = watched.memory();
        for (code, cut) in [
            ("while True: print('x' * 1000)", json!(["stdout"])),
            (
                "import os\nwhile True: os.write(1, b'x' * 65536); os.write(2, b'y' * 65536)",
                json!(["stdout", "stderr"]),
            ),
            // Bytes that are no UTF-8, and become longer in JSON.
            (
                "import os\nwhile True: os.write(1, b'\\xff\\0' * 32768)",
                json!(["stdout"]),
            ),
        ] {
            for _ in 0..2 {
                let data = watched.run(code);
                ended_by(&data, &["timeout"]);
                assert_eq!(data["truncated"], cut, "{}", brief(&data));
                assert!(
                    data["stdout"].as_str().unwrap().len() >= 1 << 20,
                    "{}",
                    brief(&data)
                );
            }
        }
        watched.holds("endless output");
        let grown = watched.memory().saturating_sub(before);
        assert!(grown < 64 << 20, "{place:?}: the server grew by {grown} bytes");
    }
}

#[test]
fn eight_gigabytes_are_not_had_by_one_process_or_by_many() {
    for place in everywhere() {
        let watched = Watched::start(place, &["--memory", "192M"], &[FORKS, ("WORKER_TIMEOUT", "10")]);
        let one = watched.run("block = bytearray(8 << 30)\nprint(len(block))");
        assert_ne!(one["exit_code"], 0, "{}", brief(&one));
        assert_eq!(one["stdout"], "", "{}", brief(&one));
        watched.holds("8 GiB in one process");
        // 128 processes of 64 MiB each: 8 GiB.
        let many = watched.run(
            "import os, time\nfor _ in range(7): os.fork()\nblock = bytearray(b'x') * (64 << 20)\ntime.sleep(30)",
        );
        assert_ne!(many["exit_code"], 0, "{}", brief(&many));
        if place == Where::Host {
            let peak = many["usage"]["memory_peak_bytes"].as_u64().unwrap();
            assert!(peak <= 200 << 20, "{}", brief(&many));
        }
        watched.holds("8 GiB in many processes");
    }
}

#[test]
fn bombs_of_processes_and_of_threads_end_with_the_run() {
    for place in everywhere() {
        let watched = Watched::start(place, &["--pids", "64"], &[FORKS]);
        let fork = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass";
        let away = "import os, time\nfor _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0: time.sleep(600)\n\
                    \x20       os._exit(0)\nos._exit(0)";
        let thread = "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(600,)).start()\n\
                      \x20   except RuntimeError: pass";
        ended_by(&watched.run(fork), &["timeout", "cpu"]);
        watched.holds("a fork bomb");
        assert_eq!(watched.run(away)["exit_code"], 0);
        watched.holds("daemons");
        ended_by(&watched.run(thread), &["timeout", "cpu"]);
        watched.holds("a thread bomb");
    }
}

#[test]
fn what_stops_itself_ignores_signals_or_never_ends_is_ended_at_the_time_limit() {
    for place in everywhere() {
        let watched = Watched::start(place, &[], &[FORKS, ("WORKER_TIMEOUT", "1")]);
        for (what, code) in [
            (
                "SIGSTOP",
                "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\nprint('went on')",
            ),
            (
                "ignored signals",
                "import signal\nfor number in range(1, 65):\n    try: signal.signal(number, signal.SIG_IGN)\n\
                 \x20   except (OSError, ValueError): pass\nwhile True: pass",
            ),
            (
                "sleep",
                "import time\nwhile True:\n    try: time.sleep(600)\n    except BaseException: pass",
            ),
            (
                "a stopped child that holds the streams",
                "import os, signal, time\nif os.fork() == 0: os.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(600)",
            ),
        ] {
            let data = watched.run(code);
            ended_by(&data, &["timeout"]);
            assert_eq!(data["stdout"], "", "{what}: {}", brief(&data));
            watched.holds(what);
        }
    }
}

#[test]
fn many_bad_ones_at_once_and_the_next_one_is_served() {
    for place in everywhere() {
        let watched = Watched::start(
            place,
            &["--memory", "128M", "--output-limit", "1M"],
            &[FORKS, ("WORKER_TIMEOUT", "2")],
        );
        let bad = [
            "while True: print('x' * 1000)",
            "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
            "x = []\nwhile True: x.append(bytearray(1 << 20))",
            "f = open('/tmp/f', 'wb')\nwhile True: f.write(b'x' * (1 << 20))",
            "import os\nos.chroot('/')",
            "raise SystemExit(7)",
        ];
        std::thread::scope(|scope| {
            for code in bad {
                scope.spawn(|| assert_ne!(watched.run(code)["exit_code"], 0));
            }
        });
        watched.holds("six bad ones at once");
    }
}
