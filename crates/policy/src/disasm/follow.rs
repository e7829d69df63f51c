//! What is loaded at each instruction, and which architecture is known by then.

use crate::bpf::{Op, Source, Test};

/// What the accumulator holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// The number of the call.
    Nr,
    /// The architecture word.
    Arch,
    /// Something else, or not the same on all paths.
    Other,
}

/// What is known before an instruction, on all paths to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) loaded: Loaded,
    /// The architecture word, once the program has compared it.
    pub(super) audit: Option<u32>,
}

impl State {
    const START: Self = Self {
        loaded: Loaded::Other,
        audit: None,
    };

    /// What is known where two paths meet.
    fn meet(self, other: Self) -> Self {
        Self {
            loaded: if self.loaded == other.loaded {
                self.loaded
            } else {
                Loaded::Other
            },
            audit: self.audit.filter(|audit| other.audit == Some(*audit)),
        }
    }
}

/// The state before each instruction. Jumps only go forward, so one pass is enough; what no path reaches
/// has nothing known.
pub(super) fn follow(ops: &[Option<Op>]) -> Vec<State> {
    let mut states: Vec<Option<State>> = vec![None; ops.len()];
    if let Some(first) = states.first_mut() {
        *first = Some(State::START);
    }
    for (at, op) in ops.iter().enumerate() {
        let Some(before) = states[at] else { continue };
        let mut reach = |skip: usize, state: State| {
            let place = at.checked_add(1).and_then(|next| next.checked_add(skip));
            if let Some(there) = place.and_then(|place| states.get_mut(place)) {
                *there = Some(there.map_or(state, |known| known.meet(state)));
            }
        };
        let loads = |loaded| State { loaded, ..before };
        match *op {
            Some(Op::Load(0)) => reach(0, loads(Loaded::Nr)),
            Some(Op::Load(4)) => reach(0, loads(Loaded::Arch)),
            Some(
                Op::Load(_) | Op::Immediate(_) | Op::Memory(_) | Op::FromIndex | Op::Negate | Op::Compute(..),
            ) => {
                reach(0, loads(Loaded::Other));
            }
            Some(Op::Always(skip)) => reach(skip, before),
            Some(Op::Jump {
                test,
                source,
                yes,
                no,
            }) => {
                let known = match (before.loaded, test, source) {
                    (Loaded::Arch, Test::Equal, Source::Constant(audit)) => State {
                        audit: Some(audit),
                        ..before
                    },
                    _ => before,
                };
                reach(yes, known);
                reach(no, before);
            }
            Some(Op::Return(_) | Op::ReturnAccumulator) => {}
            Some(
                Op::IndexImmediate(_) | Op::IndexMemory(_) | Op::Store(_) | Op::StoreIndex(_) | Op::ToIndex,
            )
            | None => reach(0, before),
        }
    }
    states
        .into_iter()
        .map(|state| state.unwrap_or(State::START))
        .collect()
}
