//! Which calls to refuse together next: adaptive group testing, free of processes and of time.
//!
//! A *trial* refuses all calls that are known to be refusable and a group of doubtful ones besides. If the
//! probe does not mind, the whole group is refusable; if it does, the group is split, by how likely each call
//! is to be the culprit. What is left when a group has one call is asked again with the next errno, and then
//! it is required. Trials don't depend on each other, so that several can be under way.

mod again;

use std::collections::{BTreeMap, BTreeSet};

use super::refusal::Refusal;

/// Calls by their place in the list of candidates, each with the errno that it is refused with.
pub(crate) type Refused = BTreeMap<usize, Refusal>;

/// A run that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Everything that is refused in it.
    pub(crate) refused: Refused,
    /// The doubtful part of that.
    group: Vec<Doubt>,
    /// What is left of a group that the probe did mind; empty if nothing is known of the group.
    rest: Vec<Doubt>,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Make this run.
    Try(Trial),
    /// Nothing can be asked before a run that is under way has ended.
    Wait,
    /// Every candidate is decided.
    Done,
}

/// A call that is not decided yet.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Doubt {
    call: usize,
    refusal: Refusal,
    /// How likely the probe is not to mind.
    hope: f64,
}

impl Eq for Doubt {}

/// The search's state.
#[derive(Debug)]
pub(crate) struct Search {
    hopes: Vec<f64>,
    /// Of these nothing is known; the most hopeful is last.
    pool: Vec<Doubt>,
    /// Groups of two or more that the probe did mind.
    minded: Vec<Vec<Doubt>>,
    refused: Refused,
    /// With what else was refused when a call alone made the difference.
    required: BTreeMap<usize, Refused>,
    /// In how many trials a call was found to make the difference, with whatever errno.
    blamed: BTreeMap<usize, usize>,
    /// Required calls that were asked about a second time, and those of them that have no answer yet.
    asked_again: BTreeSet<usize>,
    repeating: BTreeSet<usize>,
    under_way: usize,
    careful: bool,
}

/// A group is made as large as this hope allows: a trial says most when both answers are as likely.
const EVEN: f64 = 0.5;
/// How likely a call that ENOSYS breaks is to be fine with EPERM. There are some, as libraries know that a
/// container may refuse a call so.
const SECOND_HOPE: f64 = 0.08;
/// How likely a call is to be refusable that was so in other company.
const CAREFUL_HOPE: f64 = 0.9;

impl Search {
    /// A search over candidates with these hopes, of which all are refused by [`Refusal::FIRST`] first.
    pub(crate) fn new(hopes: Vec<f64>) -> Self {
        let mut search = Self {
            pool: Vec::new(),
            minded: Vec::new(),
            refused: Refused::new(),
            required: BTreeMap::new(),
            blamed: BTreeMap::new(),
            asked_again: BTreeSet::new(),
            repeating: BTreeSet::new(),
            under_way: 0,
            careful: false,
            hopes,
        };
        for call in 0..search.hopes.len() {
            search.doubt(call, Refusal::FIRST, search.hopes[call]);
        }
        search
    }

    /// What is refusable so far.
    pub(crate) fn refused(&self) -> &Refused {
        &self.refused
    }

    /// The calls that are required, as far as is known.
    pub(crate) fn required(&self) -> impl Iterator<Item = usize> {
        self.required.keys().copied()
    }

    /// In how many trials a call was found to make the difference.
    pub(crate) fn blamed(&self, call: usize) -> usize {
        self.blamed.get(&call).copied().unwrap_or(0)
    }

    /// How many candidates are decided.
    pub(crate) fn decided(&self) -> usize {
        self.refused.len() + self.required.len()
    }

    /// Whether one trial is made at a time, so that each answer stands on the one before.
    pub(crate) fn is_careful(&self) -> bool {
        self.careful
    }

    fn doubt(&mut self, call: usize, refusal: Refusal, hope: f64) {
        let at = self.pool.partition_point(|doubt| doubt.hope < hope);
        self.pool.insert(at, Doubt { call, refusal, hope });
    }

    /// The next trial. It has to be answered with [`Search::answer`].
    pub(crate) fn next(&mut self) -> Next {
        if self.careful && self.under_way > 0 {
            return Next::Wait;
        }
        let (group, rest) = if let Some(mut minded) = self.minded.pop() {
            let rest = minded.split_off(part(&minded));
            (minded, rest)
        } else if !self.pool.is_empty() {
            (self.hopeful(), Vec::new())
        } else if self.under_way > 0 {
            return Next::Wait;
        } else {
            return Next::Done;
        };
        self.under_way += 1;
        let mut refused = self.refused.clone();
        refused.extend(group.iter().map(|doubt| (doubt.call, doubt.refusal)));
        Next::Try(Trial { refused, group, rest })
    }

    /// The most hopeful of the pool, as many as are likely to be all refusable.
    fn hopeful(&mut self) -> Vec<Doubt> {
        let mut group = Vec::new();
        let mut together = 1.0;
        while let Some(doubt) = self.pool.pop() {
            together *= doubt.hope;
            if together < EVEN && !group.is_empty() {
                self.pool.push(doubt);
                break;
            }
            group.push(doubt);
        }
        group
    }

    /// Notes whether the probe ended in a trial as it does when nothing is refused.
    pub(crate) fn answer(&mut self, trial: Trial, same: bool) {
        self.under_way -= 1;
        let Trial { refused, group, rest } = trial;
        if same {
            for doubt in &group {
                self.repeating.remove(&doubt.call);
            }
            self.refused
                .extend(group.iter().map(|doubt| (doubt.call, doubt.refusal)));
            self.blame(rest, refused);
        } else {
            for doubt in rest {
                self.doubt(doubt.call, doubt.refusal, doubt.hope);
            }
            let company = refused
                .into_iter()
                .filter(|(call, _)| group.iter().all(|doubt| doubt.call != *call))
                .collect();
            self.blame(group, company);
        }
    }

    /// One call of the group makes the difference, when `company` is refused as well.
    fn blame(&mut self, group: Vec<Doubt>, company: Refused) {
        match group.as_slice() {
            [] => {}
            [culprit] => {
                *self.blamed.entry(culprit.call).or_default() += 1;
                let repeated = self.repeating.remove(&culprit.call);
                match culprit.refusal.next().filter(|_| !repeated) {
                    Some(next) => self.doubt(culprit.call, next, SECOND_HOPE),
                    None => {
                        self.required.insert(culprit.call, company);
                    }
                }
            }
            _ => self.minded.push(group),
        }
    }

    /// Starts over with what was thought to be refusable, one trial at a time: all of it together was not,
    /// by chance or because some calls can stand in for each other.
    pub(crate) fn begin_carefully(&mut self) {
        self.careful = true;
        for (call, refusal) in std::mem::take(&mut self.refused) {
            self.doubt(call, refusal, CAREFUL_HOPE);
        }
    }

    /// Doubts each call again that was found to be required in a company which is not refused in the end.
    /// Returns whether there was one.
    pub(crate) fn doubt_again(&mut self) -> bool {
        let refused = &self.refused;
        let stands = |company: &Refused| company.iter().all(|(call, how)| refused.get(call) == Some(how));
        let (sound, unsound): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.required)
            .into_iter()
            .partition(|(_, company)| stands(company));
        self.required = sound;
        for call in unsound.keys() {
            self.doubt(*call, Refusal::FIRST, SECOND_HOPE);
        }
        !unsound.is_empty()
    }
}

/// How much of a group that the probe did mind is tried next: so much that the culprit is as likely in it as
/// in the rest. At least one call, and never all.
fn part(group: &[Doubt]) -> usize {
    let all: f64 = group.iter().map(|doubt| doubt.hope).product();
    let mut before = 1.0;
    for (count, doubt) in group.iter().enumerate() {
        before *= doubt.hope;
        // The chance that the first `count + 1` are all refusable, given that not all of the group are.
        if (before - all) / (1.0 - all) < EVEN {
            return count.clamp(1, group.len() - 1);
        }
    }
    group.len() - 1
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Runs a search to its end with `lanes` trials under way; returns how many there were.
    pub(super) fn settle(search: &mut Search, lanes: usize, mut same: impl FnMut(&Refused) -> bool) -> usize {
        let mut under_way = VecDeque::new();
        let mut trials = 0;
        loop {
            match search.next() {
                Next::Try(trial) => {
                    trials += 1;
                    assert!(trials < 10_000);
                    let answer = same(&trial.refused);
                    under_way.push_back((trial, answer));
                    if under_way.len() < lanes {
                        continue;
                    }
                }
                Next::Wait => {}
                Next::Done => return trials,
            }
            let (trial, answer) = under_way.pop_front().unwrap();
            search.answer(trial, answer);
        }
    }

    pub(super) fn required(search: &Search) -> Vec<usize> {
        search.required().collect()
    }

    #[test]
    fn exactly_the_required_calls_are_found_whatever_was_hoped() {
        let needed = [3, 4, 11, 19];
        let same = |refused: &Refused| needed.iter().all(|call| !refused.contains_key(call));
        for hope in [0.02, 0.3, 0.5, 0.9, 0.99] {
            for lanes in [1, 2, 7] {
                let mut search = Search::new(vec![hope; 20]);
                settle(&mut search, lanes, same);
                assert_eq!(required(&search), needed, "hope {hope}, {lanes} lanes");
                assert_eq!(search.refused().len(), 16);
                assert!(search.refused().values().all(|how| *how == Refusal::FIRST));
            }
        }
    }

    #[test]
    fn good_hopes_cost_two_trials_for_each_required_call_and_few_besides() {
        let hopes: Vec<f64> = (0..40).map(|call| if call < 25 { 0.95 } else { 0.05 }).collect();
        let mut search = Search::new(hopes);
        let trials = settle(&mut search, 2, |refused| refused.keys().all(|call| *call < 25));
        assert_eq!(required(&search).len(), 15);
        let errnos = std::iter::successors(Some(Refusal::FIRST), |errno| errno.next()).count();
        assert!((25..40).all(|call| search.blamed(call) == errnos) && search.blamed(3) == 0);
        assert!(trials <= 2 * 15 + 4, "{trials}");
    }

    #[test]
    fn a_call_that_only_eperm_does_not_break_is_found() {
        let same = |refused: &Refused| refused.get(&2).is_none_or(|how| *how != Refusal::FIRST);
        let mut search = Search::new(vec![0.9; 5]);
        settle(&mut search, 2, same);
        assert!(required(&search).is_empty());
        assert_ne!(search.refused()[&2], Refusal::FIRST);
    }

    #[test]
    fn calls_that_stand_in_for_each_other_are_not_all_refused() {
        // 0 or 1 will do. Found at the same time, each of them looks refusable.
        let same = |refused: &Refused| !(refused.contains_key(&0) && refused.contains_key(&1));
        let mut search = Search::new(vec![0.4; 4]);
        settle(&mut search, 4, same);
        let together = same(search.refused());
        assert!(!together, "the case is not met: {search:?}");
        search.begin_carefully();
        settle(&mut search, 4, same);
        assert!(same(search.refused()));
        assert!(!search.doubt_again() || settle(&mut search, 1, same) > 0);
        assert_eq!(required(&search).len(), 1, "{search:?}");
        assert_eq!(search.decided(), 4);
    }

    #[test]
    fn what_was_required_in_unsound_company_is_asked_again() {
        // 3 is minded only where 0 and 1 are both refused, which never is the case in the end.
        let same = |refused: &Refused| {
            let both = refused.contains_key(&0) && refused.contains_key(&1);
            !both
        };
        let mut search = Search::new(vec![0.45, 0.45, 0.3, 0.2]);
        settle(&mut search, 2, same);
        while !same(search.refused()) {
            search.begin_carefully();
            settle(&mut search, 1, same);
        }
        while search.doubt_again() {
            settle(&mut search, 1, same);
        }
        assert_eq!(required(&search).len(), 1, "{search:?}");
        assert!(search.refused().contains_key(&3) && search.refused().contains_key(&2));
    }
}
