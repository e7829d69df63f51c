//! Answers that nobody takes: each can be eighteen times as long as what its run may write.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::remains::{Watched, Where};
use crate::serve::server::{LONG, Server};
use crate::support::{available, root};

/// Writes 1 MiB to each stream that is six times as long in JSON, and fails, so that one of them is told twice.
const LONGEST: &str = "import os\ndef fill(fd):\n    left = memoryview(b'\\1' * (1 << 20))\n    while left: left = left[os.write(fd, left):]\n\
                       fill(1)\nfill(2)\nraise SystemExit(3)";

/// What all answers together may hold: twice what four runs can answer.
const ROOM: u64 = (2 * 4 * 18) << 20;

#[test]
fn answers_that_nobody_takes_hold_no_more_than_some_runs_can_answer() {
    if !available("root", root()) {
        return;
    }
    let watched = Watched::start(Where::Host, &["--output-limit", "1M", "--patience", "600"], &[]);
    let before = watched.memory();
    let whole = Server::request(LONGEST);
    let events = String::from_utf8(whole.clone()).unwrap();
    let events = events.replacen("Host: x", "Host: x\r\nAccept: text/event-stream", 1);
    let ran = || {
        watched
            .server
            .metric("callgate_runs_total{language=\"python3\",outcome=\"exited\"}")
    };
    let first = ran();
    let mut deaf = Vec::new();
    // No more at once than are let in; without a bound they would come to some 900 MiB.
    for _ in 0..3 {
        for i in 0..16 {
            deaf.push(watched.server.connect(match i % 2 {
                0 => whole.as_slice(),
                _ => events.as_bytes(),
            }));
        }
        let end = Instant::now() + LONG;
        while watched.server.metric("callgate_requests_in_hand") > 0.0 {
            assert!(Instant::now() < end, "they run on");
            std::thread::sleep(Duration::from_millis(50));
        }
        // Nobody else is held up.
        watched.answers();
    }
    assert!(ran() - first >= 24.0, "{} of them ran", ran() - first);
    let grown = watched.memory().saturating_sub(before);
    assert!(
        grown < ROOM + (96 << 20),
        "48 answers that nobody takes: the server grew by {} MiB",
        grown >> 20
    );
    // Some have their answers; the others are told why not.
    let mut refused = 0;
    for (i, stream) in deaf.into_iter().enumerate() {
        let answer = match i % 2 {
            0 => whole_answer(stream),
            _ => last_event(stream),
        };
        if answer["code"] == -503 {
            assert!(
                answer["message"].as_str().unwrap().contains("take them"),
                "{answer}"
            );
            refused += 1;
        } else {
            assert_eq!(answer["data"]["exit_code"], 3, "{i}");
            assert_eq!(answer["data"]["stdout"].as_str().unwrap().len(), 1 << 20, "{i}");
        }
    }
    assert!((1..48).contains(&refused), "{refused} of 48 were refused");
    watched.holds("answers that nobody took");
    let data = watched.run(LONGEST);
    assert_eq!(
        data["stderr"].as_str().unwrap().len(),
        1 << 20,
        "there is room again"
    );
}

/// The JSON of an answer that comes whole.
fn whole_answer(stream: TcpStream) -> Value {
    let mut stream = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no answer");
        if let Some(number) = line.strip_prefix("content-length: ") {
            length = number.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// The JSON of the last event.
fn last_event(stream: TcpStream) -> Value {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut ends = lines.skip_while(|line| line != "event: end");
    let data = ends.nth(1).unwrap();
    serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
}
