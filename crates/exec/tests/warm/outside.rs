//! A warm run's process as the kernel shows it to others: what it may do, where it is, what it holds.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use callgate_exec::{Input, Io, Job, Program, Run, Spec, Template, run};
use callgate_testing::{available, root};
use callgate_tracee::Stopper;

use crate::contained::contained;
use crate::support::{interpreter, number, spec};

const WAITS: &str = "import time\nwhile True: time.sleep(60)\n";

/// What `/proc` says of a process, by name, as far as it could be the same for another.
fn state(pid: i32) -> BTreeMap<String, String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let mut state = BTreeMap::new();
    for line in read("status").lines() {
        let (name, value) = line.split_once(':').unwrap();
        let value = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let of_code = [
            "Uid",
            "Gid",
            "Groups",
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp",
            "Seccomp_filters",
            "SigBlk",
            "SigIgn",
            "SigCgt",
            "SigPnd",
            "ShdPnd",
            "Umask",
            "Threads",
            "CoreDumping",
            "Speculation_Store_Bypass",
            "THP_enabled",
        ];
        if of_code.contains(&name) {
            state.insert(name.to_owned(), value);
        } else if ["NSpid", "NSsid", "NSpgid"].contains(&name) {
            // As it sees itself.
            state.insert(name.to_owned(), value.rsplit(' ').next().unwrap().to_owned());
        }
    }
    for name in [
        "limits",
        "oom_score_adj",
        "coredump_filter",
        "personality",
        "autogroup",
        "setgroups",
        "uid_map",
    ] {
        if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/{name}")) {
            // A session has an autogroup with a number of its own.
            let text = if name == "autogroup" {
                text.split(' ').nth(1).unwrap_or("").to_owned()
            } else {
                text
            };
            state.insert(name.to_owned(), text);
        }
    }
    for space in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{space}")).unwrap();
        let own = of(&pid.to_string()) != of("self");
        state.insert(format!("{space} namespace of its own"), own.to_string());
    }
    for link in ["cwd", "root"] {
        let at = fs::read_link(format!("/proc/{pid}/{link}")).unwrap();
        state.insert(link.to_owned(), at.display().to_string());
    }
    let mut fds: Vec<String> = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let what = fs::read_link(entry.path()).unwrap().display().to_string();
        let kind = what.split(':').next().unwrap().to_owned();
        let flags = fs::read_to_string(format!(
            "/proc/{pid}/fdinfo/{}",
            entry.file_name().to_str().unwrap()
        ))
        .unwrap();
        let flags = flags
            .lines()
            .find(|line| line.starts_with("flags:"))
            .unwrap()
            .to_owned();
        fds.push(format!("{} {kind} {flags}", entry.file_name().to_str().unwrap()));
    }
    fds.sort();
    state.insert("descriptors".to_owned(), fds.join(", "));
    // The last mount at a place is the one that is seen.
    let mut mounts = BTreeMap::new();
    for line in read("mountinfo").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let dash = words.iter().position(|word| *word == "-").unwrap();
        mounts.insert(
            words[4].to_owned(),
            format!("{} {} {}", words[3], words[5], words[dash + 1]),
        );
    }
    for (at, what) in mounts {
        state.insert(format!("mount {at}"), what);
    }
    let cgroups: Vec<String> = read("cgroup")
        .lines()
        .filter(|line| line.contains("callgate-"))
        .map(|line| line.split(':').nth(1).unwrap().to_owned())
        .collect();
    state.insert("cgroups".to_owned(), cgroups.join(" "));
    state
}

/// The state when the code has been reached, which is when the last of so many filters is in force.
fn settled(pid: i32, filters: usize) -> BTreeMap<String, String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status
            .lines()
            .any(|line| line == format!("Seccomp_filters:\t{filters}"))
        {
            // It is on its way to its first line still.
            std::thread::sleep(Duration::from_millis(500));
            return state(pid);
        }
        assert!(Instant::now() < deadline, "{pid}: {status}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn nothing_but_what_is_named_differs_from_a_cold_run() {
    if !available("root", root()) {
        return;
    }
    differs_in_nothing(spec(&[]), "true");
}

#[test]
fn nothing_but_what_is_named_differs_from_a_cold_run_without_namespaces() {
    if !available("root", root()) {
        return;
    }
    differs_in_nothing(contained(&[]), "false");
}

fn differs_in_nothing(mut spec: Spec, separate: &str) {
    spec.beds = 1;
    let program = Program::Script {
        executable: interpreter().executable.clone(),
        code: WAITS.into(),
        name: "<code>".to_owned(),
        args: Vec::new(),
    };
    let mut cold = Run::new(program, spec.root.clone(), spec.filter.clone());
    cold.io = Io::Capture;
    cold.tier = spec.tier;
    cold.input = Input::Empty;
    let (tell, told) = mpsc::channel();
    // The policy's, the marker's, that against keyrings; without namespaces one against sockets, and around a
    // template one more.
    let (cold_filters, warm_filters) = if separate == "true" { (3, 3) } else { (4, 5) };
    let started = |filters: usize| {
        let tell = tell.clone();
        move |stopper: Stopper| {
            std::thread::spawn(move || {
                let seen = std::panic::catch_unwind(|| settled(number(&stopper), filters));
                stopper.stop(1);
                tell.send(seen.unwrap()).unwrap();
            });
        }
    };
    let state = || told.recv_timeout(Duration::from_secs(60)).unwrap();
    run(&cold, started(cold_filters));
    let cold = state();
    let template = Template::start(spec).unwrap();
    template.run(Job::new(WAITS.into(), "<code>".to_owned()), started(warm_filters));
    let warm = state();
    let names: std::collections::BTreeSet<&String> = cold.keys().chain(warm.keys()).collect();
    let different: Vec<String> = names
        .into_iter()
        .filter(|name| cold.get(*name) != warm.get(*name))
        // Each run has a uid of its own.
        .filter(|name| !["Uid", "Gid"].contains(&name.as_str()))
        // As is its root there, and the numbers of its processes are the host's.
        .filter(|name| {
            separate == "true"
                || !["root", "cwd", "NSpid", "NSsid", "NSpgid", "Seccomp_filters"].contains(&name.as_str())
        })
        .map(|name| format!("{name}: cold {:?}, warm {:?}", cold.get(name), warm.get(name)))
        .collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(cold["CapBnd"], "0000000000000000");
    assert_eq!(cold["pid namespace of its own"], separate);
    assert_eq!(
        cold["cgroups"].split(' ').count(),
        warm["cgroups"].split(' ').count()
    );
}
