//! Traces → policy: what was observed, what the kernel needs besides, and where it came from.

mod portable;

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch, Site, Syscall};
use callgate_trace::{Phase, Trace};

use crate::amend::nameable;
use crate::{Policy, Verdict, equivalents, names};

/// A policy and what could not be put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The policy.
    pub policy: Policy,
    /// One sentence for each observed call that the policy does not allow, and why.
    pub notes: Vec<String>,
}

/// Made by the kernel itself in a process: after a signal handler, and after a stopped sleep.
const KERNEL_INJECTED: [&str; 2] = ["restart_syscall", "rt_sigreturn"];
/// How a process or thread ends; which one a run takes is chance.
const EXIT_PATH: [&str; 2] = ["exit", "exit_group"];
/// Newer calls that libc and language runtimes try first and do without on ENOSYS, but not on EPERM:
/// under another libc than the traced one they come up.
const ENOSYS_FALLBACK: [&str; 7] = [
    "clone3",
    "close_range",
    "epoll_pwait2",
    "faccessat2",
    "openat2",
    "rseq",
    "statx",
];
const ENOSYS: u16 = 38;

/// What traces together say of one call.
struct Seen {
    in_body: bool,
    site: Option<Site>,
}

impl Seen {
    fn provenance(&self) -> String {
        match (&self.site, self.in_body) {
            (_, false) => "observed (startup)".into(),
            (Some(site), true) => format!("observed: {site}"),
            (None, true) => "observed".into(),
        }
    }
}

/// How a policy is made of traces.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// Start from this policy: its default and its rules stay, and only what it does not allow is added;
    /// an errno rule of it gives way to an observation, a rule with conditions does not (a trace says
    /// nothing of arguments) and is reported.
    pub base: Option<&'a Policy>,
    /// What a call gets that no rule names; a base brings its own.
    pub default: Action,
    /// Whether calls are added that these runs did not make and others do: under another libc, without a
    /// vDSO, under load, when they abort.
    pub portable: bool,
}

impl Default for Recipe<'_> {
    fn default() -> Self {
        Self {
            base: None,
            default: Action::KillProcess,
            portable: false,
        }
    }
}

/// Makes the policy that allows what the traces show, and kills on all else, by the plain [`Recipe`] with
/// this base.
pub fn from_traces(traces: &[Trace], base: Option<&Policy>) -> Derived {
    let recipe = Recipe {
        base,
        ..Recipe::default()
    };
    recipe.make(traces)
}

impl Recipe<'_> {
    /// Makes the policy that allows what the traces show.
    ///
    /// - Each observed call is allowed, with where it came from in the rule's comment, and so are the calls
    ///   that libc makes in its place on the other architecture (predicted, in rules for that one alone).
    /// - The calls that the kernel injects and the exit path are added; with [`Recipe::portable`], those
    ///   that other runs make; the families that libc falls back from on ENOSYS get that errno unless they
    ///   are allowed.
    ///
    /// Calls that no policy can allow (another entry, a number without a name) are reported.
    pub fn make(&self, traces: &[Trace]) -> Derived {
        let mut policy = self.base.cloned().unwrap_or_else(|| Policy::new(self.default));
        policy.comment = Some(comment(traces, self.base));
        let mut notes = Vec::new();
        let mut replaced: BTreeMap<(Arch, Syscall), Vec<&'static str>> = BTreeMap::new();
        let mut names = Vec::new();
        for (call, seen) in observed(traces) {
            let (arch, name) = match nameable(call) {
                Ok(found) => found,
                Err(error) => {
                    notes.push(error.to_string());
                    continue;
                }
            };
            names.push(name);
            admit_name(&mut policy, name, &seen.provenance(), &mut notes);
            for other in Arch::ALL.into_iter().filter(|other| *other != arch) {
                let found = equivalents(call, other);
                if !found.same {
                    for there in found.calls {
                        replaced.entry((other, there)).or_default().push(name);
                    }
                }
            }
        }
        for ((arch, there), sources) in replaced {
            let provenance = format!("{arch} equivalent of {}", sources.join(", "));
            admit(&mut policy, &[there], &provenance, &mut notes);
        }
        for (names, provenance) in [(KERNEL_INJECTED, "kernel-injected"), (EXIT_PATH, "exit path")] {
            for name in names {
                admit_name(&mut policy, name, provenance, &mut notes);
            }
        }
        if self.portable {
            for (name, provenance) in portable::additions(&names) {
                admit_name(&mut policy, name, &provenance, &mut notes);
            }
        }
        soften(&mut policy);
        Derived { policy, notes }
    }
}

/// Opens a name on every architecture that has it.
fn admit_name(policy: &mut Policy, name: &str, provenance: &str, notes: &mut Vec<String>) {
    let calls: Vec<Syscall> = Arch::ALL
        .iter()
        .filter_map(|arch| names::on(*arch, name))
        .collect();
    admit(policy, &calls, provenance, notes);
}

/// Every observed call once, ordered by entry and number.
fn observed(traces: &[Trace]) -> BTreeMap<Syscall, Seen> {
    let mut calls: BTreeMap<Syscall, Seen> = BTreeMap::new();
    for call in traces.iter().flat_map(|trace| &trace.syscalls) {
        let in_body = call.phases.contains(&Phase::Body);
        let seen = calls.entry(call.syscall()).or_insert(Seen {
            in_body: false,
            site: None,
        });
        // The site that is shown is one of the body's, where there is one.
        if seen.site.is_none() || in_body && !seen.in_body {
            seen.site = call.site.clone().or(seen.site.take());
        }
        seen.in_body |= in_body;
    }
    calls
}

/// Opens calls that share a name, where they are not open; leaves them where the base decides by arguments.
fn admit(policy: &mut Policy, same_name: &[Syscall], provenance: &str, notes: &mut Vec<String>) {
    let by_arguments = |call: &&Syscall| matches!(policy.verdict(**call), Verdict::Depends { .. });
    if let Some(call) = same_name.iter().find(by_arguments) {
        let note = format!(
            "{call} ({provenance}): the base decides by its arguments, which a trace does not record; left as it is"
        );
        if !notes.contains(&note) {
            notes.push(note);
        }
        return;
    }
    policy.open(same_name, provenance);
}

/// Lets the calls of [`ENOSYS_FALLBACK`] fail with ENOSYS where nothing is said of them.
fn soften(policy: &mut Policy) {
    if policy.default.runs() {
        return;
    }
    let comment = "not observed; ENOSYS lets libc fall back to an older call";
    for name in ENOSYS_FALLBACK {
        let silent: Vec<Arch> = Arch::ALL
            .into_iter()
            .filter(|arch| {
                !policy
                    .rules_for(*arch)
                    .any(|(_, rule)| rule.names.iter().any(|n| n == name))
                    && names::on(*arch, name).is_some()
            })
            .collect();
        match silent.as_slice() {
            [] => {}
            [arch] => policy.admit(name, Action::Errno(ENOSYS), comment, Some(*arch)),
            _ => policy.admit(name, Action::Errno(ENOSYS), comment, None),
        }
    }
}

/// What the policy is for, for the head of its file.
fn comment(traces: &[Trace], base: Option<&Policy>) -> String {
    let runs: Vec<String> = traces
        .iter()
        .map(|trace| {
            format!(
                "`{}` on {} ({})",
                trace.command.join(" "),
                trace.arch,
                trace.kernel
            )
        })
        .collect();
    let own = format!(
        "What was observed of {}. A trace is a lower bound: a call that is not here was not observed.",
        if runs.is_empty() {
            "no run".to_owned()
        } else {
            runs.join(", ")
        }
    );
    match base.map(|base| base.comment.as_deref().unwrap_or("a policy without comment")) {
        Some(base) => format!("{own} On top of: {base}"),
        None => own,
    }
}
