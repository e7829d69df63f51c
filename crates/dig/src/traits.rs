//! What the recorder must know of each call: its path arguments, and whether it must always stop.

use std::sync::LazyLock;

use callgate_abi::{Arch, Syscall, flags_in_memory};

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
    /// Its flags lie in memory.
    pub(crate) in_memory: bool,
    /// It may make a child that hides from us.
    pub(crate) bears: bool,
    /// It may ask about, or set, what our filter changes.
    pub(crate) asks: bool,
    /// It sees or sets what threads are bound to.
    pub(crate) binds: bool,
    /// With an empty path it is glibc's fstat.
    pub(crate) stats: bool,
}

/// What is to be known of a call.
pub(crate) fn traits(call: Syscall) -> Traits {
    /// Calls come one in some µs, and names are found by a search.
    static NATIVE: LazyLock<Vec<Traits>> = LazyLock::new(|| {
        (0..NUMBERS)
            .map(|nr| by_name(Syscall::new(Arch::NATIVE.abi(), nr)))
            .collect()
    });
    match NATIVE.get(call.nr() as usize) {
        Some(known) if call.abi() == Arch::NATIVE.abi() => *known,
        _ => by_name(call),
    }
}

/// Numbers that are looked up by the table: all that there are, and some.
const NUMBERS: u32 = 600;

fn by_name(call: Syscall) -> Traits {
    let name = call.known_name().unwrap_or_default();
    let paths = path_args(name);
    Traits {
        paths,
        always: !paths.is_empty() || always(name),
        stop_values: if name == "prctl" { PRCTL_STOPS } else { &[] },
        stop_bits: if name == "clone" { CLONE_UNTRACED as u32 } else { 0 },
        in_memory: flags_in_memory(call).is_some(),
        bears: matches!(name, "clone" | "clone3"),
        asks: matches!(name, "prctl" | "seccomp" | "landlock_restrict_self"),
        binds: matches!(name, "sched_getaffinity" | "sched_setaffinity"),
        stats: name == "newfstatat",
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

#[cfg(test)]
mod tests {
    use callgate_abi::Abi;

    use super::*;
    use crate::veil::question;

    #[test]
    fn every_call_that_asks_is_known_to_ask_under_each_abi() {
        let mut asking = 0;
        for abi in Abi::ALL {
            for nr in 0..NUMBERS {
                let call = Syscall::new(abi, nr);
                for first in [0, 1, 21, 22, 38, 39] {
                    if question(call, &[first, 1, 0, 0, 0, 0]).is_some() {
                        assert!(traits(call).asks, "{}", call.name());
                        asking += 1;
                    }
                }
                assert_eq!(traits(call).in_memory, flags_in_memory(call).is_some());
            }
        }
        assert!(asking > 6);
    }
}
