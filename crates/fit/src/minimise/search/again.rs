//! Asking a second time whether calls are required, as the run that said so may have failed by chance.

use super::super::refusal::Refusal;
use super::{SECOND_HOPE, Search};

impl Search {
    /// Doubts so many of the required calls that were not asked about a second time, those first of which it
    /// was least expected. Each gets a trial by itself, with the first errno. Returns how many there were.
    pub(crate) fn ask_again(&mut self, most: usize) -> usize {
        let mut calls: Vec<usize> = self.asked_once().collect();
        calls.sort_by(|one, other| self.hopes[*other].total_cmp(&self.hopes[*one]));
        calls.truncate(most);
        for call in &calls {
            self.required.remove(call);
            self.asked_again.insert(*call);
            self.repeating.insert(*call);
            self.doubt(*call, Refusal::FIRST, SECOND_HOPE);
        }
        calls.len()
    }

    /// The required calls of which one trial with each errno says so, and no more.
    pub(crate) fn asked_once(&self) -> impl Iterator<Item = usize> {
        self.required().filter(|call| !self.asked_again.contains(call))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Refused;
    use super::super::tests::{required, settle};
    use super::*;

    #[test]
    fn a_call_that_was_blamed_by_chance_is_not_required_in_the_end() {
        // 2 and 7 are needed. In whichever trial 4 is first asked about alone, the probe fails by chance; EPERM, the
        // second errno, really breaks it.
        let mut blamed = 0;
        for chance in 0..4 {
            let mut bad_luck = chance;
            let mut same = |refused: &Refused| {
                let needed = [2, 7].iter().any(|call| refused.contains_key(call));
                let broken = refused.get(&4).is_some_and(|how| *how != Refusal::FIRST);
                let unlucky = refused.contains_key(&4) && bad_luck > 0;
                bad_luck -= i32::from(unlucky);
                !(needed || broken || unlucky)
            };
            let mut search = Search::new(vec![0.6; 9]);
            settle(&mut search, 2, &mut same);
            blamed += usize::from(required(&search).contains(&4));
            while search.ask_again(2) > 0 {
                settle(&mut search, 2, &mut same);
            }
            let found = required(&search);
            if chance < 3 {
                assert_eq!(found, [2, 7], "{chance}: {search:?}");
            }
            assert_eq!(search.asked_once().count(), 0);
        }
        assert!(blamed > 0, "the case is not met");
    }

    #[test]
    fn a_required_call_costs_one_trial_more_and_keeps_what_it_was_found_by() {
        let same = |refused: &Refused| !refused.contains_key(&1);
        let mut search = Search::new(vec![0.5; 4]);
        settle(&mut search, 1, same);
        let blamed = search.blamed(1);
        assert_eq!(search.ask_again(5), 1);
        assert_eq!(settle(&mut search, 1, same), 1);
        assert_eq!((required(&search), search.blamed(1)), (vec![1], blamed + 1));
        assert_eq!(search.ask_again(5), 0);
        assert_eq!(search.decided(), 4);
    }
}
