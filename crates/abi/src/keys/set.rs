//! The keys that were seen of one call: a bounded set that says when it is full.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ArgKey;

/// The keys of one call, at most [`KeySet::MOST`] for each argument. What comes after that is not kept, and
/// the argument is marked as having many: an argument that takes ever new values (a bug, or a fuzzer) must not
/// fill the memory, and a condition on it makes no sense.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySet {
    #[serde(rename = "seen")]
    keys: BTreeSet<ArgKey>,
    /// The arguments that had more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    many: BTreeSet<u8>,
}

impl KeySet {
    /// The most keys that are kept for one argument.
    pub const MOST: usize = 16;

    /// Adds a key. Returns whether it is new and was kept.
    pub fn insert(&mut self, key: ArgKey) -> bool {
        if self.keys.contains(&key) {
            return false;
        }
        if self.of(key.index).count() >= Self::MOST {
            self.many.insert(key.index);
            return false;
        }
        self.keys.insert(key)
    }

    /// Adds what another set has.
    pub fn unite(&mut self, other: Self) {
        for key in other.keys {
            self.insert(key);
        }
        self.many.extend(other.many);
    }

    /// Notes that an argument had more keys than the set has.
    pub fn mark_many(&mut self, index: u8) {
        self.many.insert(index);
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether an argument had more keys than are kept.
    pub fn is_many(&self, index: u8) -> bool {
        self.many.contains(&index)
    }

    /// The keys of one argument, by value.
    pub fn of(&self, index: u8) -> impl Iterator<Item = &ArgKey> {
        self.keys.iter().filter(move |key| key.index == index)
    }

    /// All keys, by argument and value.
    pub fn iter(&self) -> impl Iterator<Item = &ArgKey> {
        self.keys.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u8, value: u64) -> ArgKey {
        ArgKey::new(index, value, format!("{value:#x}"))
    }

    #[test]
    fn past_its_bound_an_argument_has_many_and_the_others_go_on() {
        let mut set = KeySet::default();
        for value in 0..KeySet::MOST as u64 {
            assert!(set.insert(key(1, value)));
            assert!(!set.insert(key(1, value)), "known");
        }
        assert!(!set.is_many(1), "just full");
        assert!(!set.insert(key(1, 1000)));
        assert!(set.is_many(1) && !set.is_many(2));
        assert!(set.insert(key(2, 1000)));
        assert_eq!(
            (set.of(1).count(), set.iter().count()),
            (KeySet::MOST, KeySet::MOST + 1)
        );
    }
}
