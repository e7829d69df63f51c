//! The calls seen so far.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{ArgKey, KeySet, Site, Syscall, errno_name};
use callgate_trace::{Call, Phase, Sight};

/// What is known of one call.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    errors: BTreeMap<u16, u64>,
    /// The phases it was made in, with the keys that were seen in each.
    phases: BTreeMap<Phase, BTreeSet<ArgKey>>,
    args: KeySet,
    sights: Vec<Sight>,
}

/// What a call shows for the first time in a phase: itself, or argument keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    call: Syscall,
    args: Vec<ArgKey>,
}

/// What a call told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entered {
    /// What is new in this phase: who made it is wanted then.
    pub(crate) news: Option<News>,
    /// Whether the call is new in this phase, or an argument (or that it has many) in any.
    pub(crate) unheard: bool,
}

/// All calls, by ABI and number.
#[derive(Debug, Default)]
pub(crate) struct Calls(BTreeMap<Syscall, Seen>);

impl Calls {
    /// Counts a call and notes the arguments that choose what it does.
    pub(crate) fn enter(&mut self, call: Syscall, keys: &[ArgKey], phase: Phase) -> Entered {
        let seen = self.0.entry(call).or_default();
        seen.count += 1;
        let first = !seen.phases.contains_key(&phase);
        let known = seen.phases.entry(phase).or_default();
        let mut unheard = first;
        let mut args = Vec::new();
        for key in keys {
            let many = seen.args.is_many(key.index);
            let new = seen.args.insert(key.clone());
            unheard |= new || many != seen.args.is_many(key.index);
            // The bound on all keys bounds those of each phase.
            let kept = new || seen.args.of(key.index).any(|kept| kept == key);
            if kept && known.insert(key.clone()) {
                args.push(key.clone());
            }
        }
        Entered {
            news: (first || !args.is_empty()).then_some(News { call, args }),
            unheard,
        }
    }

    /// Counts a call of which everything is known.
    pub(crate) fn again(&mut self, call: Syscall) {
        if let Some(seen) = self.0.get_mut(&call) {
            seen.count += 1;
        }
    }

    /// The keys that are kept of a call.
    pub(crate) fn kept(&self, call: Syscall) -> Option<&KeySet> {
        self.0.get(&call).map(|seen| &seen.args)
    }

    /// Tells who brought the news.
    pub(crate) fn seen_by(&mut self, news: News, mut sight: Sight) {
        if let Some(seen) = self.0.get_mut(&news.call) {
            sight.args = news.args;
            seen.sights.push(sight);
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
            phases: seen.phases.into_keys().collect(),
            site: first_place(&seen.sights),
            args: seen.args,
            sights: seen.sights,
        };
        self.0.into_iter().map(call).collect()
    }
}

/// The place of the body's first sight, or else of the startup's.
fn first_place(sights: &[Sight]) -> Option<Site> {
    let of = |phase| sights.iter().find(|sight| sight.phase == phase)?.place();
    of(Phase::Body).or_else(|| of(Phase::Startup))
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Abi, keys};
    use callgate_trace::Thread;

    use super::*;

    fn sight(phase: Phase, file: &str) -> Sight {
        Sight {
            phase,
            ms: 0,
            args: Vec::new(),
            thread: Thread {
                pid: 1,
                tid: 1,
                main: true,
                name: "probe".into(),
            },
            site: Some(Site {
                file: file.into(),
                line: 1,
                function: "f".into(),
            }),
            object: None,
            caller: None,
            stack: Vec::new(),
            stack_omitted: 0,
            native: Vec::new(),
        }
    }

    #[test]
    fn restart_notes_are_not_errors_and_a_call_is_news_once_a_phase() {
        let call = Syscall::new(Abi::X86_64, 7);
        let mut calls = Calls::default();
        let news = calls.enter(call, &[], Phase::Startup).news.unwrap();
        calls.seen_by(news, sight(Phase::Startup, "start.py"));
        assert_eq!(calls.enter(call, &[], Phase::Startup).news, None);
        let news = calls.enter(call, &[], Phase::Body).news.unwrap();
        calls.seen_by(news, sight(Phase::Body, "a.py"));
        assert_eq!(calls.enter(call, &[], Phase::Body).news, None);
        calls.failed(call, 4);
        calls.failed(call, 514);
        let list = calls.into_trace();
        assert_eq!(list[0].count, 4);
        assert_eq!(list[0].errors.keys().collect::<Vec<_>>(), ["EINTR"]);
        assert_eq!(list[0].site.as_ref().unwrap().file, "a.py", "the body's place");
    }

    #[test]
    fn argument_keys_are_news_once_a_phase_until_there_are_many() {
        let ioctl = Syscall::new(Abi::X86_64, 16);
        let request = |request| [0, request, 0, 0, 0, 0];
        let mut calls = Calls::default();
        let mut told = |request_: u64, phase| {
            let news = calls.enter(ioctl, &keys(ioctl, &request(request_)), phase).news?;
            let values: Vec<u64> = news.args.iter().map(|key| key.value).collect();
            calls.seen_by(news, sight(phase, "a.py"));
            Some(values)
        };
        for value in 0..KeySet::MOST as u64 {
            assert_eq!(told(value, Phase::Startup), Some(vec![value]));
            assert_eq!(told(value, Phase::Startup), None);
        }
        assert_eq!(told(1000, Phase::Startup), None, "past the bound");
        assert_eq!(told(1000, Phase::Body), Some(vec![]), "the call itself is new");
        assert_eq!(told(3, Phase::Body), Some(vec![3]));
        let list = calls.into_trace();
        assert_eq!(list[0].sights.len(), KeySet::MOST + 2);
        assert!(list[0].args.is_many(1));
    }
}
