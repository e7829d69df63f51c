//! A refused call that ended nobody, as the outcome tells it.

use callgate_abi::Action;
use serde::{Deserialize, Serialize};

use crate::outcome::Violation;

/// A call that the policy refuses and that ended nobody: it got an errno, or was allowed for learning. Of
/// several alike (the same answer, the same arguments of those that choose what a call does) the first one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The call, who made it, where, and how to allow it.
    #[serde(flatten)]
    pub call: Violation,
    /// What refuses it.
    pub by: Refuser,
    /// What that answers: an errno's name, or `kill`, `kill-thread`, `trap`.
    pub answer: String,
    /// What it got: that errno's name, or another one's; none if it was made all the same, for learning.
    pub got: Option<String>,
    /// It was made all the same, for learning.
    pub allowed: bool,
    /// How often it was refused.
    pub count: u64,
    /// The thread's name (`/proc/TID/comm`, proc(5)), which the code chooses.
    pub thread: String,
    /// When it was first refused, in whole milliseconds from the start of the set-up.
    pub ms: u64,
    /// Whether the first was before the user's code: while its interpreter started.
    pub startup: bool,
}

/// What refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refuser {
    /// The policy.
    Policy,
    /// A layer of the tier, the one without sockets: no policy can allow it.
    Layer,
}

/// An answer in one word.
pub(super) fn word(answer: Action) -> String {
    match answer {
        Action::Errno(errno) => callgate_abi::errno_name(errno).into_owned(),
        other => other.to_string(),
    }
}
