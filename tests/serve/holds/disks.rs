//! Disks that are full: a run's, the one under the roots, the log's.

use std::process::{Command, Stdio};

use serde_json::json;

use super::remains::{Watched, everywhere};
use crate::exec::interpreter;
use crate::serve::server::{KEY, Setup, eventually};
use crate::support::{CALLGATE, available, root, said, scratch, tool};

#[test]
fn a_run_that_fills_its_disk_leaves_it_empty() {
    for place in everywhere() {
        let watched = Watched::start(
            place,
            &["--file-size", "8M", "--tmp-size", "32M"],
            &[("WORKER_TIMEOUT", "20")],
        );
        let files = "import os\nfor i in range(20_000): open(f'/tmp/{i}', 'w').close()";
        let big = "for i in range(8):\n    with open(f'/tmp/big{i}', 'wb') as f:\n        for _ in range(7): f.write(b'x' * (1 << 20))\n\
                   print('written')";
        let deep = "import os\nos.chdir('/tmp')\nfor _ in range(2000):\n    os.mkdir('d')\n    os.chdir('d')\nprint('deep')";
        for (what, code) in [
            ("many files", files),
            ("big files", big),
            ("deep directories", deep),
        ] {
            let data = watched.run(code);
            assert!(data["violation"].is_null(), "{what}: {data:#}");
            watched.holds(what);
            let next = watched.run("import os\nprint(os.listdir('/tmp'), os.listdir('/dev/shm'))");
            assert_eq!(next["stdout"], "[] []\n", "{what}: {next:#}");
        }
    }
}

/// A shell line in a mount namespace of its own.
fn alone(line: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "sh",
            "-ec",
            line,
            "sh",
            CALLGATE,
            "serve",
            "--listen",
            "127.0.0.1:0",
        ])
        .args(["--python", interpreter()])
        .env("API_KEY", KEY);
    command
}

#[test]
fn a_full_disk_under_the_roots_ends_the_start_with_what_failed() {
    if !available("root", root().and_then(|()| tool("unshare"))) {
        return;
    }
    let dir = scratch();
    let output = alone("mount -t tmpfs -o size=1M tmpfs \"$XDG_CACHE_HOME\" && exec \"$@\" --tier container")
        .env("XDG_CACHE_HOME", dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    assert!(
        said(&output).contains("No space left on device"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_disk_that_is_full_is_told_to_the_code_and_the_next_is_served() {
    if !available("root", root().and_then(|()| tool("unshare"))) {
        return;
    }
    let fill = "import os\nwith open('/tmp/f', 'wb', 0) as f:\n    while True: f.write(b'x' * 65536)";
    for tier in ["full", "container"] {
        let dir = scratch();
        // At tier container /tmp is a directory below the cache, beside the root's files; at tier full it is in memory.
        let small = "mount -t tmpfs -o size=256M,mode=755 tmpfs \"$XDG_CACHE_HOME\" && exec \"$@\"";
        let through = ["unshare", "--mount", "sh", "-ec", small, "sh"];
        let flags = ["--python", "/usr/bin/python3", "--tier", tier, "--tmp-size", "8M"];
        let server = Setup::through(&through, &flags)
            .env("XDG_CACHE_HOME", dir.path().to_str().unwrap())
            .env("WORKER_TIMEOUT", "30")
            .ready();
        let data = server.run(fill);
        let told = data["stderr"].as_str().unwrap();
        assert!(told.contains("No space left on device"), "{tier}: {data:#}");
        assert_eq!(data["exit_code"], 255, "{tier}: {data:#}");
        let next = "import os\nopen('/tmp/f', 'wb').write(b'x' * 1_000_000)\nprint(os.listdir('/tmp'))";
        let next = server.run(next);
        assert_eq!(next["stdout"], "['f']\n", "{tier}: {next:#}");
    }
}

#[test]
fn a_log_that_can_not_be_written_stops_nothing() {
    if !available("root", root()) {
        return;
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    // A pipe whose reader has ended.
    let mut reader = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let closed = reader.stdin.take().unwrap();
    reader.wait().unwrap();
    for log in [Stdio::from(full), Stdio::from(closed)] {
        let mut server = Command::new(CALLGATE)
            .args([
                "serve",
                "--listen",
                &address.to_string(),
                "--python",
                interpreter(),
            ])
            .env("API_KEY", KEY)
            .stderr(log)
            .spawn()
            .unwrap();
        let ask = |code: &str| {
            ureq::post(format!("http://{address}/v1/sandbox/run"))
                .header("X-Api-Key", KEY)
                .send(json!({"language": "python3", "code": code}).to_string())
                .ok()
                .map(|mut answer| answer.body_mut().read_to_string().unwrap())
        };
        eventually("an answer", || ask("print(6 * 7)").is_some());
        for _ in 0..3 {
            let text = ask("print(6 * 7)").unwrap();
            assert!(text.contains("\"stdout\":\"42\\n\""), "{text}");
        }
        assert!(server.try_wait().unwrap().is_none());
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
