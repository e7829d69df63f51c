//! Turns what was seen of a run, what its init reported and who stopped it into an outcome.

use std::time::Duration;

use callgate_tracee::TraceeError;
use nix::sys::signal::Signal;

use crate::attend::Attended;
use crate::cgroup::Readings;
use crate::filtering::Filtering;
use crate::outcome::{LimitHit, Outcome, SetUpFailure, Status};
use crate::run::{Run, Word};
use crate::setup::{advice, explain};
use crate::supervise::{End, Seen, WatchError};

/// The outcome from what was seen and reported, and from what the cgroup says.
pub(crate) fn judge(run: &Run, attended: &Attended, readings: &Readings) -> Result<Outcome, SetUpFailure> {
    let Attended { seen, reports, word } = attended;
    let script = run.program.sign(run.lock).is_some();
    if let Some(failure) = &reports.failure {
        let explained = explain(failure);
        if failure.exec {
            // Everything was ready; it is the command that can't be run.
            let code = if failure.errno == libc::ENOENT { 127 } else { 126 };
            return Ok(Outcome {
                setup: Some(explained),
                ..Outcome::new(Status::SetupFailed, code)
            });
        }
        return Err(explained);
    }
    let limit = limit_hit(run, attended, readings);
    // What is killed while it is being locked answers as nothing does that is alive: that is no failure of a step.
    let ended_by_us = limit.is_some() || word.is_some();
    if let (Some(error), false, false) = (&seen.error, seen.locked, ended_by_us) {
        return Err(given_up(error));
    }
    if !seen.locked && limit.is_none() {
        let error = match (seen.end, script) {
            (Some(End::Exited(code)), true) => {
                format!("the interpreter exited with {code} before the code was reached")
            }
            (Some(End::Killed(signal)), _) => {
                format!("killed by {} before the code was reached", signal_name(signal))
            }
            _ => "the run ended before the filter was in force".to_owned(),
        };
        let advice = "`callgate root check` lists shared objects that are missing in the root".to_owned();
        return Err(SetUpFailure {
            step: "lock".to_owned(),
            error,
            advice: Some(advice),
        });
    }
    let mut outcome = match seen.end {
        _ if limit == Some(Limit::Time) => Outcome::new(Status::Timeout, 124),
        end if limit.is_some() => Outcome {
            signal: Some(match end {
                Some(End::Killed(signal)) => signal_name(signal),
                _ => "SIGKILL".to_owned(),
            }),
            ..match limit {
                Some(Limit::FileSize) => Outcome::new(Status::FileSize, 128 + libc::SIGXFSZ),
                Some(Limit::Cpu) => Outcome::new(Status::Cpu, 137),
                _ => Outcome::new(Status::Oom, 137),
            }
        },
        Some(End::Exited(code)) => Outcome::new(Status::Exited, code),
        Some(End::Killed(signal)) => {
            let refused = signal == libc::SIGSYS && seen.violation.is_some();
            let status = if refused {
                Status::Violation
            } else {
                Status::Signaled
            };
            Outcome {
                signal: Some(signal_name(signal)),
                ..Outcome::new(status, 128 + signal)
            }
        }
        None => Outcome {
            signal: Some("SIGKILL".to_owned()),
            ..Outcome::new(Status::Signaled, 137)
        },
    };
    outcome.violation = seen.violation.clone();
    if run.filtering != Filtering::Enforced {
        let (refusals, omitted) = seen.refusals.clone();
        outcome.refusals = Some(refusals);
        outcome.refusals_omitted = omitted;
    }
    if seen.end == Some(End::Killed(libc::SIGSYS)) && seen.violation.is_none() {
        let why = "no watched thread made a refused call: the code sent SIGSYS itself, or a thread that it made with \
                   CLONE_UNTRACED was refused a call";
        outcome.notes.push(why.to_owned());
    }
    outcome.limit = limit.and_then(|limit| limit.hit(run));
    outcome.notes.extend(hits(run, limit, readings));
    if stopped(seen) && *word == Some(Word::Interrupt as u32) {
        outcome.notes.push("it was interrupted".to_owned());
    }
    if let (Some(error), false) = (&seen.error, ended_by_us) {
        outcome.notes.push(format!(
            "it was killed because it could not be watched any more: {error}"
        ));
    }
    if reports.usage.is_none() {
        outcome
            .notes
            .push("what it used is not known: its init was killed".to_owned());
    }
    Ok(outcome)
}

/// A limit that ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Time,
    Cpu,
    Memory,
    FileSize,
}

impl Limit {
    /// What was allowed.
    fn hit(self, run: &Run) -> Option<LimitHit> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (name, value, unit) = match self {
            Self::Time => ("timeout", millis(run.timeout?), "ms"),
            Self::Cpu => ("cpu", millis(run.limits.cpu?), "ms"),
            Self::Memory => ("memory", run.limits.memory?, "bytes"),
            Self::FileSize => ("file-size", run.limits.file_size, "bytes"),
        };
        Some(LimitHit {
            name: name.to_owned(),
            value,
            unit: unit.to_owned(),
        })
    }
}

/// Whether it ended as a run ends that is killed from outside: one that ended by itself at the last moment
/// has ended by itself.
fn stopped(seen: &Seen) -> bool {
    matches!(seen.end, None | Some(End::Killed(libc::SIGKILL)))
}

/// The limit that ended the run.
fn limit_hit(run: &Run, attended: &Attended, readings: &Readings) -> Option<Limit> {
    let Attended { seen, reports, word } = attended;
    // Without a supervised clock the kernel ends a process at its own limit of CPU time.
    let used = reports.usage.unwrap_or_default().cpu;
    let used_up = || match (run.limits.cpu, seen.end) {
        (Some(_), Some(End::Killed(libc::SIGXCPU))) => true,
        (Some(limit), _) => used >= limit,
        (None, _) => false,
    };
    let by_kernel = matches!(seen.end, Some(End::Killed(libc::SIGXCPU | libc::SIGKILL)));
    match word {
        // The kernel's word for a file that would have grown over its limit (setrlimit(2), RLIMIT_FSIZE).
        _ if seen.end == Some(End::Killed(libc::SIGXFSZ)) => Some(Limit::FileSize),
        _ if !stopped(seen) && !by_kernel => None,
        Some(word) if *word == Word::Timeout as u32 => Some(Limit::Time),
        Some(word) if *word == Word::Cpu as u32 => Some(Limit::Cpu),
        Some(_) => None,
        None if readings.oom_kills > 0 && stopped(seen) => Some(Limit::Memory),
        None if used_up() => Some(Limit::Cpu),
        None => None,
    }
}

/// What limits refused without ending the run.
fn hits(run: &Run, limit: Option<Limit>, readings: &Readings) -> Vec<String> {
    let mut notes = Vec::new();
    if readings.oom_kills > 0 && limit != Some(Limit::Memory) {
        notes.push(format!(
            "{} of its processes were killed at the memory limit (--memory)",
            readings.oom_kills
        ));
    }
    if readings.pids_refused > 0 {
        notes.push(format!(
            "it was refused a process or thread {}: {} at once are allowed (--pids)",
            match readings.pids_refused {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            },
            run.limits.pids
        ));
    }
    notes
}

/// Why a run was given up before the filter was in force.
fn given_up(error: &WatchError) -> SetUpFailure {
    let (step, advice) = match error {
        WatchError::Pidfd(errno) => ("pidfd_open", advice("pidfd_open", *errno)),
        WatchError::Tracee(TraceeError::Refused { errno, .. }) => ("lock", advice("seccomp", *errno)),
        WatchError::WorkDirectory(_) => (
            "out",
            Some("it is reached by /proc, which must be mounted and show the run's processes".to_owned()),
        ),
        WatchError::Bound(_) => ("sched_setaffinity", None),
        WatchError::Stale => ("root", Some("run it again".to_owned())),
        WatchError::Tracee(_) => ("lock", None),
        WatchError::Step(failure) => return explain(failure),
        WatchError::Stray(_) => {
            let mend = "`--lock exec` has the filter in force from the interpreter's first instruction";
            ("lock", Some(mend.to_owned()))
        }
    };
    SetUpFailure {
        step: step.to_owned(),
        error: error.to_string(),
        advice,
    }
}

fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string())
}

#[cfg(test)]
mod tests {
    use callgate_launch::{Reports, Usage};

    use super::*;
    use crate::run::{Program, Root};

    fn asked() -> Run {
        let program = Program::Script {
            executable: "/usr/bin/python3".into(),
            code: Vec::new(),
            name: "<code>".to_owned(),
            args: Vec::new(),
        };
        let mut run = Run::new(program, Root::ForCommand("/bin/true".into()), Default::default());
        run.timeout = Some(Duration::from_secs(2));
        run.limits.cpu = Some(Duration::from_secs(1));
        run
    }

    fn attended(end: Option<End>, locked: bool, word: Option<Word>) -> Attended {
        Attended {
            seen: Seen {
                locked,
                end,
                ..Seen::default()
            },
            reports: Reports {
                usage: Some(Usage::default()),
                ..Reports::default()
            },
            word: word.map(|word| word as u32),
        }
    }

    fn ended(end: End, word: Option<Word>, readings: &Readings) -> Outcome {
        judge(&asked(), &attended(Some(end), true, word), readings).unwrap()
    }

    #[test]
    fn a_run_that_is_killed_while_it_is_being_locked_has_not_failed_by_itself() {
        let mut attended = attended(Some(End::Killed(libc::SIGKILL)), false, Some(Word::Timeout));
        let what = "stopped for Syscall and not at the exit of a system call".to_owned();
        attended.seen.error = Some(TraceeError::Injection { tid: 7, what }.into());
        let outcome = judge(&asked(), &attended, &Readings::default()).unwrap();
        assert_eq!((outcome.status, outcome.exit_code), (Status::Timeout, 124));
        assert_eq!(outcome.notes, [""; 0]);
        attended.word = None;
        let failure = judge(&asked(), &attended, &Readings::default()).unwrap_err();
        assert_eq!(failure.step, "lock");
        // What was refused after it had been killed at the limit of memory is no failure either.
        let oom = Readings {
            oom_kills: 1,
            ..Readings::default()
        };
        assert_eq!(judge(&asked(), &attended, &oom).unwrap().status, Status::Oom);
    }

    #[test]
    fn a_run_that_ends_by_itself_as_time_is_up_has_not_timed_out() {
        let none = Readings::default();
        let outcome = ended(End::Exited(3), Some(Word::Timeout), &none);
        assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, 3));
        assert_eq!(outcome.limit, None);
        let outcome = ended(End::Killed(libc::SIGSEGV), Some(Word::Cpu), &none);
        assert_eq!((outcome.status, outcome.exit_code), (Status::Signaled, 139));
        let outcome = ended(End::Killed(libc::SIGKILL), Some(Word::Timeout), &none);
        assert_eq!((outcome.status, outcome.exit_code), (Status::Timeout, 124));
        assert_eq!(outcome.limit.unwrap().value, 2000);
        let outcome = ended(End::Killed(libc::SIGKILL), Some(Word::Cpu), &none);
        assert_eq!((outcome.status, outcome.exit_code), (Status::Cpu, 137));
        assert_eq!(outcome.limit.unwrap().value, 1000);
    }

    #[test]
    fn out_of_memory_is_what_the_kernel_counted_and_killed() {
        let killed = Readings {
            oom_kills: 2,
            ..Readings::default()
        };
        let outcome = ended(End::Killed(libc::SIGKILL), None, &killed);
        assert_eq!((outcome.status, outcome.exit_code), (Status::Oom, 137));
        let limit = outcome.limit.unwrap();
        assert_eq!((limit.name.as_str(), limit.value), ("memory", 1 << 30));
        // Its children were killed, and it went on.
        let outcome = ended(End::Exited(0), None, &killed);
        assert_eq!((outcome.status, outcome.limit), (Status::Exited, None));
        assert!(
            outcome
                .notes
                .iter()
                .any(|note| note.contains("2 of its processes"))
        );
        let outcome = ended(End::Killed(libc::SIGKILL), None, &Readings::default());
        assert_eq!(outcome.status, Status::Signaled);
    }

    #[test]
    fn a_signal_that_the_code_sends_itself_is_no_violation() {
        let outcome = ended(End::Killed(libc::SIGSYS), None, &Readings::default());
        assert_eq!((outcome.status, outcome.exit_code), (Status::Signaled, 159));
        assert_eq!(outcome.signal.as_deref(), Some("SIGSYS"));
    }

    #[test]
    fn what_ends_before_the_filter_is_in_force_is_a_failed_set_up() {
        for end in [Some(End::Exited(0)), Some(End::Killed(9)), None] {
            let failure = judge(&asked(), &attended(end, false, None), &Readings::default()).unwrap_err();
            assert_eq!(failure.step, "lock");
            assert!(failure.advice.is_some());
        }
    }
}
