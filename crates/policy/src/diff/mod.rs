//! What a policy does to what was observed, per architecture.

mod arguments;
mod change;
mod observed;

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Abi, Action, Arch, Group, Site, Syscall, about, risk};
use serde::Serialize;

pub use arguments::ArgumentDiff;
pub use change::{AddedRule, Change, OciChange, Removal, Source};
pub use observed::{Observed, ObservedCall};

use crate::explain::RiskNote;
use crate::{Difference, Policy, Verdict, compare, when};
pub(crate) use arguments::{Fate, fate};
use observed::unseen;

/// The answer for one architecture. Every list is ordered by ABI and number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArchDiff {
    /// Observed, and the policy would kill for it or trap it.
    pub missing: Vec<DiffEntry>,
    /// Observed, and the policy would let it fail (or leave it to a tracer).
    pub refused: Vec<DiffEntry>,
    /// Observed and allowed with the arguments that were observed. Where these can't be told from what was
    /// observed, it is allowed for some arguments: `action` is `conditional` then, and `reason` says why.
    pub allowed: Vec<DiffEntry>,
    /// Allowed, but not observed.
    pub unobserved: Vec<DiffEntry>,
    /// Only where two policies are compared: what they decide differently. `action` is the second one's
    /// answer, `note` tells the first one's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub different: Vec<DiffEntry>,
    /// What of the observed has no place in the lists: calls without an equivalent on this architecture.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The change of the policy that leaves nothing missing and nothing refused; none if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    #[serde(skip)]
    needs: change::Needs,
}

impl ArchDiff {
    /// Whether something that was observed is missing or refused.
    pub fn differs(&self) -> bool {
        !self.missing.is_empty() || !self.refused.is_empty()
    }

    /// The observed calls of which it can't be told whether they run.
    pub fn undecided(&self) -> impl Iterator<Item = &DiffEntry> {
        self.allowed.iter().filter(|entry| entry.reason.is_some())
    }

    /// Fills in [`ArchDiff::change`]: what makes `policy`, which is read from and written to `source`, allow
    /// all that was observed.
    pub fn add_change(&mut self, policy: &Policy, arch: Arch, source: Source<'_>) {
        self.change = Change::new(policy, arch, &self.needs, source);
    }
}

/// One call in a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiffEntry {
    /// The kernel's name, or `syscall_N`.
    pub name: String,
    /// The number on this architecture (under `abi`, if that is given).
    pub nr: u32,
    /// The entry, if it is not the architecture's native one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abi: Option<Abi>,
    /// What the policy does: `allow`, `errno(EPERM)`, `kill` …, or `conditional`.
    pub action: String,
    /// How often it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How often it failed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, u64>,
    /// What made it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<Site>,
    /// The values of its arguments that are refused, where it is not refused as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<ArgumentDiff>,
    /// What it has to do with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Why it is dangerous, if it is missing or refused and to be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskNote>,
    /// Why it can't be told whether it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the reader should know: conditions, or the call that this one is predicted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it was observed on another architecture and is only expected on this one.
    pub predicted: bool,
}

/// Compares what was observed with a policy on one architecture. Calls that were seen on the other
/// architecture are translated: their counterparts are predicted, with their arguments in their places.
pub fn diff(observed: &Observed, policy: &Policy, arch: Arch) -> ArchDiff {
    let (calls, notes) = observed.on(arch);
    let mut result = ArchDiff {
        notes,
        ..ArchDiff::default()
    };
    let known: BTreeSet<Syscall> = calls.keys().copied().collect();
    for (call, (seen, note)) in calls {
        let fate = fate(policy, call, arch, &seen.args);
        let mut entry = entry(policy, call, &seen, observed.arch != arch);
        if entry.abi.is_none() && matches!(fate, Fate::Sure(_)) {
            entry.note = None; // the conditions don't matter to what was observed
        }
        if let Some(note) = note {
            entry.note = Some(match entry.note.take() {
                Some(before) => format!("{before}; {note}"),
                None => note,
            });
        }
        result.place(entry, call, fate);
    }
    let others = policy
        .allowed(arch)
        .into_iter()
        .filter(|call| !known.contains(call));
    result.unobserved = others
        .map(|call| entry(policy, call, &unseen(call), false))
        .collect();
    result
}

impl ArchDiff {
    /// Puts a call into the list of its fate.
    fn place(&mut self, mut entry: DiffEntry, call: Syscall, fate: Fate) {
        let (action, alternatives) = match fate {
            Fate::Unsure(reason) => {
                entry.reason = Some(reason);
                return self.allowed.push(entry);
            }
            Fate::Sure(action) => {
                // What the arguments decide is decided: the answer is one.
                entry.action = action.to_string();
                (action, Vec::new())
            }
            Fate::Refused(action, arguments, alternatives) => {
                entry.action = action.to_string();
                entry.arguments = arguments;
                (action, alternatives)
            }
        };
        if action.runs() {
            return self.allowed.push(entry);
        }
        entry.risk = risk(&entry.name).map(RiskNote::from);
        self.needs.push((call, alternatives));
        match action {
            Action::Errno(_) | Action::Trace(_) => self.refused.push(entry),
            _ => self.missing.push(entry),
        }
    }
}

/// Compares two policies on one architecture: the first takes the place of what was observed, and
/// [`ArchDiff::different`] has every call that they decide differently. It is empty if and only if the
/// two mean the same there (see [`compare`]).
pub fn diff_policies(first: &Policy, second: &Policy, arch: Arch) -> ArchDiff {
    let mut result = diff(&Observed::allowed_by(first, arch), second, arch);
    result.different = compare(first, second, arch)
        .iter()
        .map(|found| different(found, second))
        .collect();
    result
}

fn different(found: &Difference, second: &Policy) -> DiffEntry {
    let mut entry = entry(second, found.call, &unseen(found.call), false);
    let example = match found.example {
        Some((args, first, second)) => format!("{}: {first} against {second}", made(found.call, &args)),
        None => "the conditions are too many to try all, and they are not the same".into(),
    };
    let all = if found.call.known_name().is_none() {
        "every number without a name; "
    } else {
        ""
    };
    entry.note = Some(match (&found.first, &found.second) {
        (Verdict::Always(first), Verdict::Always(_)) => format!("{all}{first} in the first"),
        (first, second) => format!("{first} in the first, {second} in the second; {example}"),
    });
    entry
}

/// A call as it would be made, with the names of its arguments: `socket(AF_INET, 0x0, …)`.
fn made(call: Syscall, args: &[u64; 6]) -> String {
    let words = (0u8..).zip(args).map(|(index, value)| {
        let name = when::name(call, index, args).filter(|_| *value <= when::LOW);
        name.filter(|name| !name.starts_with("0x"))
            .unwrap_or_else(|| format!("{value:#x}"))
    });
    format!("{}({})", call.name(), words.collect::<Vec<_>>().join(", "))
}

fn entry(policy: &Policy, call: Syscall, seen: &ObservedCall, predicted: bool) -> DiffEntry {
    let (action, note) = match policy.verdict(call) {
        Verdict::Always(action) => (action.to_string(), None),
        verdict => ("conditional".into(), Some(verdict.to_string())),
    };
    let abi = call.arch().is_none().then_some(call.abi());
    DiffEntry {
        name: call.name().into_owned(),
        nr: call.nr(),
        abi,
        action,
        count: seen.count,
        errors: seen.errors.clone(),
        site: seen.site.clone(),
        arguments: Vec::new(),
        group: about(&call.name()).map(|about| about.group),
        risk: None,
        reason: None,
        note: note.or_else(|| abi.map(|abi| format!("calls through the {abi} entry are always refused"))),
        predicted,
    }
}
