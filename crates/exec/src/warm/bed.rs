//! A place for one run, made ahead: an init in new namespaces, and a fork in it that waits for its program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use callgate_launch::{Step, memory_file};
use callgate_python::template;
use callgate_rootfs::Entry;
use callgate_tracee::Tracer;

use super::channel;
use super::generation::{Generation, failure};
use super::nest::Nest;
use super::place::{Anchor, Place, directory};
use super::seat::{Numbers, alone, check, perform, steps};
use crate::attend::{first_to_go, tracing};
use crate::cgroup::{Absent, Cgroup, Readings};
use crate::files::Files;
use crate::filtering::Filtering;
use crate::ground::{Prepared, empty_scratch};
use crate::landlock::Layer;
use crate::mounted::Standing;
use crate::outcome::SetUpFailure;
use crate::run::{Run, cgroup_layer, landlock_layer, system};
use crate::setup::{Ground, Ready, SetUp, Streams};
use crate::supervise::{Seen, Watch, WatchError};
use crate::verdict::judge;

/// A bed with its fork. Dropping it ends both.
pub(super) struct Bed<'a> {
    // The order matters: its processes are ended before its cgroup is removed.
    anchor: Anchor,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) fork: i32,
    tracer: Tracer,
    watch: Watch<'a>,
    seat: OwnedFd,
    layers: Vec<String>,
    landlock: Option<Layer>,
    no_cgroup: Option<Absent>,
}

/// How a program is given.
pub(super) enum Given<'a> {
    Inline(&'a [u8]),
    File(OwnedFd),
}

impl<'a> Given<'a> {
    pub(super) fn of(program: &'a [u8]) -> io::Result<Self> {
        match program.len() <= template::INLINE_MOST {
            true => Ok(Self::Inline(program)),
            false => Ok(Self::File(memory_file(program)?)),
        }
    }
}

/// What is known when its run is over.
pub(super) struct Over {
    pub(super) seen: Seen,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) layers: Vec<String>,
    pub(super) landlock: Option<Layer>,
    pub(super) no_cgroup: Option<Absent>,
}

/// The set-up of a bed.
pub(super) fn ready(
    run: &Run,
    root: &Prepared,
    standing: Option<Standing>,
    landlock: Option<&Layer>,
    cgroup: Option<&Cgroup>,
) -> Ready {
    let set_up = SetUp {
        tier: root.tier,
        ground: &root.ground,
        standing,
        identity: root.identity,
        limits: &run.limits,
        network: run.network,
        lock: run.lock,
        code: None,
        sign: None,
        filtering: Filtering::Enforced,
        streams: &Streams::default(),
        files: &Files::default(),
        landlock,
        cgroup,
        eager: false,
        made: None,
        tasks: None,
    };
    set_up.ready()
}

/// The template's root, to be copied; not if something stands in its scratch directories, of which a bed has its
/// own.
pub(super) fn standing(root: &Prepared, generation: &Generation) -> Option<Standing> {
    let process = generation.pidfd()?;
    if let Ground::Planned(plan) = &root.ground {
        let scratch = plan.iter().filter(|(_, entry)| matches!(entry, Entry::Tmp));
        for (at, _) in scratch {
            if plan.below(at).next().is_some() {
                return None;
            }
        }
    }
    Some(Standing {
        process,
        identity: generation.root.identity,
    })
}

impl<'a> Bed<'a> {
    /// Makes one, and waits until its fork has given up every privilege.
    pub(super) fn make(
        run: &'a Run,
        root: &Prepared,
        generation: &Generation,
        nest: &mut Nest,
        on_command: &'a mut dyn FnMut(i32) -> Result<(), WatchError>,
    ) -> Result<Self, SetUpFailure> {
        let landlock = landlock_layer(run)?;
        let (mut cgroup, no_cgroup) = cgroup_layer(nest.cgroup(root.identity.uid, &run.limits), run)?;
        let plan = nest.plan(run, root, landlock.as_ref(), cgroup.as_ref());
        let place = match directory(root) {
            Some(dir) => {
                // Whatever a run left that could not be removed then.
                empty_scratch(dir).map_err(system("emptying the scratch directory"))?;
                Place::beside(dir)?
            }
            None => Place::inside(nest.nursery()?, root.tier)?,
        };
        if let Some(layer) = &landlock {
            let inside = place.root().map_err(system("opening the root"))?;
            layer.fill(inside.as_fd(), &plan.fill).map_err(|(at, error)| {
                failure(format!("landlock_add_rule: {}: {error}", at.display()), None)
            })?;
        }
        let (seat, theirs) = channel::pair().map_err(system("socketpair"))?;
        let doors = match &mut cgroup {
            Some(cgroup) => cgroup
                .doors()
                .map_err(|absent| failure(format!("cgroup: {absent}"), None))?,
            None => Vec::new(),
        };
        let (word, door) = place.door()?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![door, theirs.as_fd()];
        fds.extend(landlock.as_ref().map(AsFd::as_fd));
        fds.extend(doors.iter().map(|(door, _)| door.as_fd()));
        let (fork, numbers) = generation
            .fork(word, &fds)
            .map_err(system("a fork of the template"))?;
        drop(theirs);
        let mut numbers = numbers.into_iter();
        let mut next = || {
            numbers
                .next()
                .ok_or_else(|| failure("it lost a descriptor".to_owned(), None))
        };
        let known = Numbers {
            into: next()?,
            seat: next()?,
            ruleset: match &landlock {
                Some(_) => Some(next()?),
                None => None,
            },
        };
        let mut joins = Vec::new();
        for (_, path) in doors {
            joins.push(Step::JoinCgroup { tasks: next()?, path });
        }
        let own = steps(joins, place.way(), &plan.own, &known, &generation.filters);
        let (anchor, init, mut tracer) = place.attach(fork, generation)?;
        let watch = Watch::over_guest(init, fork, &run.filter, on_command);
        let mut watch = watch.guarded(generation.guard);
        channel::send(&seat, b'!', &[], &[]).map_err(system("a word to a fork"))?;
        let seated = watch
            .seat(&mut tracer, &mut |tracee| {
                alone(fork)?;
                perform(tracee, &own, nest.last_capability)
            })
            .map_err(|error| tracing(&error))?;
        let mut bed = Self {
            anchor,
            cgroup,
            fork,
            tracer,
            watch,
            seat,
            layers: plan.layers.clone(),
            landlock,
            no_cgroup,
        };
        if !seated {
            bed.anchor.over = true;
            let seen = bed
                .watch
                .follow(&mut bed.tracer)
                .map_err(|error| tracing(&error))?;
            let attended = crate::attend::Attended {
                seen,
                ..Default::default()
            };
            judge(run, &attended, &Readings::default())?;
            return Err(failure("a fork ended while it was set up".to_owned(), None));
        }
        check(fork, root.identity)?;
        first_to_go(fork);
        Ok(bed)
    }

    /// Gives the fork its program, which is in a file if it is a long one, and its streams. `usual` says that these are
    /// what [`template::USUAL`] says.
    pub(super) fn give(&self, program: &Given<'_>, streams: &Streams, usual: bool) -> io::Result<()> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let ours = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let theirs = [&streams.stdin, &streams.stdout, &streams.stderr];
        let mut fds = Vec::new();
        for (theirs, ours) in theirs.into_iter().zip(ours) {
            fds.push(theirs.as_ref().map_or(ours, AsFd::as_fd));
        }
        let usual = if usual { template::USUAL } else { 0 };
        match program {
            Given::Inline(bytes) => channel::send(&self.seat, usual | template::INLINE, bytes, &fds),
            Given::File(file) => {
                fds.push(file.as_fd());
                channel::send(&self.seat, usual, &[], &fds)
            }
        }
    }

    /// Follows the run to its end.
    pub(super) fn follow(mut self) -> Result<Over, SetUpFailure> {
        let seen = self
            .watch
            .follow(&mut self.tracer)
            .map_err(|error| tracing(&error))?;
        self.anchor.over = true;
        Ok(Over {
            seen,
            cgroup: self.cgroup.take(),
            layers: std::mem::take(&mut self.layers),
            landlock: self.landlock.take(),
            no_cgroup: self.no_cgroup.take(),
        })
    }
}
