//! Conditions on arguments as logic: alternatives of conjunctions, and their negation.
//!
//! Formats whose first matching line wins, or which say only what is allowed, need the opposite of a
//! condition. A policy's rules have no "not", but every comparison has an opposite that rules can say.

use callgate_abi::{ArgCondition, CompareOp};

/// One thing that is asked of an argument. A rule can ask the first kind; some formats ask the second too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    /// A comparison.
    Is(ArgCondition),
    /// At least one bit of the mask is set.
    AnyBit {
        /// Which argument.
        index: u8,
        /// Two bits or more.
        mask: u64,
    },
}

/// What must all hold; none: always.
pub(crate) type All = Vec<Atom>;

/// Alternatives of which one must hold; none: never.
pub(crate) type Any = Vec<All>;

/// How many alternatives an expression may grow to, and how many steps that may take. More would not fit
/// into a filter.
const MOST: usize = 512;
const MOST_STEPS: usize = 1 << 16;

/// What holds always.
pub(crate) fn always() -> Any {
    vec![Vec::new()]
}

/// A rule's conditions.
pub(crate) fn all(conditions: &[ArgCondition]) -> All {
    conditions.iter().copied().map(Atom::Is).collect()
}

/// At least one bit of the mask is set.
pub(crate) fn any_bit(index: u8, mask: u64) -> Any {
    match mask.count_ones() {
        0 => Vec::new(),
        1 => masked(index, mask, mask),
        _ => vec![vec![Atom::AnyBit { index, mask }]],
    }
}

/// The bits of the mask are these.
pub(crate) fn masked(index: u8, mask: u64, value: u64) -> Any {
    comparison(index, CompareOp::MaskedEq(mask), value)
}

/// One comparison; never, if it can't hold.
pub(crate) fn comparison(index: u8, op: CompareOp, value: u64) -> Any {
    ArgCondition::new(index, op, value)
        .ok()
        .map(|condition| vec![Atom::Is(condition)])
        .into_iter()
        .collect()
}

/// The alternatives that say that it does not hold.
fn not(atom: Atom) -> Any {
    let condition = match atom {
        Atom::AnyBit { index, mask } => return masked(index, mask, 0),
        Atom::Is(condition) => condition,
    };
    let (index, value) = (condition.index(), condition.value());
    let opposite = match condition.op() {
        CompareOp::Eq => CompareOp::Ne,
        CompareOp::Ne => CompareOp::Eq,
        CompareOp::Lt => CompareOp::Ge,
        CompareOp::Ge => CompareOp::Lt,
        CompareOp::Le => CompareOp::Gt,
        CompareOp::Gt => CompareOp::Le,
        // A bit that should be clear is set, or one that should be set is clear.
        CompareOp::MaskedEq(mask) => {
            let clear = bits(value).flat_map(|bit| masked(index, bit, 0));
            return any_bit(index, mask & !value).into_iter().chain(clear).collect();
        }
    };
    comparison(index, opposite, value)
}

/// The bits that are set, each as a mask.
pub(crate) fn bits(mask: u64) -> impl Iterator<Item = u64> {
    (0..64).map(|shift| 1 << shift).filter(move |bit| mask & bit != 0)
}

/// Both hold; `None` if that takes too many alternatives.
pub(crate) fn both(first: &Any, second: &Any) -> Option<Any> {
    if first.len().checked_mul(second.len())? > MOST_STEPS {
        return None;
    }
    let mut found: Any = Vec::new();
    for one in first {
        for other in second {
            let Some(all) = joined(one, other) else { continue };
            let holds_where = |wide: &All, narrow: &All| wide.iter().all(|atom| narrow.contains(atom));
            if found.iter().any(|known| holds_where(known, &all)) {
                continue;
            }
            found.retain(|known| !holds_where(&all, known));
            found.push(all);
            if found.len() > MOST {
                return None;
            }
        }
    }
    Some(found)
}

/// Both, with the known bits of each argument gathered in one comparison; `None` if they contradict.
fn joined(one: &All, other: &All) -> Option<All> {
    let mut known = [(0u64, 0u64); ArgCondition::ARGS as usize];
    let (mut asked, mut rest): (Vec<(u8, u64)>, All) = (Vec::new(), Vec::new());
    for atom in one.iter().chain(other) {
        let (index, mask, value) = match atom {
            Atom::AnyBit { index, mask } => {
                asked.push((*index, *mask));
                continue;
            }
            Atom::Is(condition) => match condition.op() {
                CompareOp::Eq => (condition.index(), u64::MAX, condition.value()),
                CompareOp::MaskedEq(mask) => (condition.index(), mask, condition.value()),
                _ => {
                    rest.push(*atom);
                    continue;
                }
            },
        };
        let (seen, bits) = &mut known[usize::from(index)];
        if (*bits ^ value) & *seen & mask != 0 {
            return None;
        }
        *seen |= mask;
        *bits |= value;
    }
    for (index, mask) in asked {
        let (seen, bits) = known[usize::from(index)];
        if bits & mask == 0 {
            let [all] = <[All; 1]>::try_from(any_bit(index, mask & !seen)).ok()?;
            rest.extend(all);
        }
    }
    for (index, (mask, value)) in (0..).zip(known) {
        if mask != 0 {
            let op = if mask == u64::MAX {
                CompareOp::Eq
            } else {
                CompareOp::MaskedEq(mask)
            };
            rest.extend(comparison(index, op, value).concat());
        }
    }
    rest.sort();
    rest.dedup();
    Some(rest)
}

/// None of the alternatives holds; `None` if that takes too many alternatives.
pub(crate) fn none_of(alternatives: &Any) -> Option<Any> {
    alternatives.iter().try_fold(always(), |rest, all| {
        let other: Any = all.iter().flat_map(|atom| not(*atom)).collect();
        both(&rest, &other)
    })
}

/// The alternatives as rules have them; `None` if they are too many.
pub(crate) fn rules(alternatives: &Any) -> Option<Vec<Vec<ArgCondition>>> {
    let mut found: Vec<Vec<ArgCondition>> = Vec::new();
    for all in alternatives {
        let mut own: Vec<Vec<ArgCondition>> = vec![Vec::new()];
        for atom in all {
            let choices: Vec<ArgCondition> = match atom {
                Atom::Is(condition) => vec![*condition],
                Atom::AnyBit { index, mask } => bits(*mask)
                    .filter_map(|bit| ArgCondition::new(*index, CompareOp::MaskedEq(bit), bit).ok())
                    .collect(),
            };
            own = own
                .iter()
                .flat_map(|before| choices.iter().map(move |c| [&before[..], &[*c]].concat()))
                .collect();
            if own.len() > MOST {
                return None;
            }
        }
        found.extend(own);
        if found.len() > MOST {
            return None;
        }
    }
    Some(found)
}

/// The lower 32 bits of an argument compared, whatever the upper ones are.
pub(crate) fn low_half(index: u8, op: CompareOp, value: u32) -> Any {
    const LOW: u64 = u32::MAX as u64;
    let wide = u64::from(value);
    let above = |bit: u64| LOW & !(bit | (bit - 1));
    // Less: equal above a bit that is set in the value, and clear there.
    let less = || -> Any {
        bits(wide)
            .flat_map(|bit| masked(index, above(bit) | bit, wide & above(bit)))
            .collect()
    };
    let greater = || -> Any {
        bits(!wide & LOW)
            .flat_map(|bit| masked(index, above(bit) | bit, wide & above(bit) | bit))
            .collect()
    };
    let equal = || masked(index, LOW, wide);
    match op {
        CompareOp::Eq => equal(),
        CompareOp::Ne => [less(), greater()].concat(),
        CompareOp::Lt => less(),
        CompareOp::Le => [equal(), less()].concat(),
        CompareOp::Gt => greater(),
        CompareOp::Ge => [equal(), greater()].concat(),
        CompareOp::MaskedEq(mask) => masked(index, mask & LOW, wide & mask),
    }
}

/// Whether some alternative holds.
#[cfg(test)]
pub(crate) fn holds(alternatives: &Any, args: &[u64; 6]) -> bool {
    let atom = |atom: &Atom| match atom {
        Atom::Is(condition) => condition.holds(args),
        Atom::AnyBit { index, mask } => args[usize::from(*index)] & mask != 0,
    };
    alternatives.iter().any(|all| all.iter().all(atom))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn condition() -> impl Strategy<Value = ArgCondition> {
        let value = prop_oneof![0..4u64, any::<u64>(), Just(u64::MAX)];
        let op = prop_oneof![
            Just(CompareOp::Eq),
            Just(CompareOp::Ne),
            Just(CompareOp::Lt),
            Just(CompareOp::Le),
            Just(CompareOp::Ge),
            Just(CompareOp::Gt),
            (0..16u64).prop_map(CompareOp::MaskedEq),
        ];
        (0..2u8, op, value).prop_filter_map("one that can hold", |(index, op, value)| {
            let value = if let CompareOp::MaskedEq(mask) = op {
                value & mask
            } else {
                value
            };
            ArgCondition::new(index, op, value).ok()
        })
    }

    fn atom() -> impl Strategy<Value = Atom> {
        let any = (0..2u8, 0..16u64)
            .prop_filter_map("two bits", |(index, mask)| any_bit(index, mask).concat().pop());
        prop_oneof![3 => condition().prop_map(Atom::Is), 1 => any]
    }

    fn alternatives() -> impl Strategy<Value = Any> {
        prop::collection::vec(prop::collection::vec(atom(), 0..4), 0..4)
    }

    fn small() -> impl Strategy<Value = u64> {
        prop_oneof![0..20u64, any::<u64>()]
    }

    proptest! {
        #[test]
        fn opposites_joins_and_rules_hold_exactly_where_they_should(one in alternatives(), other in alternatives(), a in small(), b in small()) {
            let args = [a, b, 0, 0, 0, 0];
            if let Some(opposite) = none_of(&one) {
                prop_assert_eq!(holds(&opposite, &args), !holds(&one, &args));
            }
            if let Some(joint) = both(&one, &other) {
                prop_assert_eq!(holds(&joint, &args), holds(&one, &args) && holds(&other, &args));
            }
            let found = rules(&one).unwrap();
            prop_assert_eq!(found.iter().any(|all| all.iter().all(|c| c.holds(&args))), holds(&one, &args));
        }
        #[test]
        fn the_low_half_is_compared_as_32_bits_are(value in any::<u32>(), near in -2..3i64, arg in any::<u64>(), mask in any::<u32>()) {
            let close = u64::from(value).wrapping_add_signed(near) & 0xffff_ffff | arg << 32;
            for arg in [arg, close] {
                let low = arg as u32;
                let says = |op, value| holds(&low_half(3, op, value), &[0, 0, 0, arg, 0, 0]);
                prop_assert_eq!(says(CompareOp::Eq, value), low == value);
                prop_assert_eq!(says(CompareOp::Ne, value), low != value);
                prop_assert_eq!(says(CompareOp::Lt, value), low < value);
                prop_assert_eq!(says(CompareOp::Le, value), low <= value);
                prop_assert_eq!(says(CompareOp::Gt, value), low > value);
                prop_assert_eq!(says(CompareOp::Ge, value), low >= value);
                prop_assert_eq!(says(CompareOp::MaskedEq(u64::from(mask)), value), low & mask == value & mask);
            }
        }
    }

    #[test]
    fn what_was_negated_twice_is_as_short_as_it_was() {
        let terminal = |value| masked(1, 0xffff_ffff, value).concat();
        let both = vec![terminal(0x5412), terminal(0x541c)];
        let outside = none_of(&both).unwrap();
        assert!(outside.len() < 50, "{}", outside.len());
        let mut again = none_of(&outside).unwrap();
        again.sort();
        assert_eq!(again, both);
    }
}
