//! Turns what was seen of a run, what its init reported and who stopped it into an outcome.

use callgate_launch::Reports;
use callgate_tracee::TraceeError;
use nix::sys::signal::Signal;

use crate::outcome::{Outcome, SetUpFailure, Status};
use crate::run::Word;
use crate::setup::{advice, explain};
use crate::supervise::{End, Seen, WatchError};

/// The outcome from what was seen and reported.
pub(crate) fn judge(
    script: bool,
    seen: &Seen,
    reports: &Reports,
    word: Option<u32>,
) -> Result<Outcome, SetUpFailure> {
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
    if let (Some(error), false) = (&seen.error, seen.locked) {
        return Err(given_up(error));
    }
    // A run that ended by itself at the last moment has ended by itself.
    let stopped = matches!(seen.end, None | Some(End::Killed(libc::SIGKILL)));
    let timed_out = stopped && word == Some(Word::Timeout as u32);
    if !seen.locked && !timed_out {
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
        _ if timed_out => Outcome::new(Status::Timeout, 124),
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
    if seen.end == Some(End::Killed(libc::SIGSYS)) && seen.violation.is_none() {
        let why = "no watched thread made a refused call: the code sent SIGSYS itself, or a thread that it made with \
                   CLONE_UNTRACED was refused a call";
        outcome.notes.push(why.to_owned());
    }
    if stopped && word == Some(Word::Interrupt as u32) {
        outcome.notes.push("it was interrupted".to_owned());
    }
    if let Some(error) = &seen.error {
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

/// Why a run was given up before the filter was in force.
fn given_up(error: &WatchError) -> SetUpFailure {
    let (step, advice) = match error {
        WatchError::Pidfd(errno) => ("pidfd_open", advice("pidfd_open", *errno)),
        WatchError::Tracee(TraceeError::Refused { errno, .. }) => ("lock", advice("seccomp", *errno)),
        WatchError::Tracee(_) => ("lock", None),
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
    use callgate_launch::Usage;

    use super::*;

    fn ended(end: End, word: Option<Word>) -> Outcome {
        let seen = Seen {
            locked: true,
            end: Some(end),
            ..Seen::default()
        };
        let reports = Reports {
            usage: Some(Usage::default()),
            ..Reports::default()
        };
        judge(true, &seen, &reports, word.map(|word| word as u32)).unwrap()
    }

    #[test]
    fn a_run_that_ends_by_itself_as_time_is_up_has_not_timed_out() {
        let outcome = ended(End::Exited(3), Some(Word::Timeout));
        assert_eq!((outcome.status, outcome.exit_code), (Status::Exited, 3));
        let outcome = ended(End::Killed(libc::SIGSEGV), Some(Word::Timeout));
        assert_eq!((outcome.status, outcome.exit_code), (Status::Signaled, 139));
        let outcome = ended(End::Killed(libc::SIGKILL), Some(Word::Timeout));
        assert_eq!((outcome.status, outcome.exit_code), (Status::Timeout, 124));
    }

    #[test]
    fn a_signal_that_the_code_sends_itself_is_no_violation() {
        let outcome = ended(End::Killed(libc::SIGSYS), None);
        assert_eq!((outcome.status, outcome.exit_code), (Status::Signaled, 159));
        assert_eq!(outcome.signal.as_deref(), Some("SIGSYS"));
    }

    #[test]
    fn what_ends_before_the_filter_is_in_force_is_a_failed_set_up() {
        for end in [Some(End::Exited(0)), Some(End::Killed(9)), None] {
            let seen = Seen {
                end,
                ..Seen::default()
            };
            let failure = judge(true, &seen, &Reports::default(), None).unwrap_err();
            assert_eq!(failure.step, "lock");
            assert!(failure.advice.is_some());
        }
    }
}
