//! What is said of refused calls that ended nobody.

use callgate_exec::{Outcome, Refusal};

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
        anstream::eprintln!("{DIM}no call was refused with an errno{DIM:#}");
    }
    for refusal in refusals.iter().take(SHOWN) {
        one(refusal);
    }
    let kinds = refusals.len().saturating_sub(SHOWN);
    if kinds > 0 {
        anstream::eprintln!("{YELLOW}refused:{YELLOW:#} {kinds} more kinds of calls, which --json shows");
    }
    if outcome.refusals_omitted > 0 {
        anstream::eprintln!(
            "{YELLOW}refused:{YELLOW:#} {} more calls, of kinds that are not kept",
            outcome.refusals_omitted
        );
    }
}

fn one(refusal: &Refusal) {
    let times = match refusal.count {
        1 => "once".to_owned(),
        n => format!("{n} times"),
    };
    let (verb, answer) = match refusal.allowed {
        true => ("allowed:", format!("the policy answers {}", refusal.answer)),
        false => ("refused:", format!("it got {}", refusal.answer)),
    };
    anstream::eprintln!(
        "{YELLOW}{verb}{YELLOW:#} {BOLD}{}{BOLD:#} {}; {answer}, {times}",
        refusal.call.syscall,
        call(&refusal.call)
    );
    site(&refusal.call);
    thread(&refusal.call);
    remedy(&refusal.call, false);
}
