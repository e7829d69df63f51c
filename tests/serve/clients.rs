//! Clients that are too many, too slow, want too much, or go away.

use std::io::{Read, Write};
use std::time::Instant;

use serde_json::json;

use super::server::{KEY, LONG, Server, Setup, eventually};

/// The first line of what comes back.
fn status(stream: &mut std::net::TcpStream) -> String {
    let mut text = Vec::new();
    // A connection that is reset has been answered, or has not.
    let _ = stream.read_to_end(&mut text);
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn so_many_run_so_many_wait_and_the_rest_is_told() {
    let server = Setup::new(&[])
        .env("MAX_WORKERS", "1")
        .env("MAX_REQUESTS", "2")
        .ready();
    let slow = Server::request("import time\ntime.sleep(1.5)\nprint('done')");
    let first = server.connect(&slow);
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    let second = server.connect(&slow);
    eventually("one that waits", || {
        server.metric("callgate_requests_in_hand") == 2.0
    });
    assert_eq!(server.metric("callgate_workers_busy"), 1.0);
    let (status, answer) = server.ask("print(1)", &json!({}));
    assert_eq!(status, 503);
    assert_eq!(
        answer,
        json!({"code": -503, "message": "Too many requests", "data": null})
    );
    for stream in [first, second] {
        let mut text = String::new();
        let mut some = [0; 4096];
        let mut stream = stream;
        while !text.contains("done") {
            let read = stream.read(&mut some).unwrap();
            assert!(read > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&some[..read]));
        }
    }
    assert_eq!(server.run("print(1)")["stdout"], "1\n");
}

#[test]
fn a_run_ends_when_its_client_goes() {
    let server = Setup::new(&[]).env("WORKER_TIMEOUT", "600").ready();
    let stream = server.connect(&Server::request("import time\ntime.sleep(500)"));
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    drop(stream);
    eventually("no run", || server.metric("callgate_workers_busy") == 0.0);
    eventually("the log", || {
        server.audit().iter().any(|entry| entry["outcome"] == "ended")
    });
    assert_eq!(
        server.metric("callgate_runs_total{language=\"python3\",outcome=\"ended\"}"),
        1.0
    );
    // One that waits goes too.
    let server = Setup::new(&[])
        .env("MAX_WORKERS", "1")
        .env("WORKER_TIMEOUT", "600")
        .ready();
    let runs = server.connect(&Server::request("import time\ntime.sleep(500)"));
    eventually("a run", || server.metric("callgate_workers_busy") == 1.0);
    let waits = server.connect(&Server::request("print(1)"));
    eventually("one that waits", || {
        server.metric("callgate_requests_in_hand") == 2.0
    });
    drop(waits);
    eventually("none that waits", || {
        server.metric("callgate_requests_in_hand") == 1.0
    });
    drop(runs);
    eventually("nothing", || server.metric("callgate_requests_in_hand") == 0.0);
}

#[test]
fn slow_clients_are_given_up_and_hold_nobody_else_up() {
    let server = Server::start(&["--patience", "1", "--connections", "300"]);
    let head = format!(
        "POST /v1/sandbox/run HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Length: 50\r\n\r\n{{\"la"
    );
    let begun = Instant::now();
    let mut silent: Vec<_> = (0..200).map(|_| server.connect(b"POST /v1/sand")).collect();
    let mut halves: Vec<_> = (0..20).map(|_| server.connect(head.as_bytes())).collect();
    assert_eq!(server.run("print(1)")["stdout"], "1\n");
    for stream in &mut silent {
        status(stream);
    }
    for stream in &mut halves {
        let answer = status(stream);
        assert!(answer.is_empty() || answer.contains(" 408 "), "{answer}");
    }
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert_eq!(server.metric("callgate_requests_in_hand"), 0.0);
}

#[test]
fn a_body_is_cut_at_its_limit_however_it_comes() {
    let server = Server::start(&["--body-limit", "100K"]);
    let long = "x".repeat(50_000_000);
    let (status, answer) = server.post("/v1/sandbox/run", &long);
    assert_eq!((status, &answer["code"]), (413, &json!(-413)), "{answer}");
    // Without a length: piece by piece.
    let head = format!(
        "POST /v1/sandbox/run HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut stream = server.connect(head.as_bytes());
    for _ in 0..20 {
        stream.write_all(b"4000\r\n").unwrap();
        stream.write_all(&[b'x'; 0x4000]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert_eq!(server.run("print(1)")["stdout"], "1\n");
}

#[test]
fn bodies_that_come_slowly_hold_no_more_than_requests_may() {
    let server = Setup::new(&["--body-limit", "1M"])
        .env("MAX_REQUESTS", "1")
        .ready();
    let head = format!(
        "POST /v1/sandbox/run HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Length: 1000000\r\n\r\n"
    );
    let mut slow = server.connect(head.as_bytes());
    slow.write_all(&[b' '; 900_000]).unwrap();
    let code = format!("print('in')\n#{}", "x".repeat(500_000));
    // It is full as soon as the server has read what the slow one sent.
    eventually("no room", || server.ask(&code, &json!({})).0 == 503);
    assert_eq!(server.run("print('small')")["stdout"], "small\n");
    drop(slow);
    eventually("room", || server.ask(&code, &json!({})).0 == 200);
}

/// The answer must not be lost in a reset of the connection, which comes when it is closed with bytes unread.
#[test]
fn a_long_body_with_a_wrong_key_is_read_before_it_is_refused() {
    let server = Server::start(&[]);
    let body = format!("{{\"code\": \"{}\"}}", "x".repeat(3 << 20));
    for _ in 0..5 {
        let (status, answer) = server.post_with("/v1/sandbox/run", &body, &[("X-Api-Key", "wrong")]);
        assert_eq!((status, &answer["code"]), (401, &json!(-401)));
    }
}

#[test]
fn garbage_is_answered_with_400_and_ends_the_connection() {
    let server = Server::start(&[]);
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        let mut stream = server.connect(garbage);
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = status(&mut stream);
        assert!(
            answer.is_empty() || answer.contains(" 400 ") || answer.contains(" 505 "),
            "{answer}"
        );
    }
    assert_eq!(server.run("print(1)")["stdout"], "1\n");
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let server = Setup::new(&["--patience", "1"]).env("DEBUG", "true").ready();
    // More than the kernel's buffers hold.
    let code = "print('x' * (4 << 20))\nimport sys\nprint('y' * (4 << 20), file=sys.stderr)";
    let stream = server.connect(&Server::request(code));
    let peer = stream.local_addr().unwrap().to_string();
    server.wait_for_log(|entry| {
        let gone = entry["message"] == "a connection broke off" && entry["peer"] == peer.as_str();
        gone.then_some(())
    });
    drop(stream);
}

#[test]
fn clients_leave_runs_their_descriptors() {
    // With no more than these, 1,000 idle clients would take them all.
    let script = "ulimit -n 700 && exec \"$0\" \"$@\"";
    let setup = Setup::through(&["bash", "-c", script], &["--patience", "60", "--files", "256"]);
    let server = setup.ready();
    let told = server.wait_for_log(|entry| {
        let text = entry["message"].as_str()?;
        text.starts_with("of 4096 connections there can be")
            .then(|| text.to_owned())
    });
    assert!(told.contains("ulimit -n"), "{told}");
    let held: Vec<_> = (0..310).map(|_| server.connect(b"GET")).collect();
    for _ in 0..4 {
        assert_eq!(server.run("print(1)")["stdout"], "1\n");
    }
    drop(held);
}
