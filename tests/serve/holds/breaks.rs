//! What is killed around a server: runs, templates, the server itself.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::processes::{descendants, parent};
use super::remains::{Watched, Where, everywhere};
use crate::serve::server::{Server, Setup, eventually};
use crate::support::{available, root, tool};

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
    // Those at rest, and then those of a run.
    for runs in [0, 1] {
        let _run = (runs > 0).then(|| server.connect(&Server::request("while True: pass")));
        // One that is only being made would be found alive when all others have been killed, and end soon.
        eventually("all interpreters", || {
            server.metric("callgate_beds_ready") >= f64::from(4 - runs)
                && server.metric("callgate_workers_busy") == f64::from(runs)
        });
        for pid in descendants(serving) {
            let _ = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .output()
                .unwrap();
        }
        assert_eq!(server.run("print(6 * 7)")["stdout"], "42\n");
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
fn whoever_is_killed_while_many_run_every_answer_is_right_or_says_what_happened() {
    if !available("root", root()) {
        return;
    }
    let watched = Watched::start(Where::Host, &[], &[("WORKER_TIMEOUT", "60")]);
    let (mut right, mut told) = (0, 0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=4)
            .map(|client| {
                let watched = &watched;
                scope.spawn(move || {
                    (0..40)
                        .map(move |i| {
                            let code = format!("print({client} * {i})");
                            let (status, answer) = watched.server.ask(&code, &json!({}));
                            (client * i, status, answer)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut next = 0;
        while !clients.iter().all(|client| client.is_finished()) {
            // In turn those that were started first and last: templates, runs at rest, runs.
            let all = descendants(watched.server.pid());
            if let Some(pid) = all.get(next * 7 % all.len().max(1)) {
                let _ = Command::new("kill")
                    .args(["-9", &pid.to_string()])
                    .output()
                    .unwrap();
            }
            next += 1;
            std::thread::sleep(Duration::from_millis(150));
        }
        for (product, status, answer) in clients.into_iter().flat_map(|client| client.join().unwrap()) {
            assert_eq!(status, 200, "{answer:#}");
            let data = &answer["data"];
            if data["exit_code"] == 0 {
                assert_eq!(data["stdout"], format!("{product}\n"), "{answer:#}");
                right += 1;
                continue;
            }
            let why = match data.is_null() {
                true => &answer["message"],
                false => &data["error"],
            };
            let why = why.as_str().unwrap();
            assert!(
                why.starts_with("nothing ran: ") || why.contains("error: killed by SIGKILL"),
                "{answer:#}"
            );
            told += 1;
        }
    });
    assert!(right > 0, "of {told} answers none is right");
    watched.holds("killing while many run");
    // None of the beds is stuck with what its template has left.
    eventually("all interpreters", || {
        watched.server.metric("callgate_beds_ready") >= 4.0
    });
}

/// For some seconds, as soon as a template has a new fork kills both; prints how often. It has no time to lose.
const AIM: &str = "
import os, sys, time
server, mark, end, killed = sys.argv[1], sys.argv[2], time.time() + 6, 0

def children(pid):
    found = []
    try:
        for task in os.listdir(f'/proc/{pid}/task'):
            found += open(f'/proc/{pid}/task/{task}/children').read().split()
    except OSError:
        pass
    return found

def is_template(pid):
    try:
        return open(f'/proc/{pid}/cmdline').read().startswith(mark)
    except OSError:
        return False

while time.time() < end:
    for template in filter(is_template, children(server)):
        before, soon = set(children(template)), time.time() + 1
        while time.time() < soon:
            new = set(children(template)) - before
            if new:
                for pid in [*new, template]:
                    try:
                        os.kill(int(pid), 9)
                    except ProcessLookupError:
                        pass
                killed += 1
                break
print(killed)
";

#[test]
fn forks_that_die_with_their_template_before_anybody_attached_leave_nothing_stuck() {
    // The init of such a bed could not end: the dead fork was the server's, and its thread waited for its own only. In a
    // container it stayed a zombie.
    for place in everywhere() {
        let watched = Watched::start(place, &[], &[]);
        let mut aim = Command::new("/usr/bin/python3");
        aim.args(["-I", "-c", AIM, &watched.server.pid().to_string()]);
        aim.arg(watched.dir.path().join("marked/bin/python"));
        let mut aim = aim.stdout(Stdio::piped()).spawn().unwrap();
        while aim.try_wait().unwrap().is_none() {
            // Each run makes room for another fork; how it ends does not matter.
            watched.server.ask("print(1)", &json!({}));
        }
        let killed = aim.wait_with_output().unwrap().stdout;
        let killed: u32 = String::from_utf8_lossy(&killed).trim().parse().unwrap();
        assert!(killed > 3, "{killed}");
        eventually("all beds", || watched.server.metric("callgate_beds_ready") >= 4.0);
        watched.holds("forks that died with their template");
    }
}
