//! The refused calls of a run that ended nobody: noted, and answered.

use std::collections::BTreeMap;
use std::time::Instant;

use callgate_abi::{Action, ArgKey, Syscall, errno_name, keys};
use callgate_tracee::{Moment, Stopped, TraceeError};

use super::Filtering;
use super::mark::{Fate, Mark};
use super::refusal::{Refusal, Refuser, word};
use crate::violation::about;

/// What makes two refusals alike.
type Kind = (Syscall, Mark, Vec<ArgKey>);

/// What is kept of a run: code can make as many kinds of calls as it likes.
const MOST: usize = 256;
/// What is kept of one call.
const MOST_OF_ONE: usize = 16;

const ENOSYS: u16 = libc::ENOSYS as u16;

/// The refused calls so far.
#[derive(Debug)]
pub(crate) struct Refusals {
    filtering: Filtering,
    begun: Instant,
    known: BTreeMap<Kind, usize>,
    of_one: BTreeMap<Syscall, usize>,
    seen: Vec<Refusal>,
    /// How many calls were of kinds that are not kept.
    omitted: u64,
}

impl Refusals {
    pub(crate) fn new(filtering: Filtering) -> Self {
        Self {
            filtering,
            begun: Instant::now(),
            known: BTreeMap::new(),
            of_one: BTreeMap::new(),
            seen: Vec::new(),
            omitted: 0,
        }
    }

    /// What was seen, in its order, and how many calls were not kept.
    pub(crate) fn all(self) -> (Vec<Refusal>, u64) {
        (self.seen, self.omitted)
    }

    /// The refusal that a filter tells of; none if it is not ours.
    fn told(&self, data: u32) -> Option<Mark> {
        Mark::of(data).filter(|mark| match self.filtering {
            Filtering::Enforced => false,
            Filtering::Explained => mark.fate != Fate::Allow,
            Filtering::Learned => true,
        })
    }

    /// Whether a filter tells of a refusal that is no more than recorded.
    pub(crate) fn allows(&self, data: u32) -> bool {
        self.told(data).is_some_and(|mark| mark.fate == Fate::Allow)
    }

    /// A filter asks about the call that a thread is about to make. Whatever is not told by our filter asks
    /// for a tracer that is not there: a rule of the policy with `SCMP_ACT_TRACE`, a filter of the code's own.
    pub(crate) fn asked(&mut self, tracee: &Stopped, startup: bool) -> Result<(), TraceeError> {
        let stop = tracee.syscall()?;
        let Moment::Seccomp { data, .. } = stop.moment else {
            return tracee.refuse(ENOSYS);
        };
        let (Some(mark), Some((call, args))) = (self.told(data), stop.call()) else {
            return tracee.refuse(ENOSYS);
        };
        // Its flags may ask for anything, and lie in memory; libc asks clone then.
        let hidden = call.known_name() == Some("clone3");
        let errno = match (mark.fate, mark.answer) {
            (Fate::Refuse | Fate::Withhold, Action::Errno(errno)) => Some(errno),
            (Fate::Allow, _) if !hidden => None,
            (Fate::Allow | Fate::Refuse | Fate::Withhold, _) => Some(ENOSYS),
        };
        // First, so that nothing that fails in between lets it run.
        if let Some(errno) = errno {
            tracee.refuse(errno)?;
        }
        self.note(tracee, (call, mark, keys(call, &args)), args, errno, startup);
        Ok(())
    }

    fn note(&mut self, tracee: &Stopped, kind: Kind, args: [u64; 6], errno: Option<u16>, startup: bool) {
        if let Some(seen) = self.known.get(&kind).and_then(|place| self.seen.get_mut(*place)) {
            seen.count += 1;
            return;
        }
        let of_one = self.of_one.entry(kind.0).or_default();
        // The first of a call with a name is always kept: there are not many of them.
        let room = self.seen.len() < MOST || (*of_one == 0 && kind.0.known_name().is_some());
        if !room || *of_one >= MOST_OF_ONE {
            self.omitted += 1;
            return;
        }
        *of_one += 1;
        let tid = tracee.tid();
        let name = std::fs::read(format!("/proc/{tid}/comm")).unwrap_or_default();
        self.seen.push(Refusal {
            call: about(kind.0, args, tid),
            answer: word(kind.1.answer),
            by: match kind.1.fate {
                Fate::Refuse | Fate::Allow => Refuser::Policy,
                Fate::Withhold => Refuser::Layer,
            },
            got: errno.map(|errno| errno_name(errno).into_owned()),
            allowed: errno.is_none(),
            count: 1,
            thread: String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned(),
            ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            startup,
        });
        self.known.insert(kind, self.seen.len() - 1);
    }
}
