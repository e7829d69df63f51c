//! Many runs in a row, all by one supervisor: nothing of them stays, on the host or in the supervisor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)] // helpers, figures

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use callgate_abi::{Action, Filter, Instruction};
use callgate_exec::{Input, Io, Program, Root, Run, Status, Tier, TierChoice, run};
use callgate_testing::{available, root};

/// What runs leave if they leave anything.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    descriptors: usize,
    threads: usize,
    children: String,
    mounts: usize,
    /// Cgroups whose names have this process's number.
    cgroups: Vec<PathBuf>,
    /// System V IPC objects.
    objects: usize,
    temporary: usize,
}

fn entries(dir: impl AsRef<Path>) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

fn kept() -> Kept {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let own = format!("-{}-", std::process::id());
    let mut cgroups = Vec::new();
    let mut left = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.starts_with("callgate-") {
                    left.push(entry.path());
                } else if name.contains(&own) {
                    cgroups.push(entry.path());
                }
            }
        }
    }
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    Kept {
        descriptors: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        children: tasks
            .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default())
            .collect(),
        mounts: read("/proc/self/mountinfo").lines().count(),
        cgroups,
        objects: ["shm", "sem", "msg"]
            .iter()
            .map(|kind| read(&format!("/proc/sysvipc/{kind}")).lines().count())
            .sum(),
        temporary: std::fs::read_dir(std::env::temp_dir())
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("callgate-run-"))
            .count(),
    }
}

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A run that leaves a file and a process, and ends in one of several ways.
fn asked(i: usize, tier: Tier) -> Run {
    let end = ["exit 0", "exit 7", "kill -9 $$", "kill -STOP $$"][i % 4];
    let line = format!("echo x > left; (while :; do :; done) & echo {i}; {end}");
    let program = Program::Command {
        program: "/bin/sh".into(),
        argv: ["sh", "-c", &line].map(Into::into).to_vec(),
    };
    let allow = Instruction {
        code: 0x06, // BPF_RET | BPF_K
        jt: 0,
        jf: 0,
        k: Action::Allow.ret(),
    };
    let mut asked = Run::new(program, Root::ForCommand("/bin/sh".into()), Filter(vec![allow]));
    asked.tier = TierChoice::Exactly(tier);
    asked.io = Io::Capture;
    asked.input = Input::Empty;
    asked.timeout = Some(Duration::from_millis(if i % 4 == 3 { 50 } else { 60_000 }));
    asked
}

fn row(count: usize, tier: Tier) {
    let once = |i: usize| {
        let outcome = run(&asked(i, tier), |_| {});
        let expected = match i % 4 {
            0 | 1 => Status::Exited,
            2 => Status::Signaled,
            _ => Status::Timeout,
        };
        assert_eq!(outcome.status, expected, "{i}: {outcome:#?}");
        if i % 4 != 3 {
            assert_eq!(outcome.stdout, Some(format!("{i}\n")), "{i}");
        }
    };
    // What is made once and kept on purpose is made by the first few.
    (0..8).for_each(once);
    let (before, memory, begun) = (kept(), resident(), Instant::now());
    (0..count).for_each(once);
    let took = begun.elapsed();
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut after = kept();
    // A thread that has been told to end may still be at it.
    while after != before && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
        after = kept();
    }
    let grown = resident().saturating_sub(memory);
    println!(
        "{count} runs at tier {tier} in {took:.1?}: {after:?}, memory {memory} KiB and {grown} KiB more"
    );
    assert_eq!(after, before);
    assert!(grown < 4096, "{grown} KiB more than before {count} runs");
}

#[test]
fn runs_in_a_row_leave_nothing_in_the_supervisor() {
    if !available("root", root()) {
        return;
    }
    row(24, Tier::Full);
    row(24, Tier::Container);
}

/// `CALLGATE_RUNS=10000 cargo test --release -p callgate-exec --test stress -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes: for CALLGATE_RUNS runs in a row, by hand"]
fn thousands_of_runs_in_a_row_leave_nothing_in_the_supervisor() {
    let count = std::env::var("CALLGATE_RUNS").map_or(10_000, |count| count.parse().unwrap());
    row(count, Tier::Full);
    row(count / 10, Tier::Container);
}
