//! What a search has brought: a verdict on each call, and the policy that follows from them.

use std::time::Duration;

use callgate_abi::{Arch, Site, Syscall};
use callgate_policy::Policy;

use super::alike::Comparison;
use super::candidates::{Candidate, kept};
use super::refusal::Refusal;
use super::runner::Runner;
use super::search::Refused;
use super::work::State;

/// What was found out.
#[derive(Clone, Debug)]
pub struct Minimised {
    /// Every call that was observed, in the order of its number.
    pub calls: Vec<Judged>,
    /// The policy in which the refusable calls are refused; none unless the search came to its end.
    pub policy: Option<Policy>,
    /// Whether each required call was tried by itself, and the result held.
    pub minimal: bool,
    /// What runs are compared by; none if not even that was found out.
    pub comparison: Option<Comparison>,
    /// How many runs there were.
    pub runs: Runs,
    /// How long it took.
    pub wall: Duration,
    /// How long one run with nothing refused takes: the median, set-up and all.
    pub baseline: Duration,
    /// After how long a run with refused calls was stopped.
    pub limit: Duration,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// How many runs there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Runs {
    /// With nothing refused.
    pub baseline: usize,
    /// With some calls refused.
    pub search: usize,
    /// With the result.
    pub confirm: usize,
}

impl Runs {
    /// All of them.
    pub fn total(&self) -> usize {
        self.baseline + self.search + self.confirm
    }
}

/// A call and what was found out about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The call.
    pub call: Syscall,
    /// What was found out.
    pub judgement: Judgement,
    /// Whether it was seen after the first line of the user's code.
    pub in_body: bool,
    /// What made it first.
    pub site: Option<Site>,
}

/// What was found out about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Refused, with each errno, the probe ends otherwise.
    Required {
        /// In how many trials it made the difference: one for each errno, and one more where there was time to ask
        /// again. A trial is one run, so a probe that often fails by itself can make a call look required.
        runs: usize,
    },
    /// It can be refused with this errno: so many runs in which it was went as without a refusal.
    Refusable {
        /// With which errno.
        refusal: Refusal,
        /// In how many runs.
        runs: usize,
    },
    /// It was not asked about.
    Kept {
        /// Why not.
        why: &'static str,
    },
    /// The search did not come so far.
    Open,
}

/// The verdict on each call.
pub(crate) fn judged(asked: &[Candidate], kept_calls: &[Candidate], state: Option<&State>) -> Vec<Judged> {
    let judge = |candidate: &Candidate, judgement: Judgement| Judged {
        call: candidate.call,
        judgement,
        in_body: candidate.in_body,
        site: candidate.site.clone(),
    };
    let verdict = |index: usize| {
        let Some(state) = state else {
            return Judgement::Open;
        };
        match state.search.refused().get(&index) {
            Some(refusal) => Judgement::Refusable {
                refusal: *refusal,
                runs: times_refused(state, index, *refusal),
            },
            None if state.search.required().any(|required| required == index) => Judgement::Required {
                runs: state.search.blamed(index),
            },
            None => Judgement::Open,
        }
    };
    let mut all: Vec<Judged> = asked
        .iter()
        .enumerate()
        .map(|(index, candidate)| judge(candidate, verdict(index)))
        .collect();
    all.extend(kept_calls.iter().map(|candidate| {
        let why = kept(candidate.name).unwrap_or_default();
        judge(candidate, Judgement::Kept { why })
    }));
    all.sort_by_key(|judged| judged.call);
    all
}

/// In how many runs that went well the call was refused so.
fn times_refused(state: &State, index: usize, refusal: Refusal) -> usize {
    let so = |refused: &&Refused| refused.get(&index) == Some(&refusal);
    state.went_well.iter().filter(so).count()
}

/// The policy with its rules explained.
pub(crate) fn finished(runner: &Runner<'_>, state: &State) -> Policy {
    let refused = state.search.refused();
    let mut policy = runner.policy(refused, |index| {
        let refusal = refused.get(&index).copied().unwrap_or(Refusal::FIRST);
        let made = match runner.candidates[index].in_body {
            true => "",
            false => "seen in start-up only, before the lock; ",
        };
        let runs = times_refused(state, index, refusal);
        format!("{made}can be refused with {refusal}: verified in {runs} runs")
    });
    let head = policy.comment.unwrap_or_default();
    policy.comment = Some(format!(
        "{head}. Minimised on {} for a lock at the first line (exec --lock body): refusals there were verified; what \
         start-up needs is refused as well, so tools that lock at the exec need the policy without --minimise",
        Arch::NATIVE
    ));
    policy
}
