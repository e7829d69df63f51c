//! What is said of refused calls that ended nobody.

use callgate_exec::{Outcome, Refusal, Refuser};

use super::{call, remedy, site, thread};
use crate::terminal::{BOLD, DIM, YELLOW};

/// How many are shown; JSON has all.
const SHOWN: usize = 20;

/// Prints them, in the order in which they were first made.
pub(super) fn print(outcome: &Outcome) {
    let Some(refusals) = &outcome.refusals else {
        return;
    };
    if refusals.is_empty() {
        say!("{DIM}no call was refused with an errno{DIM:#}");
    }
    // What was allowed for learning is in the trace.
    let refused: Vec<_> = refusals
        .iter()
        .filter_map(|one| Some((one, one.got.as_deref()?)))
        .collect();
    for (refusal, got) in refused.iter().take(SHOWN) {
        one(refusal, got);
    }
    let kinds = refused.len().saturating_sub(SHOWN);
    if kinds > 0 {
        say!("{YELLOW}refused:{YELLOW:#} {kinds} more kinds of calls, which --json shows");
    }
    if outcome.refusals_omitted > 0 {
        say!(
            "{YELLOW}refused:{YELLOW:#} {} more calls, of kinds that are not kept",
            outcome.refusals_omitted
        );
    }
}

fn one(refusal: &Refusal, got: &str) {
    let times = match refusal.count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    };
    let answer = match refusal.by {
        Refuser::Layer => " from a layer of the tier".to_owned(),
        Refuser::Policy if got == refusal.answer => String::new(),
        Refuser::Policy => format!(", the policy answers {}", refusal.answer),
    };
    say!(
        "{YELLOW}refused:{YELLOW:#} {BOLD}{}{BOLD:#} {}; it got {got}{answer}, {times}",
        refusal.call.syscall,
        call(&refusal.call)
    );
    site(&refusal.call);
    thread(&refusal.call);
    remedy(&refusal.call, false);
}
