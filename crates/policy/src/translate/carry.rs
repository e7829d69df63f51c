//! Conditions and keys carried from a call to its counterpart: argument by argument, or not at all.

use callgate_abi::{ArgCondition, ArgKey, CompareOp, KeySet, Syscall, keys};

use super::table::{Slot, other_flags};
use crate::when::LOW;

/// How the arguments of a call become those of its counterpart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// By the counterpart's arguments: where each comes from.
    slots: Vec<Slot>,
    /// What the counterpart implies of the original's arguments: open is openat with `AT_FDCWD`.
    implied: Vec<(u8, u64)>,
}

impl Way {
    /// From the original to the counterpart of its row.
    pub(crate) fn there(slots: &[Slot]) -> Self {
        let (slots, implied) = (slots.to_vec(), Vec::new());
        Self { slots, implied }
    }

    /// From the counterpart of a row back to the older name that the row is for.
    pub(crate) fn back(slots: &[Slot]) -> Self {
        let mut back = vec![Slot::Other; 6];
        let mut implied = Vec::new();
        for (index, slot) in (0u8..).zip(slots) {
            match *slot {
                Slot::Arg(older) => back[usize::from(older)] = Slot::Arg(index),
                Slot::Flags(older) => back[usize::from(older)] = Slot::Flags(index),
                Slot::Const(value) => implied.push((index, value)),
                Slot::Other => {}
            }
        }
        Self { slots: back, implied }
    }

    /// The conditions under which the counterpart does what the original does under `conditions`, with the
    /// arguments that it always has.
    ///
    /// # Errors
    /// The first condition that has no place there, or that the counterpart never meets.
    pub(crate) fn conditions(&self, conditions: &[ArgCondition]) -> Result<Vec<ArgCondition>, ArgCondition> {
        let mut carried = self.constants();
        for condition in conditions {
            match self.implied.iter().find(|(index, _)| *index == condition.index()) {
                Some((_, value)) if either(*value, |value| condition.holds(&[value; 6])) => {}
                Some(_) => return Err(*condition),
                None => carried.push(self.one(*condition).ok_or(*condition)?),
            }
        }
        Ok(carried)
    }

    /// What the counterpart's constant arguments are.
    pub(crate) fn constants(&self) -> Vec<ArgCondition> {
        let constant = |(index, slot): (u8, &Slot)| match slot {
            Slot::Const(value) => ArgCondition::new(index, CompareOp::MaskedEq(LOW), *value).ok(),
            _ => None,
        };
        (0..).zip(&self.slots).filter_map(constant).collect()
    }

    fn one(&self, condition: ArgCondition) -> Option<ArgCondition> {
        let from = condition.index();
        let (index, slot) = (0..)
            .zip(&self.slots)
            .find(|(_, slot)| matches!(slot, Slot::Arg(i) | Slot::Flags(i) if *i == from))?;
        let (op, value) = match (slot, condition.op()) {
            (Slot::Flags(_), CompareOp::MaskedEq(mask)) => (
                CompareOp::MaskedEq(other_flags(mask)),
                other_flags(condition.value()),
            ),
            (Slot::Flags(_), op @ (CompareOp::Eq | CompareOp::Ne)) => (op, other_flags(condition.value())),
            (Slot::Flags(_), _) => return None,
            (_, op) => (op, condition.value()),
        };
        ArgCondition::new(index, op, value).ok()
    }

    /// Whether the original can have been made as the counterpart does it: no key that was seen of it says
    /// otherwise.
    pub(crate) fn possible(&self, seen: &KeySet) -> bool {
        self.implied.iter().all(|(index, value)| {
            let known = seen.of(*index).count() > 0 && !seen.is_many(*index);
            !known || seen.of(*index).any(|key| key.value == *value)
        })
    }

    /// The keys of the counterpart for the keys that were seen of the original.
    pub(crate) fn key_set(&self, there: Syscall, seen: &KeySet) -> KeySet {
        let mut carried = KeySet::default();
        for (index, slot) in (0..).zip(&self.slots) {
            let values: Vec<u64> = match slot {
                Slot::Const(value) => vec![*value],
                Slot::Arg(from) => seen.of(*from).map(|key| key.value).collect(),
                Slot::Flags(from) => seen.of(*from).map(|key| other_flags(key.value)).collect(),
                Slot::Other => Vec::new(),
            };
            for value in values {
                if let Some(key) = named(there, index, value, seen) {
                    carried.insert(key);
                }
            }
            if let Slot::Arg(from) | Slot::Flags(from) = slot {
                if seen.is_many(*from) {
                    carried.mark_many(index);
                }
            }
        }
        carried
    }
}

/// Whether it holds for a 32-bit value, however its upper half is filled.
pub(crate) fn either(value: u64, holds: impl Fn(u64) -> bool) -> bool {
    holds(value) || holds(value as u32 as i32 as i64 as u64)
}

/// The key with the name that it has there; none where the argument is no key there.
fn named(there: Syscall, index: u8, value: u64, seen: &KeySet) -> Option<ArgKey> {
    let mut args = [0; 6];
    // The names of protocols and options depend on the argument before.
    for key in seen.iter().filter(|key| key.index < index) {
        args[usize::from(key.index)] = key.value;
    }
    args[usize::from(index)] = value;
    keys(there, &args).into_iter().find(|key| key.index == index)
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::super::counterparts;
    use super::*;

    fn arg(index: u8, op: CompareOp, value: u64) -> ArgCondition {
        ArgCondition::new(index, op, value).unwrap()
    }

    /// The counterparts of an amd64 call on arm64, with its conditions there.
    fn there(name: &str, given: &[ArgCondition]) -> Vec<(String, Result<Vec<ArgCondition>, ArgCondition>)> {
        counterparts(Arch::X86_64.call(name).unwrap(), Arch::Aarch64)
            .into_iter()
            .map(|found| (found.call.name().into_owned(), found.way.conditions(given)))
            .collect()
    }

    const CWD: u64 = 0xffff_ff9c;

    #[test]
    fn a_condition_on_open_s_flags_moves_to_openat_s_third_argument_with_arm64_s_bits() {
        let directory = arg(1, CompareOp::MaskedEq(0o200_000), 0o200_000);
        let found = there("open", &[directory]);
        let expected = vec![
            arg(0, CompareOp::MaskedEq(LOW), CWD),
            arg(2, CompareOp::MaskedEq(0o40_000), 0o40_000),
        ];
        assert_eq!(found, [("openat".to_owned(), Ok(expected))]);
    }

    #[test]
    fn clone_s_last_two_arguments_change_places_and_fork_is_clone_with_its_flags() {
        let tls = arg(4, CompareOp::Ne, 0);
        assert_eq!(
            there("clone", &[tls]),
            [("clone".to_owned(), Ok(vec![arg(3, CompareOp::Ne, 0)]))]
        );
        let fork = there("fork", &[]);
        let flags = &fork[0].1.as_ref().unwrap()[0];
        assert_eq!((flags.index(), flags.value()), (0, 0x0120_0011));
    }

    #[test]
    fn what_has_no_place_there_is_told_and_not_dropped() {
        let timeout = arg(2, CompareOp::Eq, 0);
        assert_eq!(there("poll", &[timeout]), [("ppoll".to_owned(), Err(timeout))]);
        let order = arg(1, CompareOp::Le, 2);
        assert_eq!(there("open", &[order])[0].1, Err(order));
    }

    #[test]
    fn from_arm64_back_an_older_name_needs_the_arguments_that_it_implies() {
        let find = |name: &str, older: &str| {
            let found = counterparts(Arch::Aarch64.call(name).unwrap(), Arch::X86_64);
            found.into_iter().find(|c| c.call.name() == older).unwrap()
        };
        let flags = arg(2, CompareOp::MaskedEq(LOW), 0o40_000);
        let open = find("openat", "open").way.conditions(&[flags]).unwrap();
        assert_eq!(open, [arg(1, CompareOp::MaskedEq(LOW), 0o200_000)]);
        let here = arg(0, CompareOp::Eq, CWD);
        assert_eq!(find("openat", "open").way.conditions(&[here]), Ok(vec![]));
        let directory = arg(2, CompareOp::Eq, 0x200);
        assert_eq!(
            find("unlinkat", "unlink").way.conditions(&[directory]),
            Err(directory)
        );
        assert_eq!(find("unlinkat", "rmdir").way.conditions(&[directory]), Ok(vec![]));
        let mut thread = KeySet::default();
        for key in keys(Arch::Aarch64.call("clone").unwrap(), &[0x3d_0f00, 0, 0, 0, 0, 0]) {
            thread.insert(key);
        }
        assert!(!find("clone", "fork").way.possible(&thread));
        assert!(find("clone", "fork").way.possible(&KeySet::default()));
    }

    #[test]
    fn keys_get_the_names_that_they_have_there() {
        let open = Arch::X86_64.call("open").unwrap();
        let mut seen = KeySet::default();
        for key in keys(open, &[0, 0o200_000, 0, 0, 0, 0]) {
            seen.insert(key);
        }
        let found = counterparts(open, Arch::Aarch64).remove(0);
        let carried = found.way.key_set(found.call, &seen);
        let told: Vec<(u8, &str)> = carried.iter().map(|key| (key.index, key.name.as_str())).collect();
        assert_eq!(told, [(2, "O_RDONLY|O_DIRECTORY")]);
    }
}
