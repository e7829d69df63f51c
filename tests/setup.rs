//! Every step of the set-up is made to fail, each by an outer filter as a sandbox around callgate would
//! have it: the code never runs, and the message tells the step, the errno and the mend.

mod each;
mod inputs;
mod refusals;

use std::process::Output;

use crate::support::{CALLGATE, callgate, said};

/// What the code would print, if it ran.
const CANARY: &str = "the code ran";

/// Asserts that nothing ran and that what was said has all of these words.
fn nothing_ran(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stdout.contains(CANARY) && !stderr.contains(CANARY),
        "{}",
        said(output)
    );
    for word in words {
        assert!(stderr.contains(word), "{word:?} is not said: {}", said(output));
    }
}
