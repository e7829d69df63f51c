//! Clients that are slow, go away, are too many, send too much, or send anything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::remains::{Watched, Where, everywhere, head};
use crate::serve::server::{Server, eventually};
use crate::support::{available, root};

fn on_the_host(flags: &[&str], variables: &[(&str, &str)]) -> Option<Watched> {
    available("root", root()).then(|| Watched::start(Where::Host, flags, variables))
}

/// Status and body of the answer that comes on a connection.
fn answer(stream: &mut TcpStream) -> Option<(u16, Value)> {
    let mut text = Vec::new();
    let mut some = [0; 4096];
    loop {
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1)?.parse().ok()?;
            if let Ok(body) = serde_json::from_str(body) {
                return Some((status, body));
            }
        }
        match stream.read(&mut some) {
            Ok(0) | Err(_) => return None,
            Ok(read) => text.extend_from_slice(&some[..read]),
        }
    }
}

#[test]
fn a_thousand_slow_clients_hold_nobody_up() {
    let Some(watched) = on_the_host(&["--patience", "5"], &[]) else {
        return;
    };
    let before = watched.memory();
    let body = head(1000);
    let mut slow: Vec<TcpStream> = (0..1000)
        .map(|i| {
            // Half of them are slow with the head, half with the body.
            let begun = match i % 2 {
                0 => b"POST /v1/sandbox/run HTTP/1.1\r\nX-Sl",
                _ => body.as_bytes(),
            };
            watched.server.connect(begun)
        })
        .collect();
    let begun = Instant::now();
    let mut answered = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        watched.answers();
        answered += 1;
        for stream in &mut slow {
            // Some are given up by now.
            let _ = stream.write_all(b"x");
        }
    }
    assert!(answered >= 2, "{answered} runs in 3 s beside them");
    let held = watched.memory().saturating_sub(before);
    assert!(held < 64 << 20, "{held} bytes for 1,000 clients");
    let pid = watched.server.pid();
    let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    eventually("they are given up", || open() < 200);
    drop(slow);
    watched.holds("1,000 slow clients");
}

#[test]
fn a_run_whose_client_has_gone_is_ended() {
    for place in everywhere() {
        let watched = Watched::start(place, &[], &[("WORKER_TIMEOUT", "600"), ("MAX_WORKERS", "2")]);
        let sleeps = Server::request("while True: pass");
        let mut gone: Vec<TcpStream> = (0..6).map(|_| watched.server.connect(&sleeps)).collect();
        // As seen from outside, not as it is told: there is a process of the run.
        eventually("a run's process", || {
            watched
                .processes()
                .iter()
                .any(|(_, told)| told.contains("(running)"))
        });
        // Some close, some reset.
        for stream in gone.drain(..3) {
            drop(stream);
        }
        for stream in gone {
            stream.shutdown(std::net::Shutdown::Both).unwrap();
        }
        watched.clean("clients that went");
        let busy = |all: Vec<(i32, String)>| all.iter().any(|(_, told)| told.contains("(running)"));
        assert!(!busy(watched.processes()), "{:?}", watched.processes());
        watched.holds("clients that went");
    }
}

#[test]
fn sixty_at_once_are_answered_or_told_that_there_are_too_many() {
    let Some(watched) = on_the_host(&[], &[("MAX_WORKERS", "4"), ("MAX_REQUESTS", "50")]) else {
        return;
    };
    let mut all: Vec<TcpStream> = (0..60)
        .map(|i| {
            watched.server.connect(&Server::request(&format!(
                "import time\ntime.sleep(1)\nprint({i} * {i})"
            )))
        })
        .collect();
    let mut refused = 0;
    for (i, stream) in all.iter_mut().enumerate() {
        let (status, body) = answer(stream).unwrap();
        if status == 503 {
            assert_eq!(
                body,
                json!({"code": -503, "message": "Too many requests", "data": null})
            );
            refused += 1;
        } else {
            assert_eq!(
                (status, &body["data"]["stdout"]),
                (200, &json!(format!("{}\n", i * i))),
                "{body:#}"
            );
        }
    }
    assert_eq!(refused, 10, "of 60, with 50 in hand at the most");
    drop(all);
    watched.holds("60 at once");
}

#[test]
fn fifty_megabytes_are_refused_and_not_kept() {
    let Some(watched) = on_the_host(&[], &[]) else {
        return;
    };
    let before = watched.memory();
    let long = format!(
        "{{\"language\": \"python3\", \"code\": \"{}\"}}",
        "#".repeat(50_000_000)
    );
    let peak = std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let (status, body) = watched.server.post("/v1/sandbox/run", &long);
                assert_eq!((status, &body["code"]), (413, &json!(-413)), "{body}");
            });
        }
        let mut peak = before;
        for _ in 0..40 {
            peak = peak.max(watched.memory());
            std::thread::sleep(Duration::from_millis(20));
        }
        peak
    });
    let grown = peak.max(watched.memory()).saturating_sub(before);
    assert!(
        grown < 64 << 20,
        "8 bodies of 50 MB: the server grew by {grown} bytes"
    );
    watched.holds("bodies of 50 MB");
}

#[test]
fn whatever_comes_on_the_socket_the_next_is_answered() {
    let Some(watched) = on_the_host(&["--patience", "2"], &[]) else {
        return;
    };
    let key = crate::serve::server::KEY;
    let run = |more: &str, body: &str| {
        format!("POST /v1/sandbox/run HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\n{more}\r\n\r\n{body}")
            .into_bytes()
    };
    let mut noise = Vec::new();
    // A fixed sequence (xorshift): what fails once fails again.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..64 {
        let bytes: Vec<u8> = (0..512)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        noise.push(bytes);
    }
    noise.extend([
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\n".repeat(5000),
        [b"GET /".as_slice(), &b"a".repeat(200_000), b" HTTP/1.1\r\n\r\n"].concat(),
        run("Content-Length: -1", "{}"),
        run("Content-Length: 99999999999999999999", "{}"),
        run("Content-Length: 5\r\nContent-Length: 6", "{}"),
        run("Content-Length: 2\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        run("Transfer-Encoding: chunked", "fffffffffffffffff\r\n"),
        run("Content-Length: 4", "\u{0}\u{0}\u{0}\u{0}"),
        run("Content-Length: 100000", &"[".repeat(100_000)),
        run("Content-Length: 2", "{}").repeat(50),
    ]);
    for bytes in &noise {
        let Ok(mut stream) = TcpStream::connect(watched.server.address) else {
            panic!("it takes no connection after {bytes:?}")
        };
        // It may be closed before all is written.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        assert!(
            !text.contains(" 200 ") && !text.contains(" 500 "),
            "{:?}: {text}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(200)])
        );
    }
    watched.holds("garbage");
}
