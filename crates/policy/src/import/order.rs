//! Lines of which the first that matches decides → rules of which the most restrictive one does.

use callgate_abi::{Action, ArgCondition};

use crate::logic::{self, Any};

/// The rules for one call, whose lines are these, in their order; where none matches, it gets the default.
/// `None` if that takes too many conditions.
pub(super) fn rules(lines: &[(Any, Action)], default: Action) -> Option<Vec<(Action, Vec<ArgCondition>)>> {
    // One condition, and all else is refused: either side may be the shorter one to say.
    let two_sided = match lines {
        [(condition, action)] => Some((condition, *action, default)),
        [(condition, action), (rest, otherwise)] if *rest == logic::always() => {
            Some((condition, *action, *otherwise))
        }
        _ => None,
    };
    if let Some((condition, action, otherwise)) =
        two_sided.filter(|(_, action, otherwise)| action < otherwise)
    {
        let inside = logic::rules(condition).filter(|_| otherwise == default);
        let outside = logic::none_of(condition).and_then(|outside| logic::rules(&outside));
        return match (inside, outside) {
            (Some(inside), outside)
                if outside
                    .as_ref()
                    .is_none_or(|outside| inside.len() <= outside.len() + 1) =>
            {
                Some(inside.into_iter().map(|args| (action, args)).collect())
            }
            // An unconditional refusal must stand alone: beside it, what is allowed would be void.
            (_, Some(outside)) if outside.iter().any(Vec::is_empty) => Some(vec![(otherwise, Vec::new())]),
            (_, Some(outside)) => {
                let refused = outside.into_iter().map(|args| (otherwise, args));
                Some(std::iter::once((action, Vec::new())).chain(refused).collect())
            }
            _ => None,
        };
    }
    let mut found = Vec::new();
    for (index, (condition, action)) in lines.iter().enumerate() {
        let mut own = condition.clone();
        for (earlier, softer) in &lines[..index] {
            if softer < action {
                own = logic::both(&own, &logic::none_of(earlier)?)?;
            }
        }
        found.extend(logic::rules(&own)?.into_iter().map(|args| (*action, args)));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use callgate_abi::CompareOp;
    use proptest::prelude::*;

    use super::*;

    fn condition() -> impl Strategy<Value = Any> {
        let one = (0..2u8, 0..3u64, 0..4usize).prop_map(|(index, value, kind)| match kind {
            0 => logic::comparison(index, CompareOp::Eq, value),
            1 => logic::comparison(index, CompareOp::Ge, value),
            2 => logic::any_bit(index, 3),
            _ => logic::always(),
        });
        prop::collection::vec(one, 1..3).prop_map(|all| all.concat())
    }

    proptest! {
        #[test]
        fn the_most_restrictive_rule_says_what_the_first_line_said(
            lines in prop::collection::vec((condition(), prop::sample::select(vec![Action::Allow, Action::Errno(1), Action::Trap])), 0..4),
            a in 0..4u64,
            b in 0..4u64,
        ) {
            let args = [a, b, 0, 0, 0, 0];
            let default = Action::KillProcess;
            let first = lines.iter().find(|(condition, _)| logic::holds(condition, &args));
            let found = rules(&lines, default).unwrap();
            let matching = found.iter().filter(|(_, all)| all.iter().all(|c| c.holds(&args)));
            prop_assert_eq!(matching.map(|(action, _)| *action).max().unwrap_or(default), first.map_or(default, |(_, action)| *action));
        }
    }
}
