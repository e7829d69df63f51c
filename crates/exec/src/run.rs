//! One run, from what is asked to its outcome.

mod attempt;
mod conclude;
mod environment;
mod launching;
mod program;
mod request;
mod streams;
mod work;

use std::io;

use callgate_tracee::Stopper;

pub(crate) use self::attempt::{cgroup_layer, landlock_layer};
pub(crate) use self::conclude::Course;
pub use self::environment::environment;
pub(crate) use self::environment::variables;
pub(crate) use self::launching::launch_failed;
pub use self::program::{Program, Root};
pub use self::request::{Input, Io, Listener, Network, Run, Stream, Word};
pub(crate) use self::streams::streams;
use crate::early::Early;
use crate::outcome::{Outcome, SetUpFailure, causes};

/// Runs it and returns how it ended. A set-up step that fails is an outcome too: nothing ran then.
/// `started` gets a handle by which another thread can end the run.
pub fn run(run: &Run, started: impl FnOnce(Stopper)) -> Outcome {
    run_early(run, Early::none(), started)
}

/// Runs what was [begun](Early::begin) with the same tier, limits, network and cache, in a root that is found by itself.
pub fn run_early(run: &Run, early: Early, started: impl FnOnce(Stopper)) -> Outcome {
    attempt::attempt(run, early, started).unwrap_or_else(Outcome::from)
}

/// A failure of a call of our own, as that of a step.
pub(crate) fn system(step: &'static str) -> impl Fn(io::Error) -> SetUpFailure {
    move |error| SetUpFailure {
        step: step.to_owned(),
        error: causes(&error),
        advice: None,
    }
}
