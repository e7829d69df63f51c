//! The memory of a server, and of all that it has started, over many requests of every kind.
//!
//! The suite sees some hundreds of them. By hand, as many as are wanted (100,000 take five minutes on 2 cores):
//!
//!     CALLGATE_LOAD_REQUESTS=100000 cargo test --release --locked -p callgate --test e2e endurance -- --nocapture

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::processes::descendants;
use super::remains::{Watched, Where};
use crate::serve::server::Server;
use crate::support::{available, root};

/// How many requests the suite makes.
const SHORT: usize = 500;

/// How many come before the first look: caches and pools have what they keep by then. Ten times as many by hand.
const WARM_UP: usize = 300;

/// How many there are between two looks.
const BETWEEN: usize = 10_000;

/// Clients at once.
const CLIENTS: usize = 4;

/// How much more memory there may be at the end, in KiB: resident of the server itself, files' pages included, and of all
/// processes together without those. What templates and beds have differs from one moment to the next.
const GROWTH: u64 = 8 << 10;

/// Of the server itself without files' pages. Over 100,000 requests that is 10 bytes for each.
const OWN_GROWTH: u64 = 1 << 10;

/// What is seen at one moment, when nothing runs. Memory in KiB.
#[derive(Clone, Copy, Debug)]
struct Seen {
    server: Memory,
    /// Of all its descendants together.
    children: Memory,
    processes: usize,
    descriptors: usize,
}

/// The memory of one or more processes, in KiB (proc_pid_smaps(5)).
#[derive(Clone, Copy, Debug, Default)]
struct Memory {
    /// Resident: what is shared counts for each of them.
    rss: u64,
    /// What is shared is divided among those that share it.
    pss: u64,
    /// Likewise, without files' pages, which other programs of this machine share and drop.
    own: u64,
}

impl Memory {
    /// None of a process that has ended.
    fn of(pid: i32) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.unwrap_or(0)
        };
        Self {
            rss: field("Rss:"),
            pss: field("Pss:"),
            own: field("Pss_Anon:") + field("Pss_Shmem:"),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            rss: self.rss + other.rss,
            pss: self.pss + other.pss,
            own: self.own + other.own,
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RSS {} PSS {} ({} without files)",
            self.rss, self.pss, self.own
        )
    }
}

impl Seen {
    fn now(watched: &Watched) -> Self {
        watched.idle("the load");
        let server = watched.server.pid();
        let children = descendants(server);
        let memory = children.iter().map(|pid| Memory::of(*pid));
        Self {
            server: Memory::of(server),
            children: memory.fold(Memory::default(), Memory::and),
            processes: children.len(),
            descriptors: std::fs::read_dir(format!("/proc/{server}/fd")).unwrap().count(),
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            children,
            processes,
            descriptors,
        } = self;
        write!(
            f,
            "server {server}, {processes} children {children} KiB; {descriptors} descriptors"
        )
    }
}

/// One request of every kind in turn, most of them small; each is answered as it should be.
fn ask(watched: &Watched, number: usize) {
    let (code, exit_code, length) = match number % 50 {
        3 => ("import os\nos.chroot('/')".to_owned(), -1, 0),
        13 => ("def f(n):\n    return 1 / n\nf(0)".to_owned(), 255, 0),
        23 => ("print('x' * 300_000)".to_owned(), 0, 300_001),
        33 => (
            "open('/tmp/f', 'wb').write(b'x' * 1_000_000)\nimport decimal".to_owned(),
            0,
            0,
        ),
        // A client that goes away.
        43 => return drop(watched.server.connect(&Server::request("while True: pass"))),
        _ => (format!("print({number})"), 0, number.to_string().len() + 1),
    };
    let data = watched.run(&code);
    assert_eq!(data["exit_code"], exit_code, "{code}: {data:#}");
    assert_eq!(data["stdout"].as_str().unwrap().len(), length, "{code}");
}

/// Makes so many requests by several clients.
fn load(watched: &Watched, requests: usize) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests {
                        break;
                    }
                    ask(watched, number);
                }
            });
        }
    });
}

#[test]
fn memory_stays_what_it_was_over_many_requests() {
    if !available("root", root()) {
        return;
    }
    let requests = match std::env::var("CALLGATE_LOAD_REQUESTS") {
        Ok(given) => given.parse().expect("CALLGATE_LOAD_REQUESTS: expected a number"),
        Err(_) => SHORT,
    };
    let warm_up = if requests > SHORT { 10 * WARM_UP } else { WARM_UP };
    // Long enough for a machine that stands still for some seconds.
    let watched = Watched::start(Where::Host, &[], &[("WORKER_TIMEOUT", "120")]);
    load(&watched, warm_up);
    let begun = Instant::now();
    let first = Seen::now(&watched);
    eprintln!("at the start: {first}");
    let mut last = first;
    let mut made = 0;
    while made < requests {
        let more = BETWEEN.min(requests - made);
        load(&watched, more);
        made += more;
        last = Seen::now(&watched);
        eprintln!("after {made} requests, {} s: {last}", begun.elapsed().as_secs());
    }
    let together = |seen: &Seen| seen.server.and(seen.children).own;
    for (what, before, after, most) in [
        (
            "resident memory of the server",
            first.server.rss,
            last.server.rss,
            GROWTH,
        ),
        (
            "server's memory without files",
            first.server.own,
            last.server.own,
            OWN_GROWTH,
        ),
        (
            "memory of all without files",
            together(&first),
            together(&last),
            GROWTH,
        ),
    ] {
        let grown = after.saturating_sub(before);
        assert!(
            grown <= most,
            "over {requests} requests the {what} grew by {grown} KiB, from {before} to {after}: more than {most}"
        );
    }
    watched.holds("many requests");
}
