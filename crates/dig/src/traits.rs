//! What the recorder must know of each call: its path arguments, and whether it must always stop.

use callgate_abi::Syscall;

use crate::paths::{PathArg, path_args};

/// Options of prctl by which a process asks about, or sets, what an injected filter changes
/// (linux/prctl.h): PR_GET_SECCOMP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS.
const PRCTL_STOPS: &[u32] = &[21, 22, 38, 39];

/// Children with this flag of clone are hidden from tracers (clone(2)).
pub(crate) const CLONE_UNTRACED: u64 = 0x0080_0000;

/// What a call is to the recorder.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// Its path arguments.
    pub(crate) paths: &'static [PathArg],
    /// It is never let pass: its paths are wanted, or it changes what others mean.
    pub(crate) always: bool,
    /// It is never let pass with these values of its first argument.
    pub(crate) stop_values: &'static [u32],
    /// It is never let pass with any of these bits in its first argument.
    pub(crate) stop_bits: u32,
}

/// What is to be known of a call.
pub(crate) fn traits(call: Syscall) -> Traits {
    let name = call.known_name().unwrap_or_default();
    let paths = path_args(name);
    Traits {
        paths,
        always: !paths.is_empty() || always(name),
        stop_values: if name == "prctl" { PRCTL_STOPS } else { &[] },
        stop_bits: if name == "clone" { CLONE_UNTRACED as u32 } else { 0 },
    }
}

/// Calls without a path that always stop.
fn always(name: &str) -> bool {
    match name {
        // Its flags lie in memory.
        "clone3" => true,
        // What an injected filter changes, or what ends our sight.
        "seccomp" | "landlock_restrict_self" | "ptrace" => true,
        // What binding a thread to a CPU changes.
        "sched_getaffinity" | "sched_setaffinity" => true,
        _ => false,
    }
}
