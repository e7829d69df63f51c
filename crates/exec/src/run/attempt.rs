//! The course of a run, from what is asked to its outcome.

use std::os::fd::AsRawFd;
use std::time::Instant;

use callgate_abi::Filter;
use callgate_tracee::Stopper;
use nix::errno::Errno;

use super::conclude::Course;
use super::launching::{Code, launch, launch_failed};
use super::request::Run;
use super::streams::streams;
use super::system;
use super::work::Work;
use crate::attend::attend;
use crate::cgroup::{Absent, Cgroup};
use crate::early::{Early, Rest};
use crate::filtering;
use crate::ground::{Prepared, prepare_early, tidy};
use crate::host;
use crate::landlock;
use crate::lock::Lock;
use crate::outcome::{Outcome, SetUpFailure, Unready};
use crate::setup::{Ground, Ready, SetUp, advice, namespaces};
use crate::supervise::WatchError;
use crate::tier::{Tier, TierChoice};
use crate::timings::{Moments, Stage};

/// Prepares, launches, attends and judges it.
pub(super) fn attempt(run: &Run, early: Early, started: impl FnOnce(Stopper)) -> Result<Outcome, Unready> {
    let mut moments = Moments::since(run.timed_since);
    moments.end(Stage::Ready);
    // What needs neither the tier nor the uid, while these are made.
    let code = Code::of(run)?;
    let (prepared, rest) = prepare_early(run, early)?;
    let Prepared {
        tier,
        ground,
        identity,
        notes,
        ..
    } = &prepared;
    moments.end(Stage::Plan);
    let filter = loaded(run, *tier)?;
    let mut work = Work::new(run, ground, *tier)?;
    let landlock = landlock_layer(run)?;
    let (streams, captures) = streams(run)?;
    let cgroup = rest
        .as_ref()
        .and_then(Rest::cgroup)
        .unwrap_or_else(|| Cgroup::new(identity.uid, &run.limits));
    let (cgroup, lack) = cgroup_layer(cgroup, run)?;
    let set_up = SetUp {
        tier: *tier,
        ground,
        standing: None,
        identity: *identity,
        limits: &run.limits,
        network: run.network,
        lock: run.lock,
        filtering: run.filtering,
        code: code.as_ref().map(|code| code.fd.as_raw_fd()),
        sign: run.program.sign(run.lock),
        streams: &streams,
        files: &run.files,
        landlock: landlock.as_ref(),
        cgroup: cgroup.as_ref(),
        // As root its ids are mapped already.
        eager: *tier == Tier::Full,
        made: rest.as_ref().and_then(Rest::spaces),
        tasks: match tier {
            Tier::Landlock => Some(host::tasks_of(identity.uid).map_err(system("counting processes"))?),
            Tier::Full | Tier::Container | Tier::Unprivileged => None,
        },
    };
    let Ready { init, steps, layers } = set_up.ready();
    let home = match ground {
        Ground::Host { scratch, .. } => Some(scratch.path()),
        Ground::Planned(_) | Ground::Directory(_) => None,
    };
    let launch = launch(run, code.as_ref(), home)?.init(init).steps(steps);
    moments.end(Stage::Prepare);
    let begun = Instant::now();
    let process = launch.start().map_err(launch_failed)?;
    let clock = cgroup.as_ref().and_then(Cgroup::clock);
    let handed_over = || drop((streams, code));
    let made = || rest.as_ref().map_or(Ok(()), Rest::made);
    let in_place = |command| {
        // With the lock at the exec it is known too late if it is not looked at now.
        if let (Some(rest), Lock::Exec) = (&rest, run.lock) {
            rest.look(false);
        }
        work.open(command)
            .map_err(|error| WatchError::WorkDirectory(error.to_string()))
    };
    let executed = || {
        if let Some(rest) = &rest {
            rest.look(true);
        }
    };
    let mut attended = attend(
        (run, &filter),
        *tier,
        clock,
        (process, moments),
        (made, handed_over),
        (in_place, executed),
        started,
    )?;
    let wall = begun.elapsed();
    let course = Course {
        tier: *tier,
        layers,
        notes,
        landlock: landlock.as_ref(),
        no_cgroup: lack,
        wall,
    };
    let readings = cgroup.as_ref().map(Cgroup::readings).unwrap_or_default();
    drop(cgroup);
    let mut outcome = course.conclude(run, &attended, &readings, captures)?;
    // Before what it left is removed.
    work.bring_out(&mut outcome);
    if matches!(tier, Tier::Container | Tier::Landlock) {
        outcome.notes.extend(tidy(ground, identity.uid));
    }
    attended.seen.moments.end(Stage::Conclude);
    outcome.timings = attended.seen.moments.timings();
    Ok(outcome)
}

/// The program that is loaded: the policy's, or one that tells of what it refuses.
fn loaded(run: &Run, tier: Tier) -> Result<Filter, SetUpFailure> {
    filtering::check(run.filtering, tier)?;
    let separate = !namespaces(tier).is_empty();
    filtering::program(&run.filter, run.filtering, separate).map_err(|error| SetUpFailure {
        step: "seccomp".to_owned(),
        error: error.to_string(),
        advice: Some(
            "use a policy with fewer conditions on arguments, or run without --explain and --learn"
                .to_owned(),
        ),
    })
}

/// The ruleset of this kernel's Landlock; without it tier full can't be had.
pub(crate) fn landlock_layer(run: &Run) -> Result<Option<landlock::Layer>, SetUpFailure> {
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
pub(crate) fn cgroup_layer(
    made: Result<Cgroup, Absent>,
    run: &Run,
) -> Result<(Option<Cgroup>, Option<Absent>), SetUpFailure> {
    match made {
        Ok(cgroup) => Ok((Some(cgroup), None)),
        Err(absent) if run.tier == TierChoice::Exactly(Tier::Full) => Err(SetUpFailure {
            step: "cgroup".to_owned(),
            error: absent.to_string(),
            advice: advice("cgroup", Errno::EACCES),
        }),
        Err(absent) => Ok((None, Some(absent))),
    }
}
