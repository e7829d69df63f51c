//! What breaks around a server: a run is killed from outside, a disk is full, the log can't be written.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::remains::{Watched, descendants, everywhere, parent};
use crate::exec::interpreter;
use crate::serve::server::{KEY, Server, Setup, eventually};
use crate::support::{CALLGATE, available, root, said, scratch, tool};

fn kill(pid: i32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
}

#[test]
fn a_run_that_is_killed_from_outside_is_told_and_the_next_is_served() {
    for place in everywhere() {
        let watched = Watched::start(place, &[], &[("WORKER_TIMEOUT", "60")]);
        // The interpreter itself, and who started it: the run's init, or the template that it is a fork of.
        for victim in ["itself", "parent"] {
            let data = std::thread::scope(|scope| {
                let run = scope.spawn(|| watched.run("while True: pass"));
                let mut busy = None;
                eventually("the interpreter is busy", || {
                    std::thread::sleep(Duration::from_millis(100));
                    let all = watched.processes();
                    let mut running = all.iter().filter(|(pid, told)| {
                        told.contains("(running)")
                            && told.contains("marked/bin/python ")
                            && seconds(*pid) >= 0.5
                    });
                    busy = running.next().map(|(pid, _)| *pid);
                    busy.is_some()
                });
                let busy = busy.unwrap();
                kill(match victim {
                    "itself" => busy,
                    _ => parent(busy)
                        .filter(|pid| *pid != watched.server.pid())
                        .unwrap_or(busy),
                });
                run.join().unwrap()
            });
            assert_eq!(data["exit_code"], -1, "{victim}: {data:#}");
            assert!(
                data["error"]
                    .as_str()
                    .unwrap()
                    .starts_with("process exited with code -1\nerror: "),
                "{victim}: {data:#}"
            );
            watched.holds("kill -9");
        }
    }
}

/// The CPU time of a process.
fn seconds(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = |i: usize| after.split(' ').nth(i).and_then(|n| n.parse::<f64>().ok());
    (ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / 100.0
}

#[test]
fn what_a_server_has_at_rest_may_be_killed_and_the_next_is_served() {
    for place in everywhere() {
        let watched = Watched::start(place, &[], &[]);
        let all = watched.processes();
        for (pid, told) in &all {
            // It may have ended with another one.
            let _ = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .output()
                .unwrap();
            watched.holds(told);
        }
        let rest = watched.processes();
        for (pid, _) in &rest {
            let _ = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .output()
                .unwrap();
        }
        watched.holds("all of them at once");
    }
}

#[test]
fn a_server_that_is_the_first_process_waits_for_what_is_killed() {
    if !available("root", root().and_then(|()| tool("unshare"))) {
        return;
    }
    // As in a container without an init.
    let first = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let server = Setup::through(&first, &["--python", "/usr/bin/python3"]).ready();
    let within = descendants(server.pid());
    let serving = within[0];
    assert_eq!(parent(serving), Some(server.pid()));
    for _ in 0..2 {
        // Those at rest, and then those of a run.
        for pid in descendants(serving) {
            let _ = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .output()
                .unwrap();
        }
        assert_eq!(server.run("print(6 * 7)")["stdout"], "42\n");
        drop(server.connect(&Server::request("while True: pass")));
    }
    let zombie = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.contains("\nState:\tZ")
    };
    eventually("no zombie is left", || !descendants(serving).iter().any(zombie));
}

#[test]
fn a_server_that_is_killed_leaves_no_process() {
    for place in everywhere() {
        let watched = Watched::start(place, &[], &[("WORKER_TIMEOUT", "60")]);
        let runs = watched.server.connect(&Server::request("while True: pass"));
        eventually("a run", || watched.server.metric("callgate_workers_busy") == 1.0);
        kill(watched.server.pid());
        eventually("nothing is left", || watched.processes().is_empty());
        drop(runs);
    }
}

#[test]
fn refused_calls_in_a_row_are_each_told_and_the_next_is_served() {
    // In a container their lines are read as the run's own user, which leaves the server undumpable: each process
    // that it starts from then on was one that nobody could attach to, and no run began any more.
    for place in everywhere() {
        let watched = Watched::start(place, &[], &[]);
        for _ in 0..3 {
            let data = watched.run("import os\nprint('begun', flush=True)\nos.chroot('/')");
            assert_eq!(data["violation"]["syscall"], "chroot", "{data:#}");
            assert_eq!(data["violation"]["site"]["line"], 3, "{data:#}");
        }
        watched.holds("refused calls");
    }
}

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
