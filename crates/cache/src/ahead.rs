//! What has been handed out before it was known whether it still holds.

use std::sync::Mutex;

use crate::cache::holds;
use crate::file::{Kept, Unusable};

/// What is to be looked at, and what was seen.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    left: Vec<Kept>,
    /// Something did not hold.
    fell: bool,
}

impl Ahead {
    /// Leaves this to be looked at, if that can be done; else looks now. Whether it may be used.
    pub(crate) fn leave(&self, file: Kept) -> Result<bool, Unusable> {
        match self.0.lock() {
            Ok(mut state) => {
                state.left.push(file);
                Ok(true)
            }
            Err(_) => holds(&file),
        }
    }

    /// Whether everything holds that was handed out.
    pub(crate) fn holds(&self) -> bool {
        let Ok(mut state) = self.0.lock() else {
            return false;
        };
        let left = std::mem::take(&mut state.left);
        state.fell |= !left.iter().all(|file| holds(file).unwrap_or(false));
        !state.fell
    }
}
