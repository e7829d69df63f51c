//! Readiness, counters, the log, and the end.

use std::io::Read;
use std::time::Instant;

use serde_json::{Value, json};

use super::server::{LONG, Server, Setup, eventually};
use crate::support::{callgate, expect, said, scratch};

#[test]
fn a_server_that_can_run_nothing_does_not_start() {
    // A policy under which not even a program that does nothing ends.
    let dir = scratch();
    let path = dir.path().join("none.json");
    std::fs::write(
        &path,
        json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": []}).to_string(),
    )
    .unwrap();
    let python = crate::exec::interpreter();
    let policy = path.to_str().unwrap();
    let output = expect(
        125,
        &mut callgate([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--python",
            python,
            "--policy",
            policy,
        ]),
    );
    assert!(
        said(&output).contains("no code can be run here"),
        "{}",
        said(&output)
    );
}

#[test]
fn counters_tell_runs_refusals_and_requests() {
    let server = Server::start(&[]);
    server.run("print(1)");
    server.run("import os\nos.chroot('/')");
    server.run("import ctypes\nctypes.CDLL(None).syscall(99999)");
    let runs = |outcome: &str| {
        server.metric(&format!(
            "callgate_runs_total{{language=\"python3\",outcome=\"{outcome}\"}}"
        ))
    };
    assert_eq!((runs("exited"), runs("violation")), (1.0, 2.0));
    assert_eq!(
        server.metric("callgate_refused_calls_total{call=\"chroot\"}"),
        1.0
    );
    assert_eq!(
        server.metric("callgate_refused_calls_total{call=\"unknown\"}"),
        1.0
    );
    assert_eq!(server.metric("callgate_run_duration_seconds_count"), 3.0);
    assert!(server.metric("callgate_run_duration_seconds_bucket{le=\"60.0\"}") == 3.0);
    let ok = "callgate_http_requests_total{path=\"/v1/sandbox/run\",status=\"200\"}";
    assert_eq!(server.metric(ok), 3.0);
}

#[test]
fn each_run_has_one_line_in_the_log_without_its_code() {
    let server = Server::start(&[]);
    let secret = "print('a secret of the client')";
    let body = json!({"language": "python3", "code": secret}).to_string();
    let headers = [
        ("X-Api-Key", super::server::KEY),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("X-User-ID", "somebody"),
    ];
    server.post_with("/v1/sandbox/run", &body, &headers);
    eventually("the log", || server.audit().len() == 1);
    let entry = &server.audit()[0];
    assert_eq!(
        json!([
            entry["language"],
            entry["outcome"],
            entry["exit_code"],
            entry["bytes"],
            entry["user"],
            entry["trace"]
        ]),
        json!(["python3", "exited", 0, secret.len(), "somebody", headers[1].1])
    );
    // The oracle: sha256sum's first 16 bytes.
    let mut sum = std::process::Command::new("sha256sum");
    let told = crate::exec::feed(&mut sum, secret.as_bytes());
    let told = String::from_utf8_lossy(&told.stdout)[..32].to_owned();
    assert_eq!(entry["sha256"], Value::from(told));
    assert!(
        !server
            .log()
            .iter()
            .any(|entry| entry.to_string().contains("a secret"))
    );
}

#[test]
fn sigterm_waits_for_what_is_in_hand() {
    let mut server = Setup::new(&[]).env("WORKER_TIMEOUT", "60").ready();
    let mut stream = server.connect(&Server::request("import time\ntime.sleep(1.5)\nprint('done')"));
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    server.signal(libc::SIGTERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains(r#""stdout":"done\n""#), "{text}");
    assert_eq!(server.ended().code(), Some(0));
}

#[test]
fn what_takes_too_long_is_ended_and_its_client_told() {
    let mut server = Setup::new(&["--grace", "0.5"])
        .env("WORKER_TIMEOUT", "600")
        .ready();
    let mut stream = server.connect(&Server::request(
        "import time\nprint('on', flush=True)\ntime.sleep(500)",
    ));
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    let begun = Instant::now();
    server.signal(libc::SIGTERM);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("ended by the server"), "{text}");
    assert_eq!(server.ended().code(), Some(0));
    assert!(begun.elapsed() < LONG);
    assert!(std::net::TcpStream::connect(server.address).is_err());
}

#[test]
fn an_idle_server_ends_at_once() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut server = Server::start(&[]);
        // A client that keeps its connection open and asks nothing holds nothing up.
        let _idle = server.connect(b"");
        server.signal(signal);
        assert_eq!(server.ended().code(), Some(0));
    }
}
