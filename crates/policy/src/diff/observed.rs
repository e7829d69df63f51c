//! What was seen of a program, on the architecture that it was seen on and on the other.

use std::collections::BTreeMap;

use callgate_abi::{Arch, KeySet, Site, Syscall};
use callgate_trace::Trace;

use crate::translate::counterparts;
use crate::{Policy, equivalents};

/// What was seen of a program, or what another policy allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The machine that the calls belong to.
    pub arch: Arch,
    /// The calls, each once.
    pub calls: Vec<ObservedCall>,
}

/// One call with what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedCall {
    /// The call.
    pub call: Syscall,
    /// How often it was made, if it was counted.
    pub count: Option<u64>,
    /// How often it failed, by the name of the error.
    pub errors: BTreeMap<String, u64>,
    /// What made it first.
    pub site: Option<Site>,
    /// The arguments that choose what it does.
    pub args: KeySet,
}

/// The calls that are expected on an architecture, each with a note if it stands for another one.
pub(super) type Expected = BTreeMap<Syscall, (ObservedCall, Option<String>)>;

impl From<&Trace> for Observed {
    fn from(trace: &Trace) -> Self {
        let calls = trace.syscalls.iter().map(|call| ObservedCall {
            call: call.syscall(),
            count: Some(call.count),
            errors: call.errors.clone(),
            site: call.site.clone(),
            args: call.args.clone(),
        });
        Self {
            arch: trace.arch,
            calls: calls.collect(),
        }
    }
}

impl Observed {
    /// What a policy allows on one architecture, as if all of it had been seen.
    pub fn allowed_by(policy: &Policy, arch: Arch) -> Self {
        let calls = policy.allowed(arch).into_iter().map(unseen);
        Self {
            arch,
            calls: calls.collect(),
        }
    }

    /// The calls with what stands for them on `arch`, each once, and a note where it is not the same call;
    /// the second list has a sentence for each call that has nothing there.
    pub(super) fn on(&self, arch: Arch) -> (Expected, Vec<String>) {
        let mut calls = Expected::new();
        let mut notes = Vec::new();
        for seen in &self.calls {
            for (there, note) in stand_ins(seen, self.arch, arch, &mut notes) {
                let (known, known_note) = match calls.entry(there.call) {
                    std::collections::btree_map::Entry::Vacant(place) => {
                        place.insert((there, note));
                        continue;
                    }
                    std::collections::btree_map::Entry::Occupied(place) => place.into_mut(),
                };
                known.count = known.count.zip(there.count).map(|(a, b)| a + b);
                for (error, times) in there.errors {
                    *known.errors.entry(error).or_default() += times;
                }
                known.site = known.site.take().or(there.site);
                known.args.unite(there.args);
                if let Some(note) = note {
                    *known_note = Some(match known_note.take() {
                        Some(before) => format!("{before}; {note}"),
                        None => note,
                    });
                }
            }
        }
        (calls, notes)
    }
}

pub(super) fn unseen(call: Syscall) -> ObservedCall {
    ObservedCall {
        call,
        count: None,
        errors: BTreeMap::new(),
        site: None,
        args: KeySet::default(),
    }
}

/// The calls that stand for an observed one on an architecture, with a note if it is not the same one.
fn stand_ins(
    seen: &ObservedCall,
    from: Arch,
    arch: Arch,
    notes: &mut Vec<String>,
) -> Vec<(ObservedCall, Option<String>)> {
    if arch == from {
        return vec![(seen.clone(), None)];
    }
    let name = seen.call.name();
    let found = counterparts(seen.call, arch);
    if found.is_empty() {
        let why = equivalents(seen.call, arch).note.unwrap_or("no equivalent");
        notes.push(format!("{name} ({}): nothing on {arch}; {why}", seen.call.abi()));
    }
    let possible = found.into_iter().filter(|found| found.way.possible(&seen.args));
    possible
        .map(|found| {
            let there = ObservedCall {
                call: found.call,
                args: found.way.key_set(found.call, &seen.args),
                ..seen.clone()
            };
            let note = match (found.same, found.guess) {
                (true, _) => None,
                (false, None) => Some(format!("for {name}")),
                (false, Some(guess)) => Some(format!("for {name}, {guess}")),
            };
            (there, note)
        })
        .collect()
}
