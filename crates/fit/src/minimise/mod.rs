//! Which of a probe's calls are needed: runs in which calls are really refused say so.
//!
//! 1. The probe runs a few times under its fitted policy: how it ends, what it writes, how long it takes. What
//!    is not the same each time is not compared, and that is said.
//! 2. The search refuses many calls in one run, several runs at a time.
//! 3. The result, all refusable calls refused at once, is run again several times, because some calls are
//!    made by chance only. If it does not hold, the search goes over it again, one trial at a time.
//! 4. Each required call is refused by itself once more, as its runs may have failed by chance: those first of
//!    which it was least expected, as long as all has not taken the time of 40 runs.
//! 5. The probe runs once more with nothing refused: what changes by itself must not be blamed on a call.

mod alike;
mod cancel;
mod candidates;
mod found;
mod prior;
mod refusal;
mod runner;
mod search;
mod stable;
mod work;

use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use callgate_exec::{Outcome, TierChoice};
use callgate_policy::CompileError;

use crate::{Fit, Fitted};

pub use alike::Comparison;
pub use cancel::Cancel;
pub use found::{Judged, Judgement, Minimised, Runs};
pub use refusal::Refusal;
pub use work::{Stage, Standing};

use alike::{Sample, Yardstick};
use candidates::{Candidate, candidates, kept};
use found::{finished, judged};
use runner::Runner;
use search::Refused;
use work::Work;

/// How often the result is run in the end, unless another number is asked for.
pub const CONFIRMING_RUNS: usize = 5;

/// So many runs without a refusal say what is stable, besides the one in which the probe fitted; twice as many
/// again where not everything is.
const BASELINE_RUNS: usize = 2;
/// A run with refused calls is stopped after so many times the slowest baseline run, and [`GRACE`].
const SLOWER: u32 = 10;
/// See [`SLOWER`].
const GRACE: Duration = Duration::from_secs(2);

/// A search for what a fitted probe needs.
#[derive(Clone, Debug)]
pub struct Minimise<'a> {
    /// The probe.
    pub fit: &'a Fit,
    /// What fitting it has brought; it must fit, and its runs must have had an empty input
    /// ([`Fit::no_input`]), as the last is compared with.
    pub fitted: &'a Fitted,
    /// How many runs may be under way at the same time.
    pub jobs: usize,
    /// How often the result is run in the end.
    pub confirm: usize,
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum MinimiseError {
    /// The probe differs from itself.
    #[error(
        "with nothing refused, the probe {one} in one run and {other} in another: it can't be told what a refusal changes"
    )]
    Unsteady {
        /// How it ended in one run.
        one: String,
        /// How it ended in another.
        other: String,
    },
    /// A run could not be set up.
    #[error("a run could not be set up: {0}")]
    SetUp(String),
    /// A policy can't be compiled.
    #[error("the policy can't be compiled: {0}")]
    Compile(#[from] CompileError),
}

impl Minimise<'_> {
    /// Finds out which calls can be refused. `told` learns how far it has come.
    ///
    /// # Errors
    /// [`MinimiseError`]: the probe is not steady by itself, or can't be run.
    pub fn run(&self, cancel: &Cancel, told: &(dyn Fn(Standing) + Sync)) -> Result<Minimised, MinimiseError> {
        let begun = Instant::now();
        let all = candidates(self.fitted);
        let (asked, kept): (Vec<Candidate>, Vec<Candidate>) = all
            .into_iter()
            .partition(|candidate| kept(candidate.name).is_none());
        // The tier of the runs that fitted: it must not change from run to run.
        let last = self.fitted.attempts.last();
        let tier = last.and_then(|attempt| attempt.outcome.tier);
        let mut runner = Runner {
            fit: self.fit,
            policy: &self.fitted.policy,
            candidates: &asked,
            tier: tier.map_or(self.fit.tier, TierChoice::Exactly),
            timeout: self.fit.timeout,
            cancel,
            jobs: self.jobs.max(1),
            count: AtomicUsize::new(0),
        };
        let mut out = Minimised {
            calls: Vec::new(),
            policy: None,
            minimal: false,
            comparison: None,
            runs: Runs::default(),
            wall: Duration::ZERO,
            baseline: Duration::ZERO,
            limit: Duration::ZERO,
            notes: Vec::new(),
        };
        let fitting = last.map(|attempt| &attempt.outcome);
        let Some(yardstick) = baseline(&runner, fitting, &mut out, told)? else {
            out.calls = judged(&asked, &kept, None);
            out.wall = begun.elapsed();
            return Ok(out);
        };
        runner.timeout = Some(self.fit.timeout.map_or(out.limit, |given| given.min(out.limit)));
        out.comparison = Some(yardstick.comparison());
        let work = Work::new(runner, yardstick, self.confirm.max(1), begun, told);
        let held = work.search_until_it_holds(&mut out)?;
        let steady = match held {
            true => {
                work.tell_asked_once(&mut out);
                work.still_steady(&mut out)?
            }
            false => false,
        };
        let (runner, state) = work.into_parts();
        out.calls = judged(&asked, &kept, Some(&state));
        if held {
            out.minimal = steady;
            out.policy = Some(finished(&runner, &state));
        }
        out.wall = begun.elapsed();
        Ok(out)
    }
}

/// The runs with nothing refused; `None` if it was cancelled.
fn baseline(
    runner: &Runner<'_>,
    fitting: Option<&Outcome>,
    out: &mut Minimised,
    told: &(dyn Fn(Standing) + Sync),
) -> Result<Option<Yardstick>, MinimiseError> {
    let mut samples: Vec<Sample> = fitting.iter().map(|outcome| Sample::of(outcome)).collect();
    let mut times: Vec<Duration> = Vec::new();
    let unsteady = |(one, other)| MinimiseError::Unsteady { one, other };
    for wanted in [BASELINE_RUNS, 2 * BASELINE_RUNS] {
        for _ in 0..wanted {
            told(Standing {
                stage: Stage::Baseline,
                runs: times.len(),
                decided: 0,
                candidates: runner.candidates.len(),
            });
            let Some((sample, time)) = runner.once(&Refused::new())? else {
                return Ok(None);
            };
            samples.push(sample);
            times.push(time);
            out.runs.baseline += 1;
        }
        let yardstick = Yardstick::of(&samples).map_err(unsteady)?;
        if yardstick.is_exact() {
            break;
        }
    }
    times.sort();
    out.baseline = times[times.len() / 2];
    out.limit = times[times.len() - 1] * SLOWER + GRACE;
    Yardstick::of(&samples).map(Some).map_err(unsteady)
}
