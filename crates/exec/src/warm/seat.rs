//! The set-up of a fork, from the steps of a cold run: some are its init's, the rest its tracer's to make.

use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;

use callgate_abi::Filter;
use callgate_launch::{Call, Failure, Memory, Step};
use callgate_python::prelude::Marker;
use callgate_rootfs::Identity;
use callgate_tracee::{Injector, Stopped};

use crate::outcome::SetUpFailure;
use crate::supervise::WatchError;

/// Room for the calls and what they point to.
const ROOM: u64 = 16 << 10;

/// What a fork enters.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// These namespaces (`CLONE_NEW*`) of an init.
    Namespaces(u64),
    /// A directory, with these capabilities of its template's, which are not in effect.
    Directory(u64),
}

/// The descriptors of a fork that its set-up uses, by their numbers there.
pub(super) struct Numbers {
    /// Of what it enters: a pidfd of the init, or the directory.
    pub(super) into: RawFd,
    pub(super) seat: RawFd,
    pub(super) ruleset: Option<RawFd>,
}

/// Parts the steps that a cold run's child makes into those that the init can make for the fork, as they only
/// fill what the fork will use, and those that change the fork itself.
pub(super) fn part(steps: Vec<Step>) -> (Vec<Step>, Vec<Step>) {
    steps
        .into_iter()
        .partition(|step| matches!(step, Step::LandlockAllow { .. }))
}

/// The fork's steps: into the cgroup and the namespaces first, then what a cold run's child does, but for the filters
/// that it had from the start.
pub(super) fn steps(
    joins: Vec<Step>,
    into: Way,
    own: &[Step],
    numbers: &Numbers,
    had: &[Filter],
) -> Vec<Step> {
    let mut all = Vec::new();
    if let Way::Directory(capabilities) = into {
        all.push(Step::Capabilities {
            effective: capabilities,
            permitted: capabilities,
        });
    }
    all.extend(joins);
    if let Way::Namespaces(namespaces) = into {
        let of_cgroups = libc::CLONE_NEWCGROUP as u64;
        all.extend([
            Step::Enter {
                process: numbers.into,
                namespaces: namespaces & !of_cgroups,
            },
            // Its own, as the root of the view is the run's cgroup, which it has just joined.
            Step::Unshare(of_cgroups),
        ]);
    }
    all.extend(own.iter().filter_map(|step| match (step, numbers.ruleset) {
        // Its parent is the template, which is not what ends a run.
        (Step::DieWithParent, _) => None,
        // Its template is in another directory, and no path leads to this one.
        (Step::Chroot(path), _) => Some(Step::ChrootInto {
            directory: numbers.into,
            path: path.clone(),
        }),
        // Its template has it, and so does it: the kernel translates a filter anew for each that loads it.
        (Step::Seccomp(filter), _) if had.contains(filter) => None,
        (Step::LandlockEnforce { .. }, Some(ruleset)) => Some(Step::LandlockEnforce { ruleset }),
        (Step::CloseExcept(kept), _) => Some(Step::CloseExcept([kept.as_slice(), &[numbers.seat]].concat())),
        (step, _) => Some(step.clone()),
    }));
    all
}

/// The kernel's last capability.
pub(super) fn last_capability() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
    text.trim().parse().map_err(std::io::Error::other)
}

/// Makes a fork that is at the exit of the marker call do the steps, and answers the marker.
pub(super) fn perform(tracee: Stopped, steps: &[Step], last_capability: u64) -> Result<Stopped, WatchError> {
    let mut injector = Injector::new(tracee, false)?;
    make(&mut injector, steps, last_capability)?;
    Ok(injector.finish(Some(Marker::ACK as i64))?)
}

/// Makes a stopped process do the steps.
pub(super) fn make(injector: &mut Injector, steps: &[Step], last_capability: u64) -> Result<(), WatchError> {
    let at = injector.below_stack(ROOM);
    let mut memory = Memory::at(at);
    let mut calls = Vec::new();
    let mut whose = Vec::new();
    for step in steps {
        let Some(part) = step.calls(&mut memory, last_capability) else {
            // A step that is new to cold runs, and nobody has said how a fork does it.
            return Err(failed(step, libc::ENOSYS));
        };
        whose.resize(whose.len() + part.len(), step);
        calls.extend(part.into_iter().map(|Call { nr, args }| (nr, args)));
    }
    if let Err((place, errno)) = injector.run((at, ROOM), memory.bytes(), &calls)? {
        return Err(match whose.get(place) {
            Some(step) => failed(step, errno as i32),
            None => WatchError::Pidfd(errno),
        });
    }
    Ok(())
}

/// Looks whether a fork has one thread, and no more processes than itself have its memory (which its template's guard
/// sees to): what it is made to do with capabilities, nobody else has a hand in.
pub(super) fn alone(pid: i32) -> Result<(), WatchError> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    if threads == 1 {
        Ok(())
    } else {
        Err(WatchError::Stray(pid))
    }
}

fn failed(step: &Step, errno: i32) -> WatchError {
    WatchError::Step(Failure {
        step: step.name(),
        subject: step.subject(),
        errno,
        exec: false,
    })
}

/// Looks from outside whether a fork has given up what it had: its set-up was made by other means than a cold
/// run's, and nothing may depend on that.
pub(super) fn check(pid: i32, who: Identity) -> Result<(), SetUpFailure> {
    // With room for all of it: it would be read in ever larger parts.
    let mut status = String::with_capacity(4096);
    let read =
        File::open(format!("/proc/{pid}/status")).and_then(|mut file| file.read_to_string(&mut status));
    if read.is_err() {
        status.clear();
    }
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let four = |id: u32| format!("{id} {id} {id} {id}");
    let none = "0000000000000000";
    let wanted = [
        ("Uid:", four(who.uid)),
        ("Gid:", four(who.gid)),
        ("Groups:", String::new()),
        ("CapInh:", none.to_owned()),
        ("CapPrm:", none.to_owned()),
        ("CapEff:", none.to_owned()),
        ("CapBnd:", none.to_owned()),
        ("CapAmb:", none.to_owned()),
        ("NoNewPrivs:", "1".to_owned()),
        ("Threads:", "1".to_owned()),
    ];
    for (name, value) in wanted {
        let found = field(name);
        if found.as_deref() != Some(value.as_str()) {
            let found = found.unwrap_or_else(|| "nothing".to_owned());
            return Err(SetUpFailure {
                step: "template".to_owned(),
                error: format!("a fork has {name} {found} where {value:?} was set"),
                advice: None,
            });
        }
    }
    Ok(())
}
