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
    libc::SYS_mknod,
    libc::SYS_mknodat,
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
    libc::SYS_setns,
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
    // Without it we can't attach to the process where it matters, and nothing runs either.
    let attachable = kind(asked) == (libc::SYS_prctl as i32, libc::PR_SET_DUMPABLE as u64);
    // The word for a cgroup's file is one byte; a report has more.
    is_callgate(asked.pid)
        && parent(asked.pid).is_some_and(is_callgate)
        && (!write || asked.args[2] == 1)
        && !attachable
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

/// Runs it with one call of the set-up failing, told by its kind and how many of that kind came before; returns
/// the outcome, the calls up to that one, and whether there was such a call.
fn run(place: &Place, target: Option<(Kind, usize)>, mark: &str) -> (Value, Vec<Kind>, bool) {
    let variable = format!("MARK={mark}");
    let flags = ["--timeout", "60", "--env", &variable];
    let mut command = place.command(&flags);
    // No channel: from the filter on, nobody may allocate but for other processes (`answer`).
    let (ready, listener) = (AtomicBool::new(false), AtomicI32::new(-1));
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            ready.store(true, Ordering::SeqCst);
            let (mut calls, mut begun, mut failed) = (Vec::new(), false, false);
            answer(
                waited(|| Some(listener.load(Ordering::SeqCst)).filter(|fd| *fd >= 0)),
                |asked| {
                    // What the init does when the run is over is none of the set-up.
                    begun |= is_command(asked.pid);
                    if begun || failed || !is_step(asked) {
                        return None;
                    }
                    let kind = kind(asked);
                    let before = calls.iter().filter(|known| **known == kind).count();
                    calls.push(kind);
                    failed = target == Some((kind, before));
                    failed.then_some(libc::EPERM)
                },
            );
            (calls, failed)
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
        let (calls, failed) = answers.join().unwrap();
        (outcome_of(&output), calls, failed)
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
fn chosen(calls: &[Kind]) -> Vec<(Kind, usize)> {
    let every = std::env::var_os("CALLGATE_EVERY_CALL").is_some();
    let mut of: BTreeMap<Kind, usize> = BTreeMap::new();
    for kind in calls {
        *of.entry(*kind).or_default() += 1;
    }
    let some = |(kind, count): (Kind, usize)| {
        let tried = (0..count).filter(move |k| every || *k < 2 || k + 1 == count);
        tried.map(move |k| (kind, k))
    };
    of.into_iter().flat_map(some).collect()
}

/// Tries them at one tier; returns how many of how many.
fn each(place: &Place) -> (usize, usize) {
    let mark = unique("mark");
    // The interpreter is asked about itself once, and that is no step.
    place.outcome(&[], "");
    let (whole, calls, _) = run(place, None, &mark);
    assert_eq!(whole["stdout"], format!("{CANARY}\n"), "{whole:#}");
    let chosen = chosen(&calls);
    let mut tried = 0;
    for n in &chosen {
        let (outcome, until, failed) = run(place, Some(*n), &mark);
        let call = until.last();
        // How many of a kind there are varies by a few: with the numbers of descriptors, and with what
        // is found in caches.
        if !failed {
            assert!(
                n.1 > 0 && outcome["stdout"] == format!("{CANARY}\n"),
                "{n:?}: {outcome:#}"
            );
            continue;
        }
        tried += 1;
        // A user who is refused a namespace gets the other form of that tier, and is told; once it is begun, nothing
        // runs at any.
        let told = "tier unprivileged takes its form without namespaces here";
        let notes = outcome["notes"].to_string();
        if place.tier() == "unprivileged" && notes.contains(told) {
            assert!(
                outcome["tier"] == "landlock" && notes.contains("EPERM"),
                "call {n:?} ({call:?}): {outcome:#}"
            );
        } else {
            assert_eq!(
                (&outcome["status"], &outcome["exit_code"], &outcome["stdout"]),
                (&json!("setup_failed"), &json!(125), &Value::Null),
                "tier {}, call {n:?} ({call:?}): {outcome:#}",
                place.tier()
            );
            let error = outcome["setup"]["error"].as_str().unwrap();
            assert!(error.contains("EPERM"), "{call:?}: {outcome:#}");
        }
        assert_eq!(marked(&mark), [""; 0], "tier {}, call {n:?}", place.tier());
    }
    (tried, calls.len())
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
