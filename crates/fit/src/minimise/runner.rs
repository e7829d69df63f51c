//! Runs the probe with some of its calls refused, one run or several at the same time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use callgate_abi::Arch;
use callgate_exec::{Outcome, Run, Status, TierChoice};
use callgate_policy::Policy;

use super::MinimiseError;
use super::alike::Sample;
use super::cancel::Cancel;
use super::candidates::Candidate;
use super::refusal::refuse;
use super::search::Refused;
use crate::Fit;

/// Everything that is the same in all runs.
pub(crate) struct Runner<'a> {
    pub(crate) fit: &'a Fit,
    pub(crate) policy: &'a Policy,
    pub(crate) candidates: &'a [Candidate],
    pub(crate) tier: TierChoice,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel: &'a Cancel,
    /// How many runs may be under way at the same time.
    pub(crate) jobs: usize,
    /// How many runs have come to their end.
    pub(crate) count: AtomicUsize,
}

/// How a run ended, and how long all of it took; `None` if the search was cancelled meanwhile.
pub(crate) type Ran = Option<(Sample, Duration)>;

impl Runner<'_> {
    /// The policy with these calls refused; `comment` says why, for each.
    pub(crate) fn policy(&self, refused: &Refused, comment: impl Fn(usize) -> String) -> Policy {
        let mut policy = self.policy.clone();
        for (index, refusal) in refused {
            let candidate = &self.candidates[*index];
            refuse(
                &mut policy,
                candidate.name,
                Arch::NATIVE,
                *refusal,
                &comment(*index),
            );
        }
        policy
    }

    /// One run.
    pub(crate) fn once(&self, refused: &Refused) -> Result<Ran, MinimiseError> {
        if self.cancel.is_cancelled() {
            return Ok(None);
        }
        let begun = Instant::now();
        let policy = self.policy(refused, |_| String::new());
        let run = Run {
            tier: self.tier,
            timeout: self.timeout,
            ..self.fit.request(&policy)?
        };
        let mut running = None;
        let outcome = callgate_exec::run(&run, |stopper| running = Some(self.cancel.begin(stopper)));
        drop(running);
        if self.cancel.is_cancelled() {
            return Ok(None);
        }
        if outcome.status == Status::SetupFailed {
            return Err(MinimiseError::SetUp(failure(&outcome)));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Some((Sample::of(&outcome), begun.elapsed())))
    }

    /// The same run several times, side by side, as long as `enough` says that the next is wanted. `None` if
    /// it was cancelled.
    pub(crate) fn times(
        &self,
        times: usize,
        refused: &Refused,
        enough: &(dyn Fn(&Sample) -> bool + Sync),
    ) -> Result<Option<Vec<Sample>>, MinimiseError> {
        let samples = Mutex::new(Ok(Some(Vec::new())));
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(times) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) && next.fetch_add(1, Ordering::Relaxed) < times {
                        let ran = self.once(refused);
                        let mut samples = samples.lock().unwrap_or_else(PoisonError::into_inner);
                        let go_on = match (ran, &mut *samples) {
                            (Ok(Some((sample, _))), Ok(Some(list))) => {
                                let go_on = !enough(&sample);
                                list.push(sample);
                                go_on
                            }
                            (Ok(Some(_)), _) => false,
                            (Ok(None), Ok(_)) => {
                                *samples = Ok(None);
                                false
                            }
                            (Ok(None), Err(_)) => false,
                            (Err(error), _) => {
                                *samples = Err(error);
                                false
                            }
                        };
                        if !go_on {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        samples.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failure(outcome: &Outcome) -> String {
    outcome
        .setup
        .as_ref()
        .map_or_else(|| outcome.status.to_string(), ToString::to_string)
}
