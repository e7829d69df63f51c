//! The calls seen so far.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{ArgKey, KeySet, Site, Syscall, errno_name};
use callgate_trace::{Call, Phase};

/// What is known of one call.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    errors: BTreeMap<u16, u64>,
    phases: BTreeSet<Phase>,
    site: Option<Site>,
    args: KeySet,
}

/// All calls, by ABI and number.
#[derive(Debug, Default)]
pub(crate) struct Calls(BTreeMap<Syscall, Seen>);

impl Calls {
    /// Counts a call; whether its site is still wanted (none is known, and it is new in this phase), and
    /// whether it is new in this phase.
    pub(crate) fn enter(&mut self, call: Syscall, phase: Phase) -> (bool, bool) {
        let seen = self.0.entry(call).or_default();
        seen.count += 1;
        let new = seen.phases.insert(phase);
        (new && seen.site.is_none(), new)
    }

    /// Counts a call of which everything is known.
    pub(crate) fn again(&mut self, call: Syscall) {
        if let Some(seen) = self.0.get_mut(&call) {
            seen.count += 1;
        }
    }

    /// Notes the arguments that choose what a call does; whether that says anything new.
    pub(crate) fn arguments(&mut self, call: Syscall, keys: &[ArgKey]) -> bool {
        let Some(seen) = self.0.get_mut(&call) else {
            return false;
        };
        let mut new = false;
        for key in keys {
            let many = seen.args.is_many(key.index);
            new |= seen.args.insert(key.clone()) || many != seen.args.is_many(key.index);
        }
        new
    }

    /// The keys that are kept of a call.
    pub(crate) fn kept(&self, call: Syscall) -> Option<&KeySet> {
        self.0.get(&call).map(|seen| &seen.args)
    }

    /// Names the place that made a call first.
    pub(crate) fn set_site(&mut self, call: Syscall, site: Site) {
        if let Some(seen) = self.0.get_mut(&call) {
            seen.site.get_or_insert(site);
        }
    }

    /// Counts the failure of a call. Errors from 512 up are the kernel's own notes to restart a call
    /// (`ERESTARTSYS` …, linux/errno.h); the program never sees them.
    pub(crate) fn failed(&mut self, call: Syscall, errno: u16) {
        const ERESTARTSYS: u16 = 512;
        if errno < ERESTARTSYS {
            if let Some(seen) = self.0.get_mut(&call) {
                *seen.errors.entry(errno).or_default() += 1;
            }
        }
    }

    /// The calls as a trace lists them.
    pub(crate) fn into_trace(self) -> Vec<Call> {
        let call = |(call, seen): (Syscall, Seen)| Call {
            name: call.name().into_owned(),
            nr: call.nr(),
            abi: call.abi(),
            count: seen.count,
            errors: seen
                .errors
                .into_iter()
                .map(|(e, n)| (errno_name(e).into_owned(), n))
                .collect(),
            phases: seen.phases,
            site: seen.site,
            args: seen.args,
        };
        self.0.into_iter().map(call).collect()
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::Abi;

    use super::*;

    #[test]
    fn restart_notes_are_not_errors_and_sites_are_wanted_once_a_phase() {
        let call = Syscall::new(Abi::X86_64, 7);
        let mut calls = Calls::default();
        assert_eq!(calls.enter(call, Phase::Startup), (true, true));
        assert_eq!(calls.enter(call, Phase::Startup), (false, false));
        assert_eq!(
            calls.enter(call, Phase::Body),
            (true, true),
            "startup gave no site, so the body is asked"
        );
        calls.set_site(
            call,
            Site {
                file: "a.py".into(),
                line: 1,
                function: "f".into(),
            },
        );
        assert_eq!(calls.enter(call, Phase::Body), (false, false));
        calls.failed(call, 4);
        calls.failed(call, 514);
        let list = calls.into_trace();
        assert_eq!(list[0].count, 4);
        assert_eq!(list[0].errors.keys().collect::<Vec<_>>(), ["EINTR"]);
    }
}
