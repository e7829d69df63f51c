//! The promises of `callgate-policy`, each tested against something that is not itself: dify-sandbox's
//! source, libseccomp, the kernel, and the policy's own meaning.
//!
//! - `dify`: the shipped lists are those of dify-sandbox, number by number
//! - `python`: the shipped `python` policy opens nothing dangerous
//! - `shipped`: `docker-default` decides as Docker documents it; `python-network` is `python` and sockets, and so for `node`
//! - `python_runs`: ordinary programs run under them, and end where they leave them
//! - `reading`: what is read, what is refused, and where the fault is
//! - `deriving`: traces become policies with provenance
//! - `comparing`: the diff's contract
//! - `linting`: the shipped policies' findings, pinned; every kind of finding is found
//! - `formats`: what is emitted for another tool and imported again decides the same
//! - `importing`: other tools' files, their conditions on the host, and where their faults are
//! - `proof`: compiled filters agree with the policy over all numbers
//! - `random`: and so do those of random policies
//! - `libseccomp`: and with libseccomp's compilation of the same list
//! - `kernel`: and the kernel agrees

// The helpers beside the tests may fail as the tests do.
#![allow(clippy::unwrap_used)]

mod comparing;
mod deriving;
mod dify;
mod formats;
mod importing;
mod kernel;
mod libseccomp;
mod linting;
mod proof;
mod python;
mod python_runs;
mod random;
mod reading;
mod shipped;
mod sys;

use callgate_policy::Policy;
use callgate_testing::not_run;

/// A shipped policy.
fn load(name: &str) -> Policy {
    callgate_policy::shipped::load(name).unwrap().unwrap()
}
