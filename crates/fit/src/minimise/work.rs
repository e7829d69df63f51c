//! Makes the runs that a search asks for, several at a time, until its result holds.

use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::MinimiseError;
use super::alike::{Sample, Yardstick};
use super::found::Minimised;
use super::runner::Runner;
use super::search::{Next, Refused, Search};

/// How often a result that did not hold is searched again.
const MOST_REPAIRS: usize = 3;
/// Required calls are asked about a second time until all has taken the time of so many runs with nothing refused.
const WORTH: u32 = 40;
/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is being done.
    pub stage: Stage,
    /// Runs that have ended.
    pub runs: usize,
    /// Calls that are decided, as far as is known.
    pub decided: usize,
    /// Calls that are asked about.
    pub candidates: usize,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Runs with nothing refused.
    Baseline,
    /// Runs with calls refused.
    Search,
    /// Runs with all refused that can be.
    Confirm,
}

/// What the lanes share, each of which makes one run after the other.
pub(crate) struct Work<'a> {
    runner: Runner<'a>,
    yardstick: Yardstick,
    state: Mutex<State>,
    changed: Condvar,
    confirm: usize,
    begun: Instant,
    told: &'a (dyn Fn(Standing) + Sync),
}

pub(crate) struct State {
    pub(crate) search: Search,
    /// What was refused in each run that ended as without a refusal.
    pub(crate) went_well: Vec<Refused>,
    error: Option<MinimiseError>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(
        runner: Runner<'a>,
        yardstick: Yardstick,
        confirm: usize,
        begun: Instant,
        told: &'a (dyn Fn(Standing) + Sync),
    ) -> Self {
        let hopes = runner.candidates.iter().map(|candidate| candidate.hope);
        let state = State {
            search: Search::new(hopes.collect()),
            went_well: Vec::new(),
            error: None,
        };
        Self {
            runner,
            yardstick,
            state: Mutex::new(state),
            changed: Condvar::new(),
            confirm,
            begun,
            told,
        }
    }

    /// What is left when all is done.
    pub(crate) fn into_parts(self) -> (Runner<'a>, State) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.runner, state)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, stage: Stage, state: &State) {
        (self.told)(Standing {
            stage,
            runs: self.runner.count.load(Ordering::Relaxed),
            decided: state.search.decided(),
            candidates: self.runner.candidates.len(),
        });
    }

    /// Searches and confirms; false if it was cancelled or the result never held.
    pub(crate) fn search_until_it_holds(&self, out: &mut Minimised) -> Result<bool, MinimiseError> {
        for repair in 0..=MOST_REPAIRS {
            loop {
                let before = self.runner.count.load(Ordering::Relaxed);
                self.search()?;
                out.runs.search += self.runner.count.load(Ordering::Relaxed) - before;
                if self.runner.cancel.is_cancelled() {
                    return Ok(false);
                }
                let before = self.runner.count.load(Ordering::Relaxed);
                let held = self.confirm()?;
                out.runs.confirm += self.runner.count.load(Ordering::Relaxed) - before;
                match held {
                    None => return Ok(false),
                    Some(false) => break,
                    Some(true) if self.state().search.doubt_again() => {}
                    Some(true) => match self.ask_again(out)? {
                        None => return Ok(false),
                        Some(true) => {}
                        Some(false) => return Ok(true),
                    },
                }
            }
            if repair < MOST_REPAIRS {
                out.notes.push(
                    "all refusable calls refused at once did not hold: searched again, one trial at a time, each several times"
                        .to_owned(),
                );
                self.state().search.begin_carefully();
            }
        }
        out.notes
            .push("no result held: the probe does not behave the same from run to run".to_owned());
        Ok(false)
    }

    /// Asks about required calls a second time, a few at once, as long as there is time for it: whether one of them
    /// can be refused after all. `None` if it was cancelled. A careful search has made each trial several times.
    fn ask_again(&self, out: &mut Minimised) -> Result<Option<bool>, MinimiseError> {
        if self.state().search.is_careful() {
            return Ok(Some(false));
        }
        let refused = self.state().search.refused().len();
        while self.begun.elapsed() < out.baseline * WORTH {
            if self.state().search.ask_again(self.runner.jobs) == 0 {
                break;
            }
            let before = self.runner.count.load(Ordering::Relaxed);
            self.search()?;
            out.runs.search += self.runner.count.load(Ordering::Relaxed) - before;
            if self.runner.cancel.is_cancelled() {
                return Ok(None);
            }
        }
        Ok(Some(self.state().search.refused().len() != refused))
    }

    /// What the reader should know of required calls that were asked about once.
    pub(crate) fn tell_asked_once(&self, out: &mut Minimised) {
        let state = self.state();
        let once = state.search.asked_once().count();
        if once > 0 && !state.search.is_careful() {
            out.notes.push(format!(
                "{once} of {} required calls rest on one failing run with each errno: all had taken the time of {WORTH} \
                 runs by then",
                state.search.required().count()
            ));
        }
    }

    /// Makes trials until every candidate is decided, or it is cancelled.
    fn search(&self) -> Result<(), MinimiseError> {
        std::thread::scope(|scope| {
            for _ in 0..self.runner.jobs {
                scope.spawn(|| self.lane());
            }
        });
        match self.state().error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Makes one trial after the other.
    fn lane(&self) {
        let mut state = self.state();
        loop {
            if state.error.is_some() || self.runner.cancel.is_cancelled() {
                break;
            }
            self.tell(Stage::Search, &state);
            let trial = match state.search.next() {
                Next::Try(trial) => trial,
                Next::Wait => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                }
                Next::Done => break,
            };
            let times = if state.search.is_careful() {
                self.confirm
            } else {
                1
            };
            drop(state);
            let answer = self.all_the_same(&trial.refused, times);
            state = self.state();
            match answer {
                Ok(Some(same)) => state.search.answer(trial, same),
                Ok(None) => break,
                Err(error) => {
                    state.error.get_or_insert(error);
                }
            }
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }

    /// Whether all of so many runs ended as without a refusal; `None` if it was cancelled.
    fn all_the_same(&self, refused: &Refused, times: usize) -> Result<Option<bool>, MinimiseError> {
        let different = |sample: &Sample| !self.yardstick.fits(sample);
        let Some(samples) = self.runner.times(times, refused, &different)? else {
            return Ok(None);
        };
        let same = samples.iter().filter(|sample| !different(sample)).count();
        self.state()
            .went_well
            .extend(std::iter::repeat_n(refused.clone(), same));
        Ok(Some(same == times))
    }

    /// Runs the result.
    fn confirm(&self) -> Result<Option<bool>, MinimiseError> {
        let refused = {
            let state = self.state();
            self.tell(Stage::Confirm, &state);
            state.search.refused().clone()
        };
        self.all_the_same(&refused, self.confirm)
    }

    /// Whether the probe ends with nothing refused as it did at the beginning.
    pub(crate) fn still_steady(&self, out: &mut Minimised) -> Result<bool, MinimiseError> {
        let Some((sample, _)) = self.runner.once(&Refused::new())? else {
            return Ok(false);
        };
        out.runs.baseline += 1;
        let steady = self.yardstick.fits(&sample);
        if !steady {
            out.notes.push(format!(
                "with nothing refused the probe ends or writes otherwise than it did at the beginning (now it {}): calls \
                 that are said to be required may not be",
                sample.ending()
            ));
        }
        Ok(steady)
    }
}
