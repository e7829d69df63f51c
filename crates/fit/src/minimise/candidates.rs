//! The calls that are asked about, and those that are not and why.

use callgate_abi::{Arch, Site, Syscall};
use callgate_policy::{Policy, Verdict};
use callgate_trace::Phase;

use super::prior;
use crate::Fitted;

/// A call of which it is to be found out whether it can be refused.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) call: Syscall,
    pub(crate) name: &'static str,
    pub(crate) in_body: bool,
    pub(crate) site: Option<Site>,
    pub(crate) hope: f64,
}

/// Calls that are not asked about.
///
/// The first two are made by the kernel in the process's name, by chance: that some runs go well without
/// them says nothing. Without the others neither a thread nor a process can end: what would be seen is libc
/// in a loop.
const KEPT: [(&str, &str); 4] = [
    ("restart_syscall", "made by the kernel itself, by chance"),
    ("rt_sigreturn", "made by the kernel itself, by chance"),
    ("exit", "threads end by it"),
    ("exit_group", "processes end by it"),
];

/// Why a call is not asked about.
pub(crate) fn kept(name: &str) -> Option<&'static str> {
    KEPT.iter().find(|(kept, _)| *kept == name).map(|(_, why)| *why)
}

/// Every call that was seen and that the policy lets run, whatever its arguments.
pub(crate) fn candidates(fitted: &Fitted) -> Vec<Candidate> {
    let allowed = |call: Syscall, policy: &Policy| match policy.verdict(call) {
        Verdict::Always(action) => action.runs(),
        Verdict::Depends { .. } => false,
    };
    let mut all: Vec<Candidate> = Vec::new();
    let traced = fitted.trace.syscalls.iter().map(|seen| {
        let in_body = seen.phases.contains(&Phase::Body);
        (seen.syscall(), in_body, seen.site.clone())
    });
    let amended = fitted
        .attempts
        .iter()
        .filter_map(|attempt| attempt.amendment.as_ref())
        .map(|amendment| (amendment.call, true, amendment.site.clone()));
    for (call, in_body, site) in traced.chain(amended) {
        let Some(name) = call.known_name() else { continue };
        let native = call.arch() == Some(Arch::NATIVE);
        if native && allowed(call, &fitted.policy) && all.iter().all(|other| other.call != call) {
            let hope = if in_body {
                prior::hope(name)
            } else {
                prior::NOT_MADE
            };
            all.push(Candidate {
                call,
                name,
                in_body,
                site,
                hope,
            });
        }
    }
    all
}
