//! A place for one run, made ahead: an init in new namespaces, and a fork in it that waits for its program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use callgate_launch::{Launch, Step};
use callgate_rootfs::Entry;
use callgate_tracee::{Options, Stopper, Tracer};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::channel;
use super::generation::{Generation, failure};
use super::seat::{Numbers, check, last_capability, part, perform, steps};
use crate::attend::{first_to_go, tracing};
use crate::cgroup::{Absent, Cgroup, Readings};
use crate::files::Files;
use crate::filtering::Filtering;
use crate::ground::Prepared;
use crate::landlock::Layer;
use crate::mounted::Standing;
use crate::outcome::SetUpFailure;
use crate::run::{Run, cgroup_layer, landlock_layer, launch_failed, system};
use crate::setup::{Ground, Ready, SetUp, Streams, explain, namespaces};
use crate::supervise::{Seen, Watch, WatchError};
use crate::verdict::judge;

/// A bed with its fork. Dropping it ends both.
pub(super) struct Bed<'a> {
    // The order matters: the init is ended before its cgroup is removed.
    init: Init,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) fork: i32,
    tracer: Tracer,
    watch: Watch<'a>,
    seat: OwnedFd,
    layers: Vec<String>,
    landlock: Option<Layer>,
    no_cgroup: Option<Absent>,
}

/// What is known when its run is over.
pub(super) struct Over {
    pub(super) seen: Seen,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) layers: Vec<String>,
    pub(super) landlock: Option<Layer>,
    pub(super) no_cgroup: Option<Absent>,
}

/// An init of ours, by its number: it has not been waited for.
struct Init {
    pid: Pid,
    over: bool,
}

impl Drop for Init {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let _ = kill(self.pid, Signal::SIGKILL);
        // It ends when all in its namespace have been waited for, of which some are our tracees.
        let all = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None, Some(all)) {
                // One that stops on its way must be let go.
                Ok(WaitStatus::PtraceEvent(pid, ..) | WaitStatus::Stopped(pid, _)) => {
                    let _ = ptrace::cont(pid, None);
                }
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == self.pid => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// The template's root, to be copied; not if something stands in its scratch directories, of which a bed has its
/// own.
fn standing(root: &Prepared, generation: &Generation) -> Option<Standing> {
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
        identity: generation.identity,
    })
}

impl<'a> Bed<'a> {
    /// Makes one, and waits until its fork has given up every privilege.
    pub(super) fn make(
        run: &'a Run,
        root: &Prepared,
        generation: &Generation,
        on_command: &'a mut dyn FnMut(i32) -> Result<(), WatchError>,
    ) -> Result<Self, SetUpFailure> {
        let landlock = landlock_layer(run)?;
        let (cgroup, no_cgroup) = cgroup_layer(root.identity.uid, run)?;
        let set_up = SetUp {
            tier: root.tier,
            ground: &root.ground,
            standing: standing(root, generation),
            identity: root.identity,
            limits: &run.limits,
            network: run.network,
            lock: run.lock,
            code: None,
            sign: None,
            filtering: Filtering::Enforced,
            streams: &Streams::default(),
            files: &Files::default(),
            landlock: landlock.as_ref(),
            cgroup: cgroup.as_ref(),
            tasks: None,
        };
        let Ready {
            init: mut plan,
            steps: own,
            layers,
        } = set_up.ready();
        let (filled, own) = part(own);
        plan.steps.insert(0, Step::DieWithParent);
        plan.steps.extend(filled);
        // It needs no privilege any more; and who enters its namespaces must have all that it has (setns(2),
        // which asks for PTRACE_MODE_READ).
        plan.steps.push(Step::NoCapabilities);

        let mut process = Launch::resident(plan).start().map_err(launch_failed)?;
        let init = Init {
            pid: process.pid(),
            over: false,
        };
        process.go().map_err(system("an init's start"))?;
        if let Some(failed) = process.ready().map_err(system("an init's start"))? {
            return Err(explain(&failed));
        }
        let mut tracer =
            Tracer::seize(init.pid.as_raw(), Options::SUPERVISE).map_err(|error| tracing(&error))?;

        let handle = Stopper::new(init.pid.as_raw());
        let handle = handle.map_err(|errno| failure(format!("pidfd_open: {errno}"), None))?;
        let pidfd = handle
            .pidfd()
            .ok_or_else(|| failure("no pidfd".to_owned(), None))?;
        let (seat, theirs) = channel::pair().map_err(system("socketpair"))?;
        let doors = match &cgroup {
            Some(cgroup) => cgroup
                .doors()
                .map_err(|absent| failure(format!("cgroup: {absent}"), None))?,
            None => Vec::new(),
        };
        let mut fds: Vec<BorrowedFd<'_>> = vec![pidfd, theirs.as_fd()];
        fds.extend(landlock.as_ref().map(AsFd::as_fd));
        fds.extend(doors.iter().map(|(door, _)| door.as_fd()));
        let (fork, numbers) = generation.fork(&fds).map_err(system("a fork of the template"))?;
        drop(theirs);
        let mut numbers = numbers.into_iter();
        let mut next = || {
            numbers
                .next()
                .ok_or_else(|| failure("it lost a descriptor".to_owned(), None))
        };
        let known = Numbers {
            init: next()?,
            seat: next()?,
            ruleset: match &landlock {
                Some(_) => Some(next()?),
                None => None,
            },
        };
        let mut joins = Vec::new();
        for (_, path) in &doors {
            joins.push(Step::JoinCgroup {
                tasks: next()?,
                path: path.clone(),
            });
        }
        let entered = namespaces(root.tier)
            .into_iter()
            .map(|(flag, _)| flag)
            .filter(|flag| *flag != libc::CLONE_NEWPID as u64)
            .sum();
        let own = steps(joins, entered, &own, &known);

        // A number alone could be another's by now.
        let place = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid"));
        tracer.join(fork).map_err(|error| tracing(&error))?;
        if place(fork).ok() != place(init.pid.as_raw()).ok() {
            return Err(failure(format!("its fork {fork} is not in its bed"), None));
        }
        let last = last_capability().map_err(system("cap_last_cap"))?;
        let mut watch = Watch::over_guest(init.pid.as_raw(), fork, &run.filter, on_command);
        channel::send(&seat, &[]).map_err(system("a word to a fork"))?;
        let seated = watch
            .seat(&mut tracer, &mut |tracee| perform(tracee, &own, last))
            .map_err(|error| tracing(&error))?;
        let mut bed = Self {
            init,
            cgroup,
            fork,
            tracer,
            watch,
            seat,
            layers,
            landlock,
            no_cgroup,
        };
        if !seated {
            bed.init.over = true;
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

    /// Gives the fork its program and its streams.
    pub(super) fn give(&self, code: &OwnedFd, streams: &Streams) -> io::Result<()> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let ours = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let theirs = [&streams.stdin, &streams.stdout, &streams.stderr];
        let mut fds = vec![code.as_fd()];
        for (theirs, ours) in theirs.into_iter().zip(ours) {
            fds.push(theirs.as_ref().map_or(ours, AsFd::as_fd));
        }
        channel::send(&self.seat, &fds)
    }

    /// Follows the run to its end.
    pub(super) fn follow(mut self) -> Result<Over, SetUpFailure> {
        let seen = self
            .watch
            .follow(&mut self.tracer)
            .map_err(|error| tracing(&error))?;
        self.init.over = true;
        Ok(Over {
            seen,
            cgroup: self.cgroup.take(),
            layers: std::mem::take(&mut self.layers),
            landlock: self.landlock.take(),
            no_cgroup: self.no_cgroup.take(),
        })
    }
}
