//! What has been seen of the running phase, in the terms of a filter: which calls may pass unstopped, and
//! with which arguments.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use callgate_abi::{ArgKey, KeySet, Syscall};

/// A condition on one argument: its lower half (keys are made of nothing else) is in this range.
pub(crate) type Test = (u8, RangeInclusive<u32>);

/// One way in which a call was made: a test for each argument that has keys, all of which must hold. The
/// names of some keys depend on other arguments (a socket's protocol on its domain), so it is
/// combinations that were seen, and not values alone.
pub(crate) type Shape = Vec<Test>;

/// How many shapes of one call are kept. What comes after that goes on being stopped on.
const MOST_SHAPES: usize = 64;

/// How many calls in a row must show nothing new until stopping on all is given up. Measured on the start
/// of CPython and the import of pandas, where new calls come in bursts: from 25 to 200, nearly all that is
/// made often has been seen by then; from 400 on the waiting costs more than the few latecomers.
const PATIENCE: u32 = 128;

/// How many calls are stopped on if nothing tells that the program has started. What is not in a filter can
/// never be let pass again, so a program should first have begun with what it is for: CPython takes 600 to
/// 1200 calls to start.
const START: u32 = 1500;

/// The calls of the machine's own ABI that were seen, by number, with their shapes.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    calls: BTreeMap<u32, Vec<Shape>>,
    started: bool,
    stops: u32,
    quiet: u32,
}

impl Learned {
    /// Whether all that is to be known of a call with these arguments is known.
    pub(crate) fn knows(&self, call: Syscall, args: &[u64; 6]) -> bool {
        let holds = |(index, range): &Test| range.contains(&(args[usize::from(*index)] as u32));
        call.arch().is_some()
            && self
                .calls
                .get(&call.nr())
                .is_some_and(|shapes| shapes.iter().any(|shape| shape.iter().all(holds)))
    }

    /// Notes how a call was made: the keys of its arguments, of which `kept` are remembered. Where there
    /// are many, any value will do from now on.
    pub(crate) fn learn(&mut self, call: Syscall, keys: &[ArgKey], kept: &KeySet) {
        if call.arch().is_none() {
            return;
        }
        let shapes = self.calls.entry(call.nr()).or_default();
        let many = |test: &Test| kept.is_many(test.0);
        for shape in shapes.iter_mut() {
            shape.retain(|test| !many(test));
        }
        shapes.sort_by_key(Vec::len);
        let mut shape: Shape = keys.iter().map(|key| (key.index, key.lower_half(call))).collect();
        shape.retain(|test| !many(test));
        if !shapes.contains(&shape) && shapes.len() < MOST_SHAPES {
            shapes.push(shape);
        }
        let mut seen: Vec<Shape> = Vec::new();
        shapes.retain(|shape| {
            let new = !seen.contains(shape);
            if new {
                seen.push(shape.clone());
            }
            new
        });
    }

    /// Something new was seen: more may come.
    pub(crate) fn news(&mut self) {
        self.stops = self.stops.saturating_add(1);
        self.quiet = 0;
    }

    /// Nothing new was seen at a stop that a filter would have saved.
    pub(crate) fn nothing_new(&mut self) {
        self.stops = self.stops.saturating_add(1);
        self.quiet = self.quiet.saturating_add(1);
    }

    /// Whether stopping on all has been fruitless for long enough.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet >= PATIENCE && (self.started || self.stops >= START)
    }

    /// The program has begun with what it is for.
    pub(crate) fn started(&mut self) {
        if !self.started {
            self.started = true;
            self.quiet = 0; // what it is for begins only now
        }
    }

    /// Another phase begins, of which nothing is known.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// All calls with their shapes, by number.
    pub(crate) fn calls(&self) -> &BTreeMap<u32, Vec<Shape>> {
        &self.calls
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Abi, Arch, keys};

    use super::*;

    /// Learns as the recorder does.
    fn see(learned: &mut Learned, kept: &mut KeySet, call: Syscall, args: &[u64; 6]) {
        let found = keys(call, args);
        for key in &found {
            kept.insert(key.clone());
        }
        learned.learn(call, &found, kept);
    }

    #[test]
    fn combinations_are_known_and_not_values() {
        let socket = Arch::NATIVE.call("socket").unwrap();
        let (mut learned, mut kept) = (Learned::default(), KeySet::default());
        assert!(!learned.knows(socket, &[2, 1, 6, 0, 0, 0]));
        see(&mut learned, &mut kept, socket, &[2, 1, 6, 0, 0, 0]);
        see(&mut learned, &mut kept, socket, &[1, 1, 0, 0, 0, 0]);
        assert!(learned.knows(socket, &[2, 1, 6, 9, 9, 9]));
        assert!(
            learned.knows(socket, &[2 | 7 << 32, 1, 6, 0, 0, 0]),
            "the kernel reads the lower half"
        );
        assert!(
            !learned.knows(socket, &[2, 1, 0, 0, 0, 0]),
            "0 was seen of another domain"
        );
    }

    #[test]
    fn where_there_are_many_any_value_is_known_and_the_other_arguments_still_count() {
        let mmap = Arch::NATIVE.call("mmap").unwrap();
        let (mut learned, mut kept) = (Learned::default(), KeySet::default());
        for flags in 0..=KeySet::MOST as u64 {
            see(&mut learned, &mut kept, mmap, &[0, 0, 1, flags << 4, 0, 0]);
        }
        assert!(learned.knows(mmap, &[0, 0, 1, 0xffff, 0, 0]));
        assert!(!learned.knows(mmap, &[0, 0, 3, 0xffff, 0, 0]));
        assert_eq!(learned.calls()[&mmap.nr()], [vec![(2, 1..=1)]]);
    }

    #[test]
    fn another_abi_is_never_known() {
        let getpid = Syscall::new(Abi::I386, 20);
        let mut learned = Learned::default();
        learned.learn(getpid, &[], &KeySet::default());
        assert!(!learned.knows(getpid, &[0; 6]));
    }

    #[test]
    fn it_is_quiet_after_a_while_without_news() {
        let mut learned = Learned::default();
        let mut wait = |calls: u32| {
            for _ in 1..calls {
                learned.nothing_new();
                assert!(!learned.is_quiet());
            }
            learned.nothing_new();
            assert!(learned.is_quiet());
            learned.news();
            assert!(!learned.is_quiet());
        };
        wait(START);
        wait(PATIENCE);
        learned.forget();
        for _ in 0..PATIENCE {
            learned.nothing_new();
        }
        learned.started();
        assert!(!learned.is_quiet(), "what it did before says little");
        for _ in 0..PATIENCE {
            learned.nothing_new();
        }
        assert!(learned.is_quiet());
    }
}
