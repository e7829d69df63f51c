//! Why a policy can't be changed as it was asked for.

use callgate_abi::{Abi, Action, Arch, ArgCondition};

use crate::UnknownCall;

/// Why a call can't be written into a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmendError {
    /// It goes through an entry whose calls are always refused.
    #[error(
        "{name} was called through the {abi} entry, which filters refuse as a whole: \
         run a 64-bit build of that program"
    )]
    Compatibility {
        /// The entry.
        abi: Abi,
        /// The name of the call there.
        name: String,
    },
    /// It has no name to be written by.
    #[error("number {nr} has no name on {arch}, and a policy file names its calls: use a newer callgate")]
    Unnamed {
        /// The number.
        nr: u32,
        /// The architecture.
        arch: Arch,
    },
    /// A condition that the call can't have.
    #[error("{name}: the condition {lost} has no place in its arguments")]
    NotThere {
        /// The call.
        name: &'static str,
        /// The condition.
        lost: ArgCondition,
    },
    /// An unconditional refusal whose rest can't be written as rules, under a default that lets calls run.
    #[error(
        "{name} is refused whatever its arguments, and rules can't say the rest of that under a default that lets \
         calls run: take it out with `callgate policy remove` and write the refusals by hand"
    )]
    Unsayable {
        /// The call.
        name: &'static str,
    },
    /// Rules with conditions of their own refuse it.
    #[error(
        "{name} with {conditions} is refused by rules whose conditions cover more than that: take them out or \
         narrow them by hand"
    )]
    Overruled {
        /// The call.
        name: &'static str,
        /// The conditions.
        conditions: String,
    },
}

/// Why a call can't be denied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyError {
    /// Linux has no such call.
    #[error(transparent)]
    Unknown(#[from] UnknownCall),
    /// The action is no refusal.
    #[error("{0} refuses nothing: deny with an errno, trap or kill")]
    Runs(Action),
}
