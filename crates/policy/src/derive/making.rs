//! A policy while it is made of observations: call by call, for all arguments or for those that were seen.

use callgate_abi::{Arch, ArgCondition, KeySet, Syscall};

use super::arguments;
use super::seen::Seen;
use crate::amend::{Alternative, limits};
use crate::diff::{Fate, fate};
use crate::translate::counterparts;
use crate::{Policy, names};

/// Its flags lie in memory, where no filter can read them.
pub(super) const HIDDEN: &str = "clone3";

/// A policy while it is made.
pub(super) struct Making {
    pub(super) policy: Policy,
    /// What could not be put into it.
    pub(super) notes: Vec<String>,
    /// Whether observed values become conditions.
    pub(super) args: bool,
}

impl Making {
    /// Whether a rule says something of a name.
    pub(super) fn decides(&self, name: &str) -> bool {
        self.policy
            .rules
            .iter()
            .any(|rule| rule.names.iter().any(|n| n == name))
    }

    /// Leaves clone3 to ENOSYS, on which libc calls clone, whose flags can be told.
    pub(super) fn admit_instead_of_hidden(&mut self, seen: &Seen) {
        let provenance = format!(
            "no new namespaces; in the place of {HIDDEN}, {}",
            seen.provenance()
        );
        for clone in Arch::ALL.iter().filter_map(|arch| names::on(*arch, "clone")) {
            self.open_when(clone, &limits(clone), &provenance);
        }
    }

    /// Allows an observed call under its own name on every architecture that has it.
    pub(super) fn admit(&mut self, call: Syscall, seen: &Seen) {
        let provenance = seen.provenance();
        let mut whole: Vec<Syscall> = Vec::new();
        let mut why = None;
        for found in Arch::ALL
            .into_iter()
            .flat_map(|arch| counterparts(call, arch))
            .filter(|found| found.same)
        {
            let Some(arch) = found.call.arch() else { continue };
            let keys = found.way.key_set(found.call, &seen.args);
            match fate(&self.policy, found.call, arch, &keys) {
                Fate::Sure(action) if action.runs() => {}
                Fate::Sure(_) => match self.conditions(found.call, &keys, seen.untold) {
                    Some(Ok(ways)) => {
                        for (conditions, words) in ways {
                            let comment = format!("{words}: {provenance}");
                            self.open_when(found.call, &conditions, &comment);
                        }
                    }
                    other => {
                        why = other.and_then(Result::err);
                        whole.push(found.call);
                    }
                },
                Fate::Refused(_, _, alternatives) => {
                    for conditions in alternatives {
                        self.open_when(found.call, &conditions, &provenance);
                    }
                }
                Fate::Unsure(reason) => self.left(found.call, &provenance, &reason),
            }
        }
        let provenance = match why {
            Some(reason) => format!("{provenance}; for all arguments, as {reason}"),
            None => provenance,
        };
        self.policy.open(&whole, &provenance);
    }

    /// Allows a call on one architecture for others that it stands for, within these limits.
    pub(super) fn admit_there(
        &mut self,
        there: Syscall,
        keys: &KeySet,
        provenance: &str,
        limits: &[ArgCondition],
    ) {
        let Some(arch) = there.arch() else { return };
        match fate(&self.policy, there, arch, keys) {
            Fate::Sure(action) if action.runs() => {}
            Fate::Sure(_) => match self.conditions(there, keys, keys.is_empty()) {
                Some(Ok(ways)) => {
                    for (conditions, words) in ways {
                        self.open_when(there, &conditions, &format!("{words}: {provenance}"));
                    }
                }
                _ => self.open_when(there, limits, provenance),
            },
            Fate::Refused(_, _, alternatives) => {
                for conditions in alternatives {
                    self.open_when(there, &conditions, provenance);
                }
            }
            Fate::Unsure(reason) => self.left(there, provenance, &reason),
        }
    }

    fn conditions(
        &self,
        call: Syscall,
        keys: &KeySet,
        untold: bool,
    ) -> Option<Result<Vec<arguments::Seen>, &'static str>> {
        let found = arguments::conditions(call, keys).filter(|_| self.args)?;
        Some(match untold {
            true => found.and(Err("a recording does not tell its arguments")),
            false => found,
        })
    }

    fn open_when(&mut self, call: Syscall, conditions: &[ArgCondition], comment: &str) {
        let alternative: Alternative = conditions.to_vec();
        match self
            .policy
            .open_with(call, &[alternative], comment, &mut self.notes)
        {
            Ok(_) => {}
            Err(error) => self.notes.push(error.to_string()),
        }
    }

    fn left(&mut self, call: Syscall, provenance: &str, reason: &str) {
        left(&mut self.notes, call, provenance, reason);
    }
}

/// Notes that the base decides about a call.
pub(super) fn left(notes: &mut Vec<String>, call: Syscall, provenance: &str, reason: &str) {
    let note =
        format!("{call} ({provenance}): the base decides by its arguments, and {reason}; left as it is");
    if !notes.contains(&note) {
        notes.push(note);
    }
}
