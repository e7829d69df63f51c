//! A nursery and its residents, in the kernel.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use callgate_launch::{Init, Networks, Nursery, Step};
use callgate_testing::{available, root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAMESPACES: u64 =
    (libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNET) as u64;

fn init(steps: Vec<Step>) -> Init {
    Init {
        namespaces: NAMESPACES,
        steps,
        ..Init::default()
    }
}

/// A namespace of a process. Held open, its number is nobody else's.
fn namespace(pid: Pid, kind: &str) -> File {
    File::open(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

fn number(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

/// Neither there nor a zombie's.
fn has_ended(pid: Pid) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'),
        Err(_) => true,
    }
}

fn soon(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn residents_follow_one_another_in_namespaces_of_their_own_but_for_the_network_unless_it_is_asked_for() {
    if !available("root", root()) {
        return;
    }
    for networks in [Networks::InTurn, Networks::Each] {
        follow_one_another(networks);
    }
}

fn follow_one_another(networks: Networks) {
    let mut nursery = Nursery::start(init(vec![Step::Hostname(c"resident".into())]), networks).unwrap();
    let mut before: Vec<Vec<File>> = Vec::new();
    let kinds = ["pid", "ipc", "uts", "net"];
    let own: Vec<u64> = kinds.map(|kind| number(&namespace(Pid::this(), kind))).into();
    for _ in 0..3 {
        let pid = nursery.bear().unwrap().unwrap();
        let all: Vec<File> = kinds.map(|kind| namespace(pid, kind)).into();
        for (at, kind) in kinds.iter().enumerate() {
            assert_ne!(number(&all[at]), own[at], "{kind} is not ours");
            for other in &before {
                let same = number(&all[at]) == number(&other[at]);
                assert_eq!(same, *kind == "net" && networks == Networks::InTurn, "{kind}");
            }
        }
        before.push(all);
        assert!(!has_ended(pid));
        kill(pid, Signal::SIGKILL).unwrap();
        soon(|| has_ended(pid));
        // Until the next is asked for, nobody else can have its number.
        assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
    }
}

#[test]
fn a_step_that_fails_is_told_and_the_next_resident_is_tried_anew() {
    if !available("root", root()) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let inside = place.path().join("inside");
    let path = std::ffi::CString::new(inside.to_str().unwrap()).unwrap();
    let mut nursery = Nursery::start(init(vec![Step::Chdir(path)]), Networks::InTurn).unwrap();
    let failure = nursery.bear().unwrap().unwrap_err();
    assert_eq!((failure.step, failure.errno), ("chdir", libc::ENOENT));
    assert_eq!(failure.subject.as_deref(), inside.to_str());
    std::fs::create_dir(&inside).unwrap();
    let pid = nursery.bear().unwrap().unwrap();
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), inside);
}

/// The parent of a process.
fn parent(pid: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    Pid::from_raw(parent.unwrap().trim().parse().unwrap())
}

#[test]
fn a_resident_ends_with_its_nursery_that_is_given_up() {
    if !available("root", root()) {
        return;
    }
    let mut nursery = Nursery::start(init(Vec::new()), Networks::InTurn).unwrap();
    let resident = nursery.bear().unwrap().unwrap();
    drop(nursery);
    soon(|| has_ended(resident));
}

#[test]
fn a_nursery_that_is_killed_says_so_and_leaves_its_resident_until_it_is_given_up() {
    if !available("root", root()) {
        return;
    }
    let mut nursery = Nursery::start(init(Vec::new()), Networks::InTurn).unwrap();
    let resident = nursery.bear().unwrap().unwrap();
    let killed = parent(resident);
    kill(killed, Signal::SIGKILL).unwrap();
    soon(|| has_ended(killed));
    // It would have ended when it was adopted, at the latest.
    soon(|| parent(resident) != killed);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!has_ended(resident));
    assert!(nursery.bear().is_err());
    drop(nursery);
    soon(|| has_ended(resident));
}

#[test]
fn a_subreaper_is_left_no_zombie_by_nurseries_that_end() {
    if !available("root", root()) {
        return;
    }
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    for killed in [false, true] {
        let mut nursery = Nursery::start(init(Vec::new()), Networks::InTurn).unwrap();
        let resident = nursery.bear().unwrap().unwrap();
        if killed {
            kill(resident, Signal::SIGKILL).unwrap();
            soon(|| has_ended(resident));
        }
        drop(nursery);
        assert!(!std::fs::exists(format!("/proc/{resident}")).unwrap());
    }
}

#[test]
fn a_nursery_that_is_killed_while_it_makes_a_resident_leaves_none() {
    if !available("root", root()) {
        return;
    }
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    for microseconds in (0..1000).step_by(20) {
        let mut nursery = Nursery::start(init(Vec::new()), Networks::InTurn).unwrap();
        let resident = nursery.bear().unwrap().unwrap();
        let parent = parent(resident);
        kill(resident, Signal::SIGKILL).unwrap();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(microseconds));
            kill(parent, Signal::SIGKILL).unwrap();
        });
        let _ = nursery.bear();
        killer.join().unwrap();
        drop(nursery);
    }
    // Of this test and of those beside it, which don't leave theirs either.
    let own = format!("\nPPid:\t{}\n", std::process::id());
    let left = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok())
            .any(|status| status.contains(&own) && status.contains("\nState:\tZ"))
    };
    soon(|| !left());
}

#[test]
fn a_resident_that_is_killed_while_it_is_made_is_told() {
    if !available("root", root()) {
        return;
    }
    // It says nothing then, and the nursery waits for the next word: nobody would answer. Not the first of a namespace,
    // which would not stop.
    let init = Init {
        namespaces: libc::CLONE_NEWUTS as u64,
        steps: vec![Step::Halt],
        ..Init::default()
    };
    let mut nursery = Nursery::start(init, Networks::InTurn).unwrap();
    for _ in 0..2 {
        let stopped = std::thread::scope(|scope| {
            let born = scope.spawn(|| nursery.bear());
            soon(|| stopped().is_some());
            let stopped = stopped().unwrap();
            // As long as it can answer, it is waited for.
            std::thread::sleep(Duration::from_millis(100));
            assert!(!born.is_finished());
            kill(stopped, Signal::SIGKILL).unwrap();
            let told = born.join().unwrap();
            assert_eq!(told.unwrap_err().to_string(), "it was killed while it was made");
            stopped
        });
        assert!(has_ended(stopped));
    }
}

/// A stopped child of a child of this process.
fn stopped() -> Option<Pid> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .find(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = |name| status.lines().find_map(|line| line.strip_prefix(name));
            let parent = |line: &str| format!("/proc/{}/status", line.trim());
            let above = line("PPid:")
                .map(parent)
                .and_then(|at| std::fs::read_to_string(at).ok());
            let ours = format!("\nPPid:\t{}\n", std::process::id());
            line("State:").is_some_and(|state| state.trim().starts_with('T'))
                && above.is_some_and(|above| above.contains(&ours))
        })
}

#[test]
fn a_nursery_can_be_made_beside_threads_that_wait_for_their_own_children_only() {
    if !available("root", root()) {
        return;
    }
    // A tracer waits until it has no child left: it would wait for a nursery for ever.
    let _nursery = Nursery::start(init(Vec::new()), Networks::InTurn).unwrap();
    let flags = nix::sys::wait::WaitPidFlag::__WALL | nix::sys::wait::WaitPidFlag::__WNOTHREAD;
    assert_eq!(
        nix::sys::wait::waitpid(None, Some(flags)),
        Err(nix::errno::Errno::ECHILD)
    );
}
