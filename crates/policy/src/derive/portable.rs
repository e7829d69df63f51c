//! What recordings miss: calls that these runs did not make and others do.

use crate::siblings;

/// Made in place of the vDSO's answer: without one, for clocks that it does not have, under a tracer.
const VDSO_FALLBACK: [&str; 5] = ["clock_getres", "clock_gettime", "getcpu", "gettimeofday", "time"];
/// abort() and raise(), and what libc asks for them.
const ABORT_PATH: [&str; 4] = ["getpid", "gettid", "rt_sigprocmask", "tgkill"];
/// The allocator's and the locks' answer to load.
const UNDER_LOAD: [&str; 6] = ["brk", "futex", "madvise", "mremap", "munmap", "sched_yield"];

/// The names to add to what was observed, each with its provenance. `clone3` is left to ENOSYS: allowed, it
/// makes namespaces, and libc does without it.
pub(super) fn additions(observed: &[&'static str]) -> Vec<(&'static str, String)> {
    let always = [
        (VDSO_FALLBACK.as_slice(), "vDSO fallback"),
        (ABORT_PATH.as_slice(), "abort path"),
        (UNDER_LOAD.as_slice(), "under load"),
    ];
    let mut added: Vec<(&'static str, String)> = Vec::new();
    let mut add = |name, provenance: String| {
        let known = observed.contains(&name) || added.iter().any(|(there, _)| *there == name);
        if !known && name != "clone3" {
            added.push((name, provenance));
        }
    };
    for (names, provenance) in always {
        names.iter().for_each(|name| add(name, provenance.to_owned()));
    }
    for name in observed {
        siblings(name)
            .into_iter()
            .for_each(|sibling| add(sibling, format!("libc sibling of {name}")));
    }
    added
}

#[cfg(test)]
mod tests {
    use callgate_abi::Arch;

    use super::*;

    #[test]
    fn siblings_and_rare_paths_are_added_once_with_their_provenance_and_clone3_is_not() {
        let added = additions(&["openat", "newfstatat", "clone", "clock_gettime"]);
        let why = |name: &str| {
            added
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, why)| why.as_str())
        };
        assert_eq!(why("openat2"), Some("libc sibling of openat"));
        assert_eq!(why("statx"), Some("libc sibling of newfstatat"));
        assert_eq!(why("tgkill"), Some("abort path"));
        assert_eq!(why("gettimeofday"), Some("vDSO fallback"));
        assert_eq!(
            (why("clone3"), why("clock_gettime"), why("openat")),
            (None, None, None)
        );
    }

    #[test]
    fn nothing_dangerous_is_ever_added_and_all_names_are_known() {
        let all: Vec<&'static str> = Arch::X86_64
            .calls()
            .filter(|call| call.name() != "clone")
            .filter_map(|call| call.known_name())
            .collect();
        for name in all {
            for (added, _) in additions(&[name]) {
                let risk =
                    callgate_abi::risk(added).filter(|risk| risk.severity > callgate_abi::Severity::Note);
                assert!(risk.is_none(), "{name} brings {added}");
                assert!(Arch::X86_64.call(added).is_ok(), "{added}");
            }
        }
    }
}
