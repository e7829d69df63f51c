//! What has been handed out before it was known whether it still holds.

use std::sync::Mutex;

use crate::cache::Lines;

/// What is to be looked at, and what was seen.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    left: Vec<Lines>,
    /// Something did not hold.
    fell: bool,
}

impl Ahead {
    /// Leaves these to be looked at. False if they are not: they have to be looked at now.
    pub(crate) fn leave(&self, lines: Lines) -> bool {
        match self.0.lock() {
            Ok(mut state) => {
                state.left.push(lines);
                true
            }
            Err(_) => lines.hold(),
        }
    }

    /// Whether everything holds that was handed out.
    pub(crate) fn holds(&self) -> bool {
        let Ok(mut state) = self.0.lock() else {
            return false;
        };
        let left = std::mem::take(&mut state.left);
        state.fell |= !left.iter().all(Lines::hold);
        !state.fell
    }
}
