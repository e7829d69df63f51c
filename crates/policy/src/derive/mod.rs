//! Traces → policy: what was observed, what the kernel needs besides, and where it came from.

mod arguments;
mod making;
mod portable;
mod seen;

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch, KeySet, Syscall};
use callgate_trace::Trace;

use crate::amend::{limits, nameable};
use crate::translate::counterparts;
use crate::{Policy, Verdict, equivalents, names};
use making::{HIDDEN, Making, left};
use seen::observed;

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
const ENOSYS_FALLBACK: [&str; 17] = [
    "clone3",
    "close_range",
    "copy_file_range",
    "epoll_pwait2",
    "faccessat2",
    "fchmodat2",
    "futex_waitv",
    "getrandom",
    "io_uring_setup",
    "memfd_create",
    "openat2",
    "pidfd_open",
    "pidfd_send_signal",
    "preadv2",
    "pwritev2",
    "rseq",
    "statx",
];
const ENOSYS: u16 = 38;
/// What stands for observed calls on an architecture that lacks them.
#[derive(Default)]
struct Instead {
    of: Vec<&'static str>,
    args: KeySet,
    guess: Option<&'static str>,
}

/// How a policy is made of traces.
#[derive(Clone, Copy, Debug)]
pub struct Recipe<'a> {
    /// Start from this policy: its default and its rules stay, and only what it does not allow is added;
    /// an errno rule of it gives way to an observation. Where it decides by arguments, the observed values are
    /// added; if the trace does not tell them, it is left as it is and reported.
    pub base: Option<&'a Policy>,
    /// What a call gets that no rule names; a base brings its own.
    pub default: Action,
    /// Whether calls are added that these runs did not make and others do: under another libc, without a
    /// vDSO, under load, when they abort.
    pub portable: bool,
    /// Whether calls are allowed for the observed values of their arguments alone, where that is safe: the
    /// program's choice, read by the kernel from the register, and few.
    pub args: bool,
}

impl Default for Recipe<'_> {
    fn default() -> Self {
        Self {
            base: None,
            default: Action::KillProcess,
            portable: false,
            args: false,
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
        let mut making = Making {
            policy,
            notes: Vec::new(),
            args: self.args,
        };
        let mut replaced: BTreeMap<(Arch, Syscall), Instead> = BTreeMap::new();
        let mut names = Vec::new();
        for (call, seen) in observed(traces) {
            let name = match nameable(call) {
                Ok((_, name)) => name,
                Err(error) => {
                    making.notes.push(error.to_string());
                    continue;
                }
            };
            names.push(name);
            if self.args && name == HIDDEN && !making.decides(name) {
                making.admit_instead_of_hidden(&seen);
                continue;
            }
            making.admit(call, &seen);
            making.notes.extend(nothing_there(call));
            for arch in Arch::ALL {
                let others = counterparts(call, arch).into_iter().filter(|found| !found.same);
                for found in others.filter(|found| found.way.possible(&seen.args)) {
                    let instead = replaced.entry((arch, found.call)).or_default();
                    instead.args.unite(found.way.key_set(found.call, &seen.args));
                    instead.of.push(name);
                    instead.guess = found.guess;
                }
            }
        }
        for ((arch, there), instead) in replaced {
            let guess = instead
                .guess
                .map(|guess| format!(" ({guess})"))
                .unwrap_or_default();
            let provenance = format!("{arch} equivalent of {}{guess}", instead.of.join(", "));
            making.admit_there(there, &instead.args, &provenance, &limits(there));
        }
        if traces.iter().any(|trace| trace.arch == Arch::Aarch64) {
            if let Some(thread_register) = names::on(Arch::X86_64, "arch_prctl") {
                let provenance =
                    "amd64: libc sets its thread register at its start; arm64 needs no call for it";
                making.admit_there(thread_register, &KeySet::default(), provenance, &[]);
            }
        }
        let Making {
            mut policy,
            mut notes,
            ..
        } = making;
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
        policy.unite_arches();
        Derived { policy, notes }
    }
}

/// A note for each architecture that has nothing in the place of a call.
fn nothing_there(call: Syscall) -> impl Iterator<Item = String> {
    Arch::ALL.into_iter().filter_map(move |arch| {
        let found = equivalents(call, arch);
        let note = found.note.filter(|_| found.calls.is_empty())?;
        Some(format!("{}: nothing on {arch}; {note}", call.name()))
    })
}

/// Opens a name on every architecture that has it.
fn admit_name(policy: &mut Policy, name: &str, provenance: &str, notes: &mut Vec<String>) {
    let calls: Vec<Syscall> = Arch::ALL
        .iter()
        .filter_map(|arch| names::on(*arch, name))
        .collect();
    let (undecided, plain): (Vec<Syscall>, Vec<Syscall>) = calls
        .into_iter()
        .partition(|call| matches!(policy.verdict(*call), Verdict::Depends { .. }));
    for call in undecided {
        left(notes, call, provenance, "the trace does not tell them");
    }
    let (limited, plain): (Vec<Syscall>, Vec<Syscall>) =
        plain.into_iter().partition(|call| !limits(*call).is_empty());
    policy.open(&plain, provenance);
    for call in limited {
        if let Err(error) = policy.open_with(call, &[limits(call)], provenance, notes) {
            notes.push(error.to_string());
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_that_fall_back_are_written_as_rules_with_their_reason() {
        assert!(ENOSYS_FALLBACK.is_sorted());
        let policy = from_traces(&[], None).policy;
        for name in ENOSYS_FALLBACK {
            for arch in Arch::ALL {
                let call = names::on(arch, name).unwrap();
                assert_eq!(policy.decide(call, &[0; 6]), Action::Errno(ENOSYS), "{call}");
            }
            let rule = policy
                .rules
                .iter()
                .find(|rule| rule.names.iter().any(|n| n == name));
            assert!(rule.unwrap().comment.as_ref().unwrap().contains("ENOSYS"));
        }
    }
}
