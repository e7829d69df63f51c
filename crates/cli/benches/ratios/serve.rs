//! `callgate serve` under load, against the bare interpreter in the same harness, with ApacheBench (ab).
//!
//! `CALLGATE_BENCH_REQUESTS` is how many requests the server's memory is watched over (2,000).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{CALLGATE, environment, interpreter, median, probe, stop, which};

/// Clients, and workers of the bare interpreter, at once.
const CLIENTS: usize = 4;

/// Rounds that count; one before them warms the caches.
const ROUNDS: usize = 3;

/// The measurements, if they are wanted.
pub fn run(wanted: &[String], dir: &Path) {
    if !wanted.is_empty() && !wanted.iter().any(|word| "serve".contains(word.as_str())) {
        return;
    }
    println!("\nserve: POST /v1/sandbox/run, medians of {ROUNDS} rounds (minima in brackets)");
    if which("ab").is_none() {
        println!("  ab is not installed (Debian: apache2-utils)");
        return;
    }
    let one = "print(1)";
    let python = interpreter(None);
    compare(dir, &format!("print(1), {python}"), &python, one, &[], 400);
    // A distribution's interpreter starts faster than most others: the hardest one to beat.
    let packaged = "/usr/bin/python3";
    if python != packaged && Path::new(packaged).exists() {
        compare(dir, &format!("print(1), {packaged}"), packaged, one, &[], 400);
    }
    compare(dir, "print(1), --fresh", &python, one, &["--fresh"], 40);
    let contained = ["--tier", "container"];
    compare(dir, "print(1), tier container", &python, one, &contained, 400);
    let numpy = environment(&probe("with_numpy.py"), dir, None);
    let flags = ["--preimport", "json,numpy"];
    compare(dir, "import numpy", &numpy, "import numpy; print(1)", &flags, 400);
    let pandas = environment(&probe("with_pandas.py"), dir, None);
    let flags = ["--preimport", "json,numpy,pandas"];
    start("start to ready with numpy and pandas", &pandas, &flags);
    let flags = [&flags[..], &["--no-cache"]].concat();
    start("the same with nothing kept (--no-cache)", &pandas, &flags);
    memory(dir, one);
}

/// One program: alone and from 4 clients, by the server and by the bare interpreter.
fn compare(dir: &Path, name: &str, python: &str, code: &str, flags: &[&str], requests: usize) {
    let server = Server::start(python, flags);
    let body = body(dir, code);
    let (mut bare, mut served, mut least) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bare_rate, mut rate, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    // Side by side, so that a disturbance meets both alike.
    for round in 0..=ROUNDS {
        let alone: Vec<Duration> = (0..8).map(|_| bare_run(python, code)).collect();
        let asked = load(&server, &body, 30, 1);
        let many = bare_load(python, code, 24);
        let loaded = load(&server, &body, requests, CLIENTS);
        if round > 0 {
            bare.extend(alone);
            served.push(asked.p50);
            least.push(asked.min);
            bare_rate.push(many);
            rate.push(loaded.rate);
            tail.push(loaded.p99.as_secs_f64() / loaded.p50.as_secs_f64().max(1e-3));
        }
    }
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    let (bare_min, min) = (
        seconds(bare.iter().min().copied()),
        seconds(least.iter().min().copied()),
    );
    let (bare, served) = (median(bare).as_secs_f64(), median(served).as_secs_f64());
    let ms = |what: &str, median: f64, min: f64| {
        print!("    {what:<34} {:>8.1} ms ({:.1})", median * 1e3, min * 1e3);
    };
    println!("  {name}");
    ms("bare interpreter", bare, bare_min);
    println!();
    ms("one client", served, min);
    println!(" {:>7.2} × ({:.2})", served / bare, min / bare_min);
    let best = |all: &[f64]| all.iter().copied().fold(0.0, f64::max);
    let (bare_best, best) = (best(&bare_rate), best(&rate));
    let (bare, rate) = (middle(bare_rate), middle(rate));
    println!("    {:<34} {bare:>8.1} /s", "bare interpreter, 4 at once");
    println!(
        "    {:<34} {rate:>8.1} /s {:>13.2} × ({:.2})",
        "4 clients",
        rate / bare,
        best / bare_best
    );
    println!("    {:<34} {:>25.2} ×", "4 clients, p99 / p50", middle(tail));
}

/// How long a server takes to be ready.
fn start(name: &str, python: &str, flags: &[&str]) {
    let times: Vec<Duration> = (0..=ROUNDS)
        .map(|_| Server::start(python, flags).ready_after)
        .skip(1)
        .collect();
    let least = times.iter().min().copied().unwrap_or_default().as_secs_f64();
    println!("  {name:<44} {:>8.2} s ({least:.2})", median(times).as_secs_f64());
}

/// The server's own memory over many requests.
fn memory(dir: &Path, code: &str) {
    let requests = std::env::var("CALLGATE_BENCH_REQUESTS").unwrap_or_else(|_| "2000".to_owned());
    let requests = requests
        .parse()
        .unwrap_or_else(|_| stop("CALLGATE_BENCH_REQUESTS is no number"));
    let server = Server::start(&interpreter(None), &[]);
    let body = body(dir, code);
    load(&server, &body, 500, CLIENTS);
    let before = server.memory();
    load(&server, &body, requests, CLIENTS);
    let after = server.memory();
    println!("  the server's resident memory over {requests} requests: {before} KiB, then {after} KiB");
}

fn body(dir: &Path, code: &str) -> PathBuf {
    let path = dir.join("body.json");
    let text = serde_json::json!({"language": "python3", "code": code}).to_string();
    std::fs::write(&path, text).unwrap_or_else(|error| stop(&format!("{}: {error}", path.display())));
    path
}

fn middle(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn bare_run(python: &str, code: &str) -> Duration {
    let begun = Instant::now();
    let output = Command::new(python)
        .args(["-I", "-c", code])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => begun.elapsed(),
        other => stop(&format!("{python}: {other:?}")),
    }
}

/// Runs of the bare interpreter in a second, by as many threads as there are clients.
fn bare_load(python: &str, code: &str, runs: usize) -> f64 {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                for _ in 0..runs / CLIENTS {
                    bare_run(python, code);
                }
            });
        }
    });
    (runs / CLIENTS * CLIENTS) as f64 / begun.elapsed().as_secs_f64()
}

struct Load {
    rate: f64,
    min: Duration,
    p50: Duration,
    p99: Duration,
}

/// What ab says of so many requests by so many clients. Every answer must be of status 200; lengths differ by
/// the digits of the usage (-l).
fn load(server: &Server, body: &Path, requests: usize, clients: usize) -> Load {
    let output = Command::new("ab")
        .args([
            "-q",
            "-n",
            &requests.to_string(),
            "-c",
            &clients.to_string(),
            "-l",
        ])
        .args(["-H", "X-Api-Key: bench", "-T", "application/json", "-p"])
        .arg(body)
        .arg(format!("http://127.0.0.1:{}/v1/sandbox/run", server.port))
        .output()
        .unwrap_or_else(|error| stop(&format!("ab: {error}")));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let field = |name: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name))?;
        line.trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    if !output.status.success() || field("Failed requests") != Some(0.0) || text.contains("Non-2xx") {
        stop(&format!("ab: {text}{}", String::from_utf8_lossy(&output.stderr)));
    }
    let part = |name: &str| field(name).map(|ms| Duration::from_secs_f64(ms / 1e3));
    // Of the columns min, mean, deviation, median, max the first.
    match (
        field("Requests per second"),
        part("Total:"),
        part("50%"),
        part("99%"),
    ) {
        (Some(rate), Some(min), Some(p50), Some(p99)) => Load { rate, min, p50, p99 },
        _ => stop(&format!("ab says something else than expected: {text}")),
    }
}

/// A server; it ends with this.
struct Server {
    child: Child,
    port: u16,
    ready_after: Duration,
}

impl Server {
    fn start(python: &str, flags: &[&str]) -> Self {
        let begun = Instant::now();
        let mut child = Command::new(CALLGATE)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--python",
                python,
                "--log",
                "json",
            ])
            .args(flags)
            .env("API_KEY", "bench")
            .env("MAX_WORKERS", CLIENTS.to_string())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| stop(&format!("serve: {error}")));
        let mut lines = BufReader::new(child.stderr.take().unwrap_or_else(|| stop("no log"))).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            entry["address"].as_str()?.rsplit(':').next()?.parse().ok()
        });
        let port = address.unwrap_or_else(|| stop("the server does not listen"));
        std::thread::spawn(move || lines.for_each(drop));
        while !healthy(port) {
            if let Ok(Some(status)) = child.try_wait() {
                stop(&format!("the server has ended: {status}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Self {
            child,
            port,
            ready_after: begun.elapsed(),
        }
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| stop("no VmRSS"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.starts_with("HTTP/1.1 200 "))
}
