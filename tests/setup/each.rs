//! Each call of the set-up is made to fail, one after another, at every tier: whichever it is, nothing runs.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::CANARY;
use crate::exec::places::Place;
use crate::exec::{feed, marked, outcome_of, unique};
use crate::support::sys::{Asked, answer, ask_about};

/// What steps are made of (`callgate_launch::Step`), with what makes the processes that run them.
const CALLS: &[i64] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_chdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_sethostname,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_close_range,
    libc::SYS_write,
    libc::SYS_unshare,
    libc::SYS_setsid,
    libc::SYS_umask,
    libc::SYS_prlimit64,
    libc::SYS_prctl,
    libc::SYS_setgroups,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_capset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
];

fn link(pid: u32, name: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap_or_default()
}

fn is_callgate(pid: u32) -> bool {
    link(pid, "exe")
        .file_name()
        .is_some_and(|name| name == "callgate")
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

/// Whether a call is one of the set-up: made by a copy of callgate that has not become the command yet, of what
/// the kernel keeps for it. What it reports by the pipe, and what it does when the run is over, are not.
fn is_step(asked: &Asked) -> bool {
    let write = i64::from(asked.nr) == libc::SYS_write;
    // The word for a cgroup's file is one byte; a report has more.
    is_callgate(asked.pid) && parent(asked.pid).is_some_and(is_callgate) && (!write || asked.args[2] == 1)
}

/// Whether it has become the command: its init and its supervisor have not.
fn is_command(pid: u32) -> bool {
    let init = parent(pid).filter(|init| is_callgate(*init));
    !is_callgate(pid) && init.and_then(parent).is_some_and(is_callgate)
}

/// What tells a call from others of the same number.
type Kind = (i32, u64);

fn kind(asked: &Asked) -> Kind {
    let told = match i64::from(asked.nr) {
        libc::SYS_prctl => asked.args[0],
        libc::SYS_prlimit64 => asked.args[1],
        _ => 0,
    };
    (asked.nr, told)
}

/// Runs it with the `n`th call of the set-up failing, if that is not `None`; returns the outcome and the calls up
/// to that one.
fn run(place: &Place, n: Option<usize>, mark: &str) -> (Value, Vec<Kind>) {
    let variable = format!("MARK={mark}");
    let flags = ["--timeout", "60", "--env", &variable];
    let mut command = place.command(&flags);
    // No channel: from the filter on, nobody may allocate but for other processes (`answer`).
    let (ready, listener) = (AtomicBool::new(false), AtomicI32::new(-1));
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            ready.store(true, Ordering::SeqCst);
            let (mut calls, mut begun) = (Vec::new(), false);
            answer(
                waited(|| Some(listener.load(Ordering::SeqCst)).filter(|fd| *fd >= 0)),
                |asked| {
                    // What the init does when the run is over is none of the set-up.
                    begun |= is_command(asked.pid);
                    if begun || n.is_some_and(|n| calls.len() > n) || !is_step(asked) {
                        return None;
                    }
                    calls.push(kind(asked));
                    (n.map(|n| n + 1) == Some(calls.len())).then_some(libc::EPERM)
                },
            );
            calls
        });
        // The filter is this thread's and its children's, and goes with them.
        let runs = scope.spawn(|| {
            let code = format!("print('{CANARY}')\n");
            waited(|| ready.load(Ordering::SeqCst).then_some(()));
            let held = ask_about(CALLS);
            listener.store(held.as_raw_fd(), Ordering::SeqCst);
            (feed(&mut command, code.as_bytes()), held)
        });
        let (output, _held) = runs.join().unwrap();
        (outcome_of(&output), answers.join().unwrap())
    })
}

/// Waits until there is one.
fn waited<T>(mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        match look() {
            Some(found) => return found,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Which of the calls are tried: with CALLGATE_EVERY_CALL all of them, else of each kind the first two and the
/// last, since hundreds are alike (a mount for each file, a capability after the other).
fn chosen(calls: &[Kind]) -> Vec<usize> {
    if std::env::var_os("CALLGATE_EVERY_CALL").is_some() {
        return (0..calls.len()).collect();
    }
    let mut of: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
    for (n, kind) in calls.iter().enumerate() {
        of.entry(*kind).or_default().push(n);
    }
    let some = |all: &Vec<usize>| {
        let last = all.last().filter(|_| all.len() > 2).copied();
        all.iter().take(2).copied().chain(last).collect::<Vec<_>>()
    };
    of.values().flat_map(some).collect()
}

/// Tries them at one tier; returns how many of how many.
fn each(place: &Place) -> (usize, usize) {
    let mark = unique("mark");
    // The interpreter is asked about itself once, and that is no step.
    place.outcome(&[], "");
    let (whole, calls) = run(place, None, &mark);
    assert_eq!(whole["stdout"], format!("{CANARY}\n"), "{whole:#}");
    let chosen = chosen(&calls);
    for n in &chosen {
        let (outcome, until) = run(place, Some(*n), &mark);
        let call = until.last();
        assert_eq!(
            (&outcome["status"], &outcome["exit_code"], &outcome["stdout"]),
            (&json!("setup_failed"), &json!(125), &Value::Null),
            "tier {}, call {n} ({call:?}): {outcome:#}",
            place.tier()
        );
        let error = outcome["setup"]["error"].as_str().unwrap();
        assert!(error.contains("EPERM"), "{call:?}: {outcome:#}");
        assert_eq!(marked(&mark), [""; 0]);
    }
    (chosen.len(), calls.len())
}

#[test]
fn every_step_of_the_set_up_that_fails_leaves_the_code_unrun() {
    let places = Place::all();
    let counts: Vec<_> = std::thread::scope(|scope| {
        let tried: Vec<_> = places
            .iter()
            .map(|place| scope.spawn(move || (place.tier(), each(place))))
            .collect();
        tried.into_iter().map(|tier| tier.join().unwrap()).collect()
    });
    for (tier, (tried, all)) in counts {
        println!("tier {tier}: {tried} of {all} calls of the set-up failed, one by one");
        assert!(tried > 20, "{tier}: {tried}");
    }
}
