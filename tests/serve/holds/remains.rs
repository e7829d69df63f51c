//! What a server has, seen from outside: processes, mounts, cgroups, files, descriptors, threads of runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::processes::{descriptors, threads};
use crate::serve::server::{KEY, LONG, Server, Setup, eventually};
use crate::support::{CALLGATE, available, expect, root, tool, without_cgroups};

/// The capabilities that the deployment gives a server, which are fewer than a plain container has.
const DEPLOYED: &str = "-all,+chown,+dac_override,+fowner,+kill,+mknod,+setgid,+setpcap,+setuid,+sys_chroot";

/// A server with directories of its own, whose runs are told from all others on this machine by the path of
/// their interpreter.
pub struct Watched {
    pub server: Server,
    pub dir: tempfile::TempDir,
    python: PathBuf,
    before: State,
}

/// What it has.
#[derive(Debug, PartialEq, Eq)]
struct State {
    /// How many: a server with warm interpreters has some at rest, and makes new ones for those that are used.
    processes: usize,
    cgroups: usize,
    mounts: BTreeSet<String>,
    files: BTreeSet<String>,
    descriptors: Vec<String>,
}

impl State {
    /// What has come since, and how many there were of what is only counted.
    fn difference(&self, now: &Self) -> String {
        let new = |now: &BTreeSet<String>, before: &BTreeSet<String>| -> Vec<String> {
            now.difference(before).cloned().collect()
        };
        format!(
            "{} processes and then {}, {} cgroups and then {}, mounts {:#?}, files {:#?}, {} descriptors and then {:#?}",
            self.processes,
            now.processes,
            self.cgroups,
            now.cgroups,
            new(&now.mounts, &self.mounts),
            new(&now.files, &self.files),
            self.descriptors.len(),
            now.descriptors,
        )
    }
}

/// Where runs happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    Host,
    Container,
}

/// Both, as far as this machine can be them.
pub fn everywhere() -> Vec<Where> {
    let needs = root()
        .and_then(|()| tool("setpriv"))
        .and_then(|()| tool("unshare"));
    match available("root", needs) {
        true => vec![Where::Host, Where::Container],
        false => Vec::new(),
    }
}

impl Watched {
    /// A server there, with a time limit of 3 s for each run unless `variables` say otherwise, after its first run.
    pub fn start(place: Where, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        // Not below /tmp, which at tier container is what runs write to.
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let venv = dir.path().join("marked");
        let made = ["-m", "venv", "--without-pip"];
        expect(0, Command::new("/usr/bin/python3").args(made).arg(&venv));
        let python = venv.join("bin/python");
        let command = match place {
            Where::Host => Command::new(CALLGATE),
            Where::Container => {
                let mut command = without_cgroups();
                command.args(["setpriv", "--bounding-set", DEPLOYED, CALLGATE]);
                command
            }
        };
        let own = |name: &str| {
            let at = dir.path().join(name);
            std::fs::create_dir_all(&at).unwrap();
            at.to_str().unwrap().to_owned()
        };
        let flags = [&["--python", python.to_str().unwrap()], flags].concat();
        let mut setup = Setup::of(command, &flags)
            .env("TMPDIR", &own("tmp"))
            .env("XDG_CACHE_HOME", &own("cache"))
            .env("WORKER_TIMEOUT", "3");
        for (name, value) in variables {
            setup = setup.env(name, value);
        }
        let server = setup.ready();
        let mut watched = Self {
            server,
            dir,
            python,
            before: State {
                processes: 0,
                cgroups: 0,
                mounts: BTreeSet::new(),
                files: BTreeSet::new(),
                descriptors: Vec::new(),
            },
        };
        watched.answers();
        // Where roots are copied, each of the interpreters that wait for a run has one, and the last is made last.
        let workers = variables.iter().find(|(name, _)| *name == "MAX_WORKERS");
        let workers: f64 = workers.map_or(4.0, |(_, count)| count.parse().unwrap());
        eventually("all interpreters", || {
            watched.server.metric("callgate_beds_ready") >= workers
        });
        // What is opened at the first run of an interpreter, as its cgroup's files are, is there from then on.
        std::thread::scope(|scope| {
            for _ in 0..workers as usize {
                scope.spawn(|| watched.run("import time\ntime.sleep(0.5)"));
            }
        });
        eventually("all interpreters again", || {
            watched.server.metric("callgate_beds_ready") >= workers
        });
        watched.idle("the first runs");
        watched.before = watched.now();
        watched
    }

    /// The answer to a run, whatever it is.
    pub fn run(&self, code: &str) -> Value {
        self.server.run(code)
    }

    /// It answers, and correctly.
    pub fn answers(&self) {
        let data = self.run("print(sum(range(10)))");
        assert_eq!(
            (&data["stdout"], &data["exit_code"], &data["error"]),
            (&json!("45\n"), &json!(0), &json!("")),
            "{data:#}"
        );
    }

    /// It answers the next request correctly, and nothing is left of the ones before.
    pub fn holds(&self, after: &str) {
        self.answers();
        self.clean(after);
        self.answers();
    }

    /// Nothing runs.
    pub fn idle(&self, after: &str) {
        eventually(&format!("no thread of a run after {after}"), || {
            !threads(self.server.pid()).iter().any(|name| name == "run")
        });
        // What is made ahead is there when nothing has come and gone for a while.
        let mut since = Instant::now();
        let mut last = self.now();
        let end = since + LONG;
        while since.elapsed() < Duration::from_millis(300) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.now();
            if (now.processes, &now.descriptors) != (last.processes, &last.descriptors) {
                since = Instant::now();
            }
            last = now;
        }
    }

    /// Nothing is left.
    pub fn clean(&self, after: &str) {
        self.idle(after);
        let end = Instant::now() + LONG;
        let same = |now: &State| {
            now.processes <= self.before.processes
                && now.cgroups <= self.before.cgroups
                && now.mounts.is_subset(&self.before.mounts)
                && now.files == self.before.files
                && now.descriptors.len() <= self.before.descriptors.len()
        };
        let mut now = self.now();
        while !same(&now) {
            assert!(
                Instant::now() < end,
                "after {after}: {}",
                self.before.difference(&now)
            );
            std::thread::sleep(Duration::from_millis(50));
            now = self.now();
        }
    }

    fn now(&self) -> State {
        let pid = self.server.pid();
        let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let mut files = BTreeSet::new();
        for at in ["tmp", "cache"] {
            below(&self.dir.path().join(at), &mut files);
        }
        State {
            processes: self.processes().len(),
            cgroups: self.cgroups().len(),
            mounts: mounts.lines().map(str::to_owned).collect(),
            files,
            descriptors: descriptors(pid),
        }
    }

    /// The processes of this server's runs: what has its interpreter's path in its command line, and what it
    /// is the parent of.
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = self.python.to_str().unwrap();
        let own = format!("\nPPid:\t{}\n", self.server.pid());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(pid) = name.parse::<i32>() else { continue };
            let read = |what: &str| std::fs::read(entry.path().join(what)).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let status = String::from_utf8_lossy(&read("status")).into_owned();
            // The server itself has the path among its flags.
            if pid != self.server.pid() && (line.starts_with(mark) || status.contains(&own)) {
                let line: String = line.chars().take(100).collect();
                found.push((
                    pid,
                    format!("{line}: {}", status.lines().take(3).collect::<Vec<_>>().join(" ")),
                ));
            }
        }
        found
    }

    /// The cgroups of this server's runs.
    fn cgroups(&self) -> Vec<PathBuf> {
        let own = format!("-{}-", self.server.pid());
        let all = crate::exec::leaks::cgroups();
        all.into_iter()
            .filter(|at| at.to_string_lossy().contains(&own))
            .collect()
    }

    /// The server's own resident memory in bytes, runs not counted.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
    }
}

/// Everything below a directory.
fn below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let at = entry.path();
        if at.ends_with("callgate/found") {
            continue; // what is kept for later runs: what an interpreter and its root are
        }
        if dir.ends_with("callgate/roots") {
            // So are copied roots, one for each uid. What runs can write to is not.
            for scratch in ["tmp", "dev/shm"] {
                below(&at.join(scratch), found);
            }
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&at, found);
        }
        found.insert(at.display().to_string());
    }
}

/// A request with the key, and what the server is to wait for after it.
pub fn head(length: usize) -> String {
    format!(
        "POST /v1/sandbox/run HTTP/1.1\r\nHost: x\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}
