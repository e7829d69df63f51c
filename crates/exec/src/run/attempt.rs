//! The course of a run, from what is asked to its outcome.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use callgate_abi::Filter;
use callgate_launch::memory_file;
use callgate_tracee::Stopper;
use nix::errno::Errno;

use super::launching::{launch, launch_failed};
use super::program::Program;
use super::request::{Io, Network, Run};
use super::streams::{finish, streams};
use super::system;
use super::work::Work;
use crate::attend::attend;
use crate::cgroup::{Absent, Cgroup};
use crate::filtering;
use crate::ground::{Prepared, prepare, tidy};
use crate::landlock;
use crate::network::opened;
use crate::outcome::{Outcome, SetUpFailure, Unready, Usage};
use crate::setup::{Ready, SetUp, advice, namespaces};
use crate::tier::{Tier, TierChoice};
use crate::verdict::judge;

/// Prepares, launches, attends and judges it.
pub(super) fn attempt(run: &Run, started: impl FnOnce(Stopper)) -> Result<Outcome, Unready> {
    let Prepared {
        tier,
        ground,
        identity,
        notes,
        ..
    } = &prepare(run)?;
    let filter = loaded(run, *tier)?;
    let code = match &run.program {
        Program::Script { code, .. } => Some(memory_file(code).map_err(system("memfd_create"))?),
        Program::Command { .. } => None,
    };
    let mut work = Work::new(run, ground, *tier)?;
    let landlock = landlock_layer(run)?;
    let (cgroup, lack) = cgroup_layer(identity.uid, run)?;
    let (streams, captures) = streams(run)?;
    let set_up = SetUp {
        tier: *tier,
        ground,
        identity: *identity,
        limits: &run.limits,
        network: run.network,
        lock: run.lock,
        filtering: run.filtering,
        code: code.as_ref().map(AsRawFd::as_raw_fd),
        streams: &streams,
        files: &run.files,
        landlock: landlock.as_ref(),
        cgroup: cgroup.as_ref(),
    };
    let Ready { init, steps, layers } = set_up.ready();
    let launch = launch(run, code.as_ref())?.init(init).steps(steps);
    let begun = Instant::now();
    let process = launch.start().map_err(launch_failed)?;
    let clock = cgroup.as_ref().and_then(Cgroup::clock);
    let handed_over = || drop((streams, code));
    let in_place = |command| work.open(command);
    let attended = attend(
        (run, &filter),
        *tier,
        clock,
        process,
        handed_over,
        in_place,
        started,
    )?;
    let wall = begun.elapsed();
    let readings = cgroup.as_ref().map(Cgroup::readings).unwrap_or_default();
    drop(cgroup);

    let mut outcome = judge(run, &attended, &readings)?;
    // Before what it left is removed.
    work.bring_out(&mut outcome);
    if *tier == Tier::Container {
        outcome.notes.extend(tidy(ground, identity.uid));
    }
    if let Some(captures) = captures {
        finish(captures, run.io == Io::Capture, &mut outcome);
    }
    outcome.tier = Some(*tier);
    outcome.layers = layers;
    if run.network == Network::Host {
        outcome.network = Some(run.network);
        let scoped = landlock.as_ref().is_some_and(landlock::Layer::scopes_sockets);
        outcome.notes.push(opened(scoped));
    }
    outcome.notes.extend(notes.iter().cloned());
    if landlock.is_none() {
        outcome.missing.push("landlock: this kernel has none".to_owned());
    }
    if let Some(absent) = lack {
        match tier {
            Tier::Full => outcome.missing.push(format!("cgroup: {absent}")),
            Tier::Container | Tier::Unprivileged => {}
        }
        outcome.notes.push(format!(
            "without a cgroup the limits of memory and CPU time are of each process, not of all together ({absent})"
        ));
    }
    let used = attended.reports.usage.unwrap_or_default();
    outcome.usage = Usage {
        wall_ms: millis(wall),
        cpu_ms: millis(readings.cpu.unwrap_or(used.cpu)),
        max_rss_bytes: used.max_rss_bytes,
        memory_peak_bytes: readings.memory_peak,
        pids_peak: readings.pids_peak,
    };
    Ok(outcome)
}

/// The program that is loaded: the policy's, or one that tells of what it refuses.
fn loaded(run: &Run, tier: Tier) -> Result<Filter, SetUpFailure> {
    filtering::check(run.filtering)?;
    let separate = !namespaces(tier).is_empty();
    filtering::program(&run.filter, run.filtering, separate).map_err(|error| SetUpFailure {
        step: "seccomp".to_owned(),
        error: error.to_string(),
        advice: None,
    })
}

/// The ruleset of this kernel's Landlock; without it tier full can't be had.
fn landlock_layer(run: &Run) -> Result<Option<landlock::Layer>, SetUpFailure> {
    let refused = |error: &dyn std::fmt::Display| SetUpFailure {
        step: "landlock_create_ruleset".to_owned(),
        error: error.to_string(),
        advice: advice("landlock_restrict_self", Errno::EPERM),
    };
    let layer = match landlock::version().map_err(|errno| refused(&errno))? {
        Some(version) => landlock::Layer::new(version, run.network).map_err(|error| refused(&error))?,
        None => None,
    };
    if layer.is_none() && run.tier == TierChoice::Exactly(Tier::Full) {
        return Err(SetUpFailure {
            step: "landlock".to_owned(),
            error: "this kernel has no Landlock, which is a layer of tier full".to_owned(),
            advice: Some("boot with lsm=landlock,… (Linux 5.13 or newer), or use --tier auto".to_owned()),
        });
    }
    Ok(layer)
}

/// The run's cgroup, or why there is none; without it tier full can't be had.
fn cgroup_layer(uid: u32, run: &Run) -> Result<(Option<Cgroup>, Option<Absent>), SetUpFailure> {
    match Cgroup::new(uid, &run.limits) {
        Ok(cgroup) => Ok((Some(cgroup), None)),
        Err(absent) if run.tier == TierChoice::Exactly(Tier::Full) => Err(SetUpFailure {
            step: "cgroup".to_owned(),
            error: absent.to_string(),
            advice: advice("cgroup", Errno::EACCES),
        }),
        Err(absent) => Ok((None, Some(absent))),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
