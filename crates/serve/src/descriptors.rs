//! Descriptors: clients must not take those that runs need.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// What the server itself needs, with room to spare: its log, its runtime, templates.
const OWN: u64 = 128;

/// What a run needs while it goes on: pipes, namespaces, a cgroup, the stacks of an interpreter.
const EACH_RUN: u64 = 64;

/// How many of so many connections there can be. The limit of descriptors (getrlimit(2), RLIMIT_NOFILE) is raised as
/// far as it can be first; runs have limits of their own.
pub(crate) fn connections(wanted: usize, max_workers: usize) -> usize {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return wanted;
    };
    let kept = OWN + EACH_RUN * max_workers as u64;
    let needed = kept + wanted as u64;
    let limit = match soft < needed {
        // More than the kernel lets anybody have is refused; then it stays as it is.
        true => match setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard) {
            Ok(()) => needed.min(hard),
            Err(_) => soft,
        },
        false => soft,
    };
    let room = limit.saturating_sub(kept).max(1);
    if room < wanted as u64 {
        warn!(
            "of {wanted} connections there can be {room}: the limit of descriptors is {limit} (ulimit -n), and \
             {max_workers} runs at once need theirs"
        );
    }
    wanted.min(usize::try_from(room).unwrap_or(wanted))
}
