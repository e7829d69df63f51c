//! Watches a run from outside: installs the filter at its moment, reads violations, sees the end.

use std::collections::BTreeSet;

use callgate_abi::Filter;
use callgate_launch::Failure;
use callgate_tracee::{Event, Injector, Load, Moment, Reason, Resume, Stopped, TraceeError, Tracer, Usage};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::filtering::{Filtering, Refusal, Refusals};
use crate::lock::{Lock, MARKER_DATA, Sign};
use crate::near::Near;
use crate::outcome::Violation;
use crate::timings::{Moments, Stage};
use crate::violation::{Sightings, process_of};

/// What was seen of a run.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The filter was in force before the code ran.
    pub(crate) locked: bool,
    /// How the command ended, as a wait would tell: exit code or signal.
    pub(crate) end: Option<End>,
    /// The first refused call that ended a process.
    pub(crate) violation: Option<Violation>,
    /// The refused calls that ended nobody, where they are told, and how many are left out.
    pub(crate) refusals: (Vec<Refusal>, u64),
    /// Why the run was given up: before the lock the code never ran, after it the run was killed.
    pub(crate) error: Option<WatchError>,
    /// What the command used, and the children that it waited for.
    pub(crate) usage: Option<Usage>,
    /// When its stages ended, if that is asked for.
    pub(crate) moments: Moments,
}

/// How the command itself ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Killed(i32),
}

/// Why a run had to be given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// The kernel refused a request, or the tracee did something else than was asked.
    #[error(transparent)]
    Tracee(#[from] TraceeError),
    /// Without a pidfd nobody could end the run.
    #[error("no handle on the command (Linux 5.3 or newer): {0}")]
    Pidfd(Errno),
    /// What the code leaves could not be brought out later.
    #[error("its work directory can't be opened: {0}")]
    WorkDirectory(String),
    /// What an earlier run found out, and the root was made of, has been found to have changed.
    #[error("what an earlier run found out has changed meanwhile")]
    Stale,
    /// What the interpreter's start-up (a `.pth` file, `sitecustomize`) left behind would run unfiltered.
    #[error("the interpreter's start-up left process {0} running, which the filter would not reach")]
    Stray(i32),
    /// It would have run on one CPU only.
    #[error("it can't be let go from the CPU where its filter was installed: {0}")]
    Bound(Errno),
    /// A step of the set-up that is done in the command's place failed.
    #[error("{}: {}", .0.step, Errno::from_raw(.0.errno))]
    Step(Failure),
}

/// Where the command is on its way to the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It is the fork of a template, and not set up yet.
    Unseated,
    /// It is in the marker call at whose exit it is set up.
    AtSeat,
    /// It is set up, or (with the lock at the body) its interpreter starts.
    Starting,
    /// It is in the exec at whose exit the filter is installed.
    AtExec,
    /// Its interpreter starts, under the filter.
    Executed,
    /// It is in the prelude's marker call, at whose exit the prelude gets its answer.
    AtMarker,
    /// The code has been reached.
    Running,
}

/// Sets up a guest that is at the exit of the marker call, and answers the marker.
pub(crate) type Seat<'a> = dyn FnMut(Stopped) -> Result<Stopped, WatchError> + 'a;

/// The watch over one run.
pub(crate) struct Watch<'a> {
    init: i32,
    /// Every thread of the run that has shown itself and has not ended.
    tids: BTreeSet<i32>,
    /// The init has ended, and with it the run.
    over: bool,
    /// Nobody but us ends what the command leaves.
    ends_rest: bool,
    /// The command has ended, and with it what it has left.
    rest_goes: bool,
    command: Option<i32>,
    /// The command is not the init's child: the init does not see its end.
    guest: bool,
    /// What a filter around its template asks with, if there is one.
    guard: Option<u16>,
    phase: Phase,
    lock: Lock,
    /// By what the prelude tells that it waits for an answer, if there is one.
    sign: Option<Sign>,
    filter: &'a Filter,
    on_command: &'a mut dyn FnMut(i32) -> Result<(), WatchError>,
    /// The init is let go when the command is there.
    frees_init: bool,
    /// Learns that an interpreter has begun to start.
    executed: &'a dyn Fn(),
    /// The command is on our CPU, as long as this is there.
    near: Option<Near>,
    /// Whether what the set-up rests on holds.
    holds: &'a dyn Fn() -> bool,
    sightings: Sightings,
    refusals: Refusals,
    seen: Seen,
}

impl<'a> Watch<'a> {
    /// A watch over the run whose init is `init`, with the program to load. `on_command` learns the command's
    /// pid as soon as it has one, and the run is given up if it fails.
    pub(crate) fn new(
        init: i32,
        lock: Lock,
        sign: Option<Sign>,
        (filter, filtering): (&'a Filter, Filtering),
        on_command: &'a mut dyn FnMut(i32) -> Result<(), WatchError>,
    ) -> Self {
        Self {
            init,
            tids: BTreeSet::from([init]),
            over: false,
            ends_rest: false,
            rest_goes: false,
            command: None,
            guest: false,
            guard: None,
            phase: Phase::Starting,
            lock,
            sign,
            filter,
            on_command,
            frees_init: false,
            executed: &|| (),
            near: None,
            holds: &|| true,
            sightings: Sightings::default(),
            refusals: Refusals::new(filtering),
            seen: Seen::default(),
        }
    }

    /// A watch over a command that comes from elsewhere into the init's namespaces, and is set up there by
    /// [`Watch::seat`]: the fork of a template. Without it the init would stay: it ends when the command does.
    /// Without an init, the end of the command is the end of all that it has left, which must not be able to get
    /// away untraced.
    pub(crate) fn over_guest(
        init: Option<i32>,
        command: i32,
        filter: &'a Filter,
        on_command: &'a mut dyn FnMut(i32) -> Result<(), WatchError>,
    ) -> Self {
        let first = init.unwrap_or(command);
        Self {
            tids: BTreeSet::from([first, command]),
            command: Some(command),
            guest: init.is_some(),
            phase: Phase::Unseated,
            ..Self::new(
                first,
                Lock::Body,
                Some(Sign::PYTHON),
                (filter, Filtering::Enforced),
                on_command,
            )
        }
    }

    /// A filter around the command's template asks with `data` about what a run may do as far as the kernel lets it,
    /// and what is on its way to one may not.
    pub(crate) fn guarded(mut self, data: Option<u16>) -> Self {
        self.guard = data;
        self
    }

    /// Follows a guest to the marker at which it is set up by `seat`, and on its way from there. Whether it has
    /// come so far; if not, everything has ended, and [`Watch::follow`] tells why.
    pub(crate) fn seat(&mut self, tracer: &mut Tracer, seat: &mut Seat<'_>) -> Result<bool, TraceeError> {
        while self.phase != Phase::Starting {
            let Some(event) = tracer.wait()? else {
                return Ok(false);
            };
            match event {
                Event::Stopped(tracee) if Some(tracee.tid()) == self.command => {
                    let tid = tracee.tid();
                    let done = self.towards_seat(tracee, seat);
                    self.after_stop(tid, done);
                }
                event => self.turn(event, tracer.usage()),
            }
        }
        Ok(true)
    }

    fn towards_seat(&mut self, tracee: Stopped, seat: &mut Seat<'_>) -> Result<(), WatchError> {
        let how = match (tracee.reason(), self.phase) {
            (Reason::Seccomp, Phase::Unseated)
                if is_marker(&tracee, &Sign::PYTHON, |data| data == MARKER_DATA)? =>
            {
                self.phase = Phase::AtSeat;
                Resume::ToNextSyscall
            }
            (Reason::Syscall, Phase::AtSeat) if is_exit(&tracee)? => {
                let tracee = seat(tracee)?;
                self.phase = Phase::Starting;
                return Ok(tracee.resume(Resume::Freely)?);
            }
            (Reason::Seccomp, _) => {
                tracee.refuse(libc::ENOSYS as u16)?;
                Resume::Freely
            }
            (_, Phase::AtSeat) => Resume::ToNextSyscall,
            _ => Resume::Freely,
        };
        Ok(tracee.resume(how)?)
    }

    /// Notes when the stages end, if these moments are wanted.
    pub(crate) fn timed(mut self, moments: Moments) -> Self {
        self.seen.moments = moments;
        self
    }

    /// Lets go of the init when the command is there, which alone is watched then: else each signal that the init gets, and
    /// its end, waits for us. For one that is our child, that nobody of the run can trace, and that ends when we do.
    pub(crate) fn freeing_init(mut self, frees: bool) -> Self {
        self.frees_init = frees;
        self
    }

    /// Tells when an interpreter has begun to start, and there is nothing to do until it is ready.
    pub(crate) fn telling(mut self, executed: &'a dyn Fn()) -> Self {
        self.executed = executed;
        self
    }

    /// Asks before the filter is installed, which is the last moment before the code, whether that holds which the
    /// set-up was made of before it was looked at. If not, the run is given up.
    pub(crate) fn resting_on(mut self, holds: &'a dyn Fn() -> bool) -> Self {
        self.holds = holds;
        self
    }

    /// Kills what is left of the run when the command has ended. None of it can get away: a process that is
    /// born stops before its first instruction, as long as it can't be born untraced.
    pub(crate) fn ending_the_rest(mut self) -> Self {
        self.ends_rest = true;
        self
    }

    /// Follows the run until nothing of it is left.
    pub(crate) fn follow(mut self, tracer: &mut Tracer) -> Result<Seen, TraceeError> {
        while let Some(event) = tracer.wait()? {
            self.turn(event, tracer.usage());
        }
        self.seen.violation = self.sightings.first();
        self.seen.refusals = self.refusals.all();
        Ok(self.seen)
    }

    fn turn(&mut self, event: Event, usage: Usage) {
        match event {
            Event::Stopped(tracee) => {
                let tid = tracee.tid();
                self.tids.insert(tid);
                let done = self.stopped(tracee);
                self.after_stop(tid, done);
            }
            Event::Exited { tid, code } => self.ended(tid, End::Exited(code), usage),
            Event::Killed { tid, signal } => self.ended(tid, End::Killed(signal), usage),
        }
    }

    fn after_stop(&mut self, tid: i32, done: Result<(), WatchError>) {
        match done {
            Ok(()) => {}
            // Its end may be reported yet, or has been, where it could not be told from others.
            Err(WatchError::Tracee(error)) if error.is_gone() => {
                self.tids.remove(&tid);
            }
            Err(error) => self.give_up(tid, error),
        }
    }

    /// Whatever went wrong, nothing may go on that we don't watch.
    fn give_up(&mut self, tid: i32, error: WatchError) {
        // When the command is dead its init kills the rest; without a command there is only the init.
        let command = self.command.filter(|command| self.tids.contains(command));
        for tid in [tid, command.unwrap_or(self.init)] {
            let _ = kill(Pid::from_raw(tid), Signal::SIGKILL);
        }
        self.seen.error.get_or_insert(error);
    }

    fn ended(&mut self, tid: i32, end: End, usage: Usage) {
        self.tids.remove(&tid);
        if Some(tid) == self.command && self.seen.end.is_none() {
            self.seen.end = Some(end);
            self.seen.moments.end(Stage::Code);
            self.seen.usage = Some(usage);
            if self.guest {
                let _ = kill(Pid::from_raw(self.init), Signal::SIGKILL);
            }
            if self.ends_rest {
                self.rest_goes = true;
                for tid in self.tids.iter().filter(|tid| **tid != self.init) {
                    let _ = kill(Pid::from_raw(*tid), Signal::SIGKILL);
                }
            }
        }
        if tid == self.init {
            // In a pid namespace everything is dead by now. Elsewhere the init may have been killed
            // before it could kill the rest. They are our tracees, so their numbers are still theirs.
            self.over = true;
            for tid in &self.tids {
                let _ = kill(Pid::from_raw(*tid), Signal::SIGKILL);
            }
        }
    }

    fn stopped(&mut self, tracee: Stopped) -> Result<(), WatchError> {
        let tid = tracee.tid();
        if self.over || (self.rest_goes && tid != self.init) {
            let _ = kill(Pid::from_raw(tid), Signal::SIGKILL);
            return Ok(tracee.resume(Resume::Freely)?);
        }
        // The init's first child is the command. Its own first stop may be seen before the stop in which
        // the init tells of it; any later process is a child of the command.
        if tid != self.init && self.command.is_none() {
            self.command = Some(tid);
            self.seen.moments.end(Stage::Root);
            (self.on_command)(tid)?;
        }
        if tid == self.init && self.frees_init && matches!(tracee.reason(), Reason::Fork | Reason::Vfork) {
            return Ok(tracee.detach()?);
        }
        if tracee.reason() == Reason::Exec {
            // A thread that executes a program takes its process's number; its own is free.
            self.tids.remove(&(tracee.event_message()? as i32));
            self.tids.insert(tid);
        }
        if Some(tid) == self.command && self.phase != Phase::Running {
            return self.on_the_way(tracee);
        }
        self.look(&tracee)?;
        Ok(tracee.resume(Resume::Freely)?)
    }

    /// The command has stopped before the code is reached.
    fn on_the_way(&mut self, tracee: Stopped) -> Result<(), WatchError> {
        if tracee.reason() == Reason::Exec {
            self.seen.moments.end(Stage::Enter);
            if self.lock == Lock::Body && self.phase == Phase::Starting {
                tracee.resume(Resume::Freely)?;
                (self.executed)();
                return Ok(());
            }
        }
        match (tracee.reason(), self.phase) {
            // The exec's own return has to come before a call can be injected.
            (Reason::Exec, Phase::Starting) if self.lock == Lock::Exec => self.phase = Phase::AtExec,
            (Reason::Seccomp, Phase::Starting | Phase::Executed) if self.is_at_marker(&tracee)? => {
                self.phase = Phase::AtMarker;
                self.seen.moments.end(Stage::Startup);
                if self.lock == Lock::Body {
                    self.near = Near::with(Pid::from_raw(tracee.tid()));
                }
            }
            (Reason::Syscall, Phase::AtExec) if is_exit(&tracee)? => {
                let tracee = self.install(tracee, true)?.finish(None)?;
                self.seen.moments.end(Stage::Lock);
                self.phase = if self.sign.is_some() {
                    Phase::Executed
                } else {
                    Phase::Running
                };
                return Ok(tracee.resume(Resume::Freely)?);
            }
            (Reason::Syscall, Phase::AtMarker) if is_exit(&tracee)? => {
                let answer = self.sign.map_or(0, |sign| sign.answer);
                let tracee = match self.lock {
                    Lock::Body => {
                        let tracee = self.install(tracee, false)?.finish(Some(answer))?;
                        self.seen.moments.end(Stage::Lock);
                        tracee
                    }
                    Lock::Exec => {
                        tracee.set_result(answer)?;
                        tracee
                    }
                };
                if let Some(near) = self.near.take() {
                    near.release().map_err(WatchError::Bound)?;
                }
                self.phase = Phase::Running;
                return Ok(tracee.resume(Resume::Freely)?);
            }
            _ => self.look(&tracee)?,
        }
        let how = match self.phase {
            Phase::AtExec | Phase::AtMarker | Phase::AtSeat => Resume::ToNextSyscall,
            Phase::Unseated | Phase::Starting | Phase::Executed | Phase::Running => Resume::Freely,
        };
        Ok(tracee.resume(how)?)
    }

    /// Whether the command is at the marker: what the policy refuses is refused, the marker too.
    fn is_at_marker(&self, tracee: &Stopped) -> Result<bool, TraceeError> {
        match &self.sign {
            Some(sign) => is_marker(tracee, sign, |data| {
                data == MARKER_DATA || self.refusals.allows(data)
            }),
            None => Ok(false),
        }
    }

    /// Installs the filter: the command has just left a call.
    fn install(&mut self, tracee: Stopped, fresh_image: bool) -> Result<Injector, WatchError> {
        let command = tracee.tid();
        // Threads take the filter too; other processes can't be made to.
        let stray = |tid: &&i32| {
            **tid != self.init && **tid != command && process_of(**tid).is_some_and(|pid| pid != command)
        };
        if let Some(tid) = self.tids.iter().find(stray) {
            return Err(WatchError::Stray(*tid));
        }
        if !(self.holds)() {
            return Err(WatchError::Stale);
        }
        let mut injector = Injector::new(tracee, fresh_image)?;
        injector.load_filter(self.filter, Load::LOCK)?;
        self.seen.locked = true;
        Ok(injector)
    }

    /// Whether the filter around the template asks, about a process that has nothing any more which it guards.
    fn is_guarded(&self, tracee: &Stopped) -> Result<bool, TraceeError> {
        let Some(guard) = self.guard else {
            return Ok(false);
        };
        if matches!(self.phase, Phase::Unseated | Phase::AtSeat) {
            return Ok(false);
        }
        Ok(matches!(tracee.syscall()?.moment, Moment::Seccomp { data, .. } if data == u32::from(guard)))
    }

    /// Looks whether a thread stops because of a refused call, which is skipped if it ends nobody.
    fn look(&mut self, tracee: &Stopped) -> Result<(), TraceeError> {
        match tracee.reason() {
            Reason::Seccomp if self.is_guarded(tracee)? => Ok(()),
            Reason::Seccomp => self.refusals.asked(tracee, self.phase != Phase::Running),
            Reason::Signal(libc::SIGSYS) if tracee.seccomp_trap()? => self.sightings.trapped(tracee),
            Reason::Exit => {
                let status = tracee.event_message()? as i32;
                match libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS {
                    true => self.sightings.killed(tracee),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn is_exit(tracee: &Stopped) -> Result<bool, TraceeError> {
    Ok(matches!(tracee.syscall()?.moment, Moment::Exit { .. }))
}

/// Whether a tracee is stopped at the prelude's marker, by a filter that sent this word along.
pub(crate) fn is_marker(
    tracee: &Stopped,
    sign: &Sign,
    sent: impl Fn(u32) -> bool,
) -> Result<bool, TraceeError> {
    let stop = tracee.syscall()?;
    let (Some((call, args)), Moment::Seccomp { data, .. }) = (stop.call(), stop.moment) else {
        return Ok(false);
    };
    Ok(sent(data) && sign.is(call, &args))
}
