//! What a policy does to what was observed, per architecture.

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Abi, Action, Arch, Site, Syscall};
use callgate_trace::Trace;
use serde::Serialize;

use crate::{Difference, Policy, Verdict, compare, equivalents};

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
}

impl From<&Trace> for Observed {
    fn from(trace: &Trace) -> Self {
        let calls = trace.syscalls.iter().map(|call| ObservedCall {
            call: call.syscall(),
            count: Some(call.count),
            errors: call.errors.clone(),
            site: call.site.clone(),
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
}

/// The answer for one architecture. Every list is ordered by ABI and number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ArchDiff {
    /// Observed, and the policy would kill for it or trap it.
    pub missing: Vec<DiffEntry>,
    /// Observed, and the policy would let it fail (or leave it to a tracer).
    pub refused: Vec<DiffEntry>,
    /// Observed and allowed, for some arguments at least.
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
    /// What the reader should know: conditions, or the call that this one is predicted for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether it was observed on another architecture and is only expected on this one.
    pub predicted: bool,
}

/// Compares what was observed with a policy on one architecture. Calls that were seen on the other
/// architecture are translated by [`equivalents`].
pub fn diff(observed: &Observed, policy: &Policy, arch: Arch) -> ArchDiff {
    let mut result = ArchDiff::default();
    let mut entries: BTreeMap<Syscall, DiffEntry> = BTreeMap::new();
    for seen in &observed.calls {
        for (call, note) in on(arch, observed.arch, seen, &mut result.notes) {
            let fresh = || entry(policy, call, seen, observed.arch != arch);
            let merged = entries
                .entry(call)
                .and_modify(|entry| {
                    entry.count = entry.count.zip(seen.count).map(|(a, b)| a + b);
                    for (error, times) in &seen.errors {
                        *entry.errors.entry(error.clone()).or_default() += times;
                    }
                    entry.site = entry.site.take().or_else(|| seen.site.clone());
                })
                .or_insert_with(fresh);
            if let Some(note) = note {
                merged.note = Some(match merged.note.take() {
                    Some(before) => format!("{before}; {note}"),
                    None => note,
                });
            }
        }
    }
    let known: BTreeSet<Syscall> = entries.keys().copied().collect();
    for (call, entry) in entries {
        let best = match policy.verdict(call) {
            Verdict::Always(action) => action,
            // Ordered: the softest answer comes first.
            Verdict::Depends { actions, .. } => actions.first().copied().unwrap_or(policy.default),
        };
        match best {
            action if action.runs() => result.allowed.push(entry),
            Action::Errno(_) | Action::Trace(_) => result.refused.push(entry),
            _ => result.missing.push(entry),
        }
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
        Some((args, first, second)) => {
            let args: Vec<String> = args.iter().map(|arg| format!("{arg:#x}")).collect();
            format!("with arguments {}: {first} against {second}", args.join(", "))
        }
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

fn unseen(call: Syscall) -> ObservedCall {
    ObservedCall {
        call,
        count: None,
        errors: BTreeMap::new(),
        site: None,
    }
}

/// The calls that stand for an observed one on this architecture, with a note if it is not the same one.
fn on(
    arch: Arch,
    from: Arch,
    seen: &ObservedCall,
    notes: &mut Vec<String>,
) -> Vec<(Syscall, Option<String>)> {
    if arch == from {
        return vec![(seen.call, None)];
    }
    let found = equivalents(seen.call, arch);
    if found.same {
        return found.calls.into_iter().map(|call| (call, None)).collect();
    }
    let name = seen.call.name();
    if found.calls.is_empty() {
        notes.push(format!(
            "{name} ({}): nothing on {arch}; {}",
            seen.call.abi(),
            found.note.unwrap_or("no equivalent")
        ));
    }
    found
        .calls
        .into_iter()
        .map(|call| (call, Some(format!("for {name}"))))
        .collect()
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
        note: note.or_else(|| abi.map(|abi| format!("calls through the {abi} entry are always refused"))),
        predicted,
    }
}
