//! Attends a run from its first process to its end: attaches, gives the word, keeps the limits of time.

use std::io;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use callgate_abi::Filter;
use callgate_launch::{Reports, Started};
use callgate_tracee::{Options, Stopper, TraceeError};
use nix::errno::Errno;
use nix::sys::wait::waitpid;

use crate::cgroup::CpuClock;
use crate::outcome::SetUpFailure;
use crate::run::{Run, Word, system};
use crate::seize::seize;
use crate::setup::explain;
use crate::supervise::{Seen, Watch, WatchError};
use crate::tier::Tier;
use crate::timings::{Moments, Stage};
use crate::workers;

/// What is known of a run when it is over.
#[derive(Debug, Default)]
pub(crate) struct Attended {
    /// What was seen from outside.
    pub(crate) seen: Seen,
    /// What its own processes reported.
    pub(crate) reports: Reports,
    /// Why it was stopped, if it was: a [`Word`].
    pub(crate) word: Option<u32>,
}

/// How long the CPU time is left unread at the most, and at the least.
const LONGEST: Duration = Duration::from_millis(200);
const SHORTEST: Duration = Duration::from_millis(2);

/// The limits of time, kept by a thread of ours.
struct Watchdog {
    process: Stopper,
    /// When to end the run.
    deadline: Option<Instant>,
    /// Its clock, and how much of it the run may use.
    cpu: Option<(CpuClock, Duration)>,
    /// How many CPUs can use up time at once.
    cpus: u32,
}

impl Watchdog {
    /// Waits for the run's end or for a limit.
    fn watch(self, ended: &mpsc::Receiver<()>) {
        loop {
            let mut wait = match self.deadline {
                Some(deadline) => deadline.saturating_duration_since(Instant::now()),
                None => Duration::MAX,
            };
            if wait.is_zero() {
                return self.process.stop(Word::Timeout as u32);
            }
            if let Some((clock, limit)) = &self.cpu {
                // One that can't be read any more belongs to a cgroup that is gone.
                let Some(left) = clock.read().map(|used| limit.saturating_sub(used)) else {
                    return;
                };
                if left.is_zero() {
                    return self.process.stop(Word::Cpu as u32);
                }
                wait = wait.min((left / self.cpus).clamp(SHORTEST, LONGEST));
            }
            if ended.recv_timeout(wait) != Err(mpsc::RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

/// How many CPUs there are for us. Asked once: the answer takes reading several files.
fn cpus() -> u32 {
    static CPUS: OnceLock<u32> = OnceLock::new();
    *CPUS.get_or_init(|| thread::available_parallelism().map_or(1, |n| n.get() as u32))
}

/// Keeps a run's limits of time, from now on and until what is returned goes. `None` if there are none.
pub(crate) fn keep_time(
    run: &Run,
    clock: Option<CpuClock>,
    process: &Stopper,
) -> io::Result<Option<mpsc::Sender<()>>> {
    let cpu = run.limits.cpu.and_then(|limit| Some((clock?, limit)));
    if run.timeout.is_none() && cpu.is_none() {
        return Ok(None);
    }
    let (done, ended) = mpsc::channel();
    let watchdog = Watchdog {
        process: process.clone(),
        deadline: run.timeout.and_then(|limit| Instant::now().checked_add(limit)),
        cpu,
        cpus: cpus(),
    };
    workers::spawn(move || watchdog.watch(&ended))?;
    Ok(Some(done))
}

/// Watches the run to its end; `filter` is the program that is loaded for the run's own. The init goes on when `made` says
/// that it can; with its error the run ends there. `in_place` learns the command's pid when it stands in its root and has
/// not begun; if it fails, the run ends there, too. `executed` learns that an interpreter has begun to start. What earlier
/// runs found out need be looked at only before the filter is in force: an interpreter takes long to start, and is not the
/// code.
pub(crate) fn attend(
    (run, filter): (&Run, &Filter),
    tier: Tier,
    clock: Option<CpuClock>,
    (mut process, mut moments): (Started, Moments),
    (made, handed_over): (impl FnOnce() -> Result<(), SetUpFailure>, impl FnOnce()),
    (mut in_place, executed): (impl FnMut(i32) -> Result<(), WatchError>, impl Fn()),
    started: impl FnOnce(Stopper),
) -> Result<Attended, SetUpFailure> {
    let init = process.pid();
    let mut tracer = match seize(init.as_raw(), Options::SUPERVISE) {
        Ok(tracer) => tracer,
        Err(error) => {
            // It waits for a word from us, and ends without one. If it has ended before, it says why.
            let reports = process.reports();
            let _ = waitpid(init, None);
            return Err(match reports.ok().and_then(|reports| reports.failure) {
                Some(failure) => explain(&failure),
                None => tracing(&error),
            });
        }
    };
    moments.end(Stage::Clone);
    let fit = match tier {
        Tier::Unprivileged => map_ids(init.as_raw()).map_err(system("writing uid_map")),
        Tier::Full | Tier::Container | Tier::Landlock => made(),
    };
    // An init that is gone already says so in its report; one without its ids or namespaces gets no word, and ends.
    match &fit {
        Ok(()) => drop(process.go()),
        Err(_) => process.give_up(),
    }
    // The children have their own copies; with ours open the streams would never end.
    handed_over();
    let mut done = None;
    let mut started = Some(started);
    let mut stopper = None;
    let mut clock = Some(clock);
    let mut on_command = |pid: i32| {
        let handle = Stopper::new(pid).map_err(WatchError::Pidfd)?;
        first_to_go(pid);
        in_place(pid)?;
        if let Some(clock) = clock.take() {
            done = keep_time(run, clock, &handle)
                .map_err(|error| WatchError::Pidfd(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
        }
        if let Some(started) = started.take() {
            started(handle.clone());
        }
        stopper = Some(handle);
        Ok(())
    };
    let holds = || run.cache.holds();
    let watch = Watch::new(
        init.as_raw(),
        run.lock,
        run.program.sign(run.lock),
        (filter, run.filtering),
        &mut on_command,
    )
    .timed(moments)
    .freeing_init(tier == Tier::Full)
    .telling(&executed)
    .resting_on(&holds);
    // Elsewhere the init does it, in its pid namespace or among its uid's processes.
    let watch = if tier == Tier::Landlock {
        watch.ending_the_rest()
    } else {
        watch
    };
    let mut seen = watch.follow(&mut tracer).map_err(|e| tracing(&e))?;
    seen.moments.end(Stage::Teardown);
    drop(done);
    let reports = process.reports().map_err(system("reading the report"))?;
    if let Err(error) = fit {
        // What failed in it comes first.
        return Err(reports.failure.as_ref().map_or(error, explain));
    }
    Ok(Attended {
        seen,
        reports,
        word: stopper.and_then(|handle| handle.word()),
    })
}

/// When memory is short, in the run's cgroup or on the whole host, the code goes first: neither its init,
/// which ends and reaps the rest, nor anybody else (proc_pid_oom_score_adj(5)).
pub(crate) fn first_to_go(command: i32) {
    // Raising it needs no privilege. A command that is gone already needs it no more.
    let _ = std::fs::write(format!("/proc/{command}/oom_score_adj"), "1000");
}

/// Maps our own ids into a new user namespace, as themselves (user_namespaces(7)).
fn map_ids(init: i32) -> io::Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    std::fs::write(format!("/proc/{init}/setgroups"), "deny")?;
    std::fs::write(format!("/proc/{init}/uid_map"), format!("{uid} {uid} 1"))?;
    std::fs::write(format!("/proc/{init}/gid_map"), format!("{gid} {gid} 1"))
}

pub(crate) fn tracing(error: &TraceeError) -> SetUpFailure {
    SetUpFailure {
        step: "ptrace".to_owned(),
        error: error.to_string(),
        advice: None,
    }
}
