//! Output as it comes: server-sent events.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use super::server::{Server, Setup, eventually};

/// The events of an answer: name and data.
fn events(stream: impl BufRead) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut name = String::new();
    for line in stream.lines().map_while(Result::ok) {
        if let Some(next) = line.strip_prefix("event: ") {
            name = next.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            all.push((name.clone(), serde_json::from_str(data).unwrap()));
            if name == "end" {
                break;
            }
        }
    }
    all
}

/// A request for a run with events.
fn streaming(code: &str) -> Vec<u8> {
    let request = String::from_utf8(Server::request(code)).unwrap();
    request
        .replacen("Host: x", "Host: x\r\nAccept: text/event-stream", 1)
        .into_bytes()
}

#[test]
fn output_comes_as_events_while_the_code_runs() {
    let server = Setup::new(&[]).env("WORKER_TIMEOUT", "600").ready();
    // It goes on only when what it has written was read, so that it can't have come in one piece.
    let code = "import sys, time\nprint('one €', flush=True)\nprint('two', file=sys.stderr)\ntime.sleep(600)";
    let mut stream = BufReader::new(server.connect(&streaming(code)));
    let mut head = String::new();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "{head}");
        if let Some(data) = line.strip_prefix("data: ") {
            seen.push(data.trim().to_owned());
        }
        head.push_str(&line);
    }
    seen.sort();
    assert_eq!(seen, ["\"one €\\n\"", "\"two\\n\""], "{head}");
    assert!(
        head.starts_with("HTTP/1.1 200") && head.contains("content-type: text/event-stream"),
        "{head}"
    );
    assert_eq!(server.metric("callgate_workers_busy"), 1.0);
    // Who listens goes away, and the run with it.
    drop(stream);
    eventually("no run", || server.metric("callgate_workers_busy") == 0.0);

    let whole = server.connect(&streaming("print('x' * 100_000)\nimport sys\nsys.exit(3)"));
    let all = events(BufReader::new(whole));
    let (name, end) = all.last().unwrap();
    assert_eq!(
        (name.as_str(), &end["code"], &end["data"]["exit_code"]),
        ("end", &json!(0), &json!(3))
    );
    let told: String = all
        .iter()
        .filter(|(name, _)| name == "stdout")
        .map(|(_, data)| data.as_str().unwrap())
        .collect();
    assert_eq!(Value::from(told), end["data"]["stdout"]);
    // What is refused before anything runs has its status.
    let bad = streaming("print(1)");
    let bad = String::from_utf8(bad).unwrap().replace("python3", "python4");
    let mut first = String::new();
    BufReader::new(server.connect(bad.as_bytes()))
        .read_line(&mut first)
        .unwrap();
    assert!(first.starts_with("HTTP/1.1 400"), "{first}");
}
