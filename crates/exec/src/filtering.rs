//! What the supervisor does about the calls that the filter refuses.
//!
//! The kernel refuses them, and that is all, unless somebody wants to know of them: a call that gets an errno
//! leaves no trace by itself. Then the refusals are compiled to `SECCOMP_RET_TRACE`, with what the policy
//! answers in the 16 bits that come along ([`mark`]). The supervisor, which traces the run anyway, notes the
//! call and has it skipped with that errno. It never runs: without a tracer, or with one that has just died,
//! the kernel skips it as well (ENOSYS, or the death that comes with the tracer's).
//!
//! One answer of a filter comes between the two: `SECCOMP_RET_USER_NOTIF` counts more than TRACE and less
//! than ERRNO, and whoever holds its listener may let the call run. So nobody but the kernel may have a
//! listener: the code gets none ([`program`]), and with one outside ([`check`]) nothing runs.

use std::thread;

mod exceptions;
mod mark;
mod program;
mod refusal;
mod refusals;

pub(crate) use self::program::{layer, program};
pub use self::refusal::{Refusal, Refuser};
pub(crate) use self::refusals::Refusals;
use crate::outcome::SetUpFailure;
use crate::sys;
use crate::tier::Tier;

/// What is known, and done, of the calls that the filter refuses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// They are refused; what ended a process is reported.
    #[default]
    Enforced,
    /// They are refused, and those that get an errno are reported too.
    Explained,
    /// They are allowed and reported, for growing a policy; only what would open the other layers, and
    /// calls through foreign entries, stay refused. The filter holds nobody then.
    Learned,
}

impl Filtering {
    /// The layer in the words of the outcome.
    pub(crate) fn layer(self, from: &str) -> String {
        match self {
            Self::Enforced | Self::Explained => format!("seccomp {from}"),
            Self::Learned => {
                format!("seccomp {from} that only records (but for what would open other layers)")
            }
        }
    }
}

/// Fails if the reports can't be had safely: what a listener outside answers would count more than we do. And
/// nothing is learned where the filter is what separates the code from the rest of its user's processes.
pub(crate) fn check(filtering: Filtering, tier: Tier) -> Result<(), SetUpFailure> {
    match (filtering, tier) {
        (Filtering::Enforced, _) => return Ok(()),
        (Filtering::Learned, Tier::Landlock) => {
            return Err(SetUpFailure {
                step: "seccomp".to_owned(),
                error:
                    "nothing is learned at tier landlock: without the filter too little would hold the code"
                        .to_owned(),
                advice: Some(
                    "use --learn where another tier works: `callgate doctor` says what they need".to_owned(),
                ),
            });
        }
        (Filtering::Learned | Filtering::Explained, _) => {}
    }
    // The filter that is tried for it ends with its thread.
    let tried = thread::scope(|scope| scope.spawn(sys::listen).join());
    let error = match tried {
        Ok(Ok(true)) => return Ok(()),
        Ok(Ok(false)) => {
            "an outer sandbox listens to calls (SECCOMP_RET_USER_NOTIF) and could let run what is refused \
                          here"
                .to_owned()
        }
        Ok(Err(errno)) => format!("can't find out whether an outer sandbox listens to calls: {errno}"),
        Err(_) => "can't find out whether an outer sandbox listens to calls".to_owned(),
    };
    Err(SetUpFailure {
        step: "seccomp".to_owned(),
        error,
        advice: Some("run without --explain and --learn, or outside of that sandbox".to_owned()),
    })
}
