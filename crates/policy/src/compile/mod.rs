//! Policy → filter: a short stack of BPF programs by seccompiler, linked into one.
//!
//! A seccompiler filter knows one action for a match and one for all else, so a policy becomes several
//! filters of which the most restrictive answer counts:
//! - the base: what some rule treats more softly than the default passes, all else gets the default;
//! - one filter per further action: what its rules match gets it, all else passes.
//!
//! What is loaded is one program (`link`): it kills calls through another architecture's entry and, on
//! amd64, x32's; finds the number by a binary search (`layout`); and then does what is left of the stack
//! for that number (`partial`).
//!
//! Faults of seccompiler 0.5.0 that this steers around: an unconditional rule beside a conditional one
//! for the same call compiles to the conditional alone (normalised away here); its table of names is
//! older than the kernel's (only numbers are given to it); x32 passes its architecture check (the head);
//! the two actions of a filter must differ (they do by construction); its programs ask for one call after
//! the other, which costs hundreds of instructions for a late one (the search).

mod guard;
mod layout;
mod link;
mod program;

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Action, Arch, BPF_MAXINSNS, Filter};

use crate::names::{self, UnknownCall};
use crate::{Policy, Rule};

/// Why a policy has no filters.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A rule names what Linux does not have.
    #[error("syscalls[{rule}]: {source}")]
    UnknownCall {
        /// The place of the rule.
        rule: usize,
        /// The name, with the nearest known one.
        source: UnknownCall,
    },
    /// The program is longer than the kernel takes.
    #[error(
        "the policy needs {instructions} BPF instructions on {arch}, the kernel takes at most {BPF_MAXINSNS}: \
         write fewer argument conditions, or a default that needs fewer rules"
    )]
    TooLong {
        /// The architecture.
        arch: Arch,
        /// How many it needs.
        instructions: usize,
    },
    /// seccompiler refused the rules.
    #[error("compiling the {action} rules for {arch}: {source}")]
    Backend {
        /// The architecture.
        arch: Arch,
        /// The action of the filter that failed.
        action: Action,
        /// Its reason.
        source: seccompiler::BackendError,
    },
    /// seccompiler wrote an instruction that it did not write before.
    #[error("linking the filters for {arch}: seccompiler wrote an instruction that callgate does not know")]
    Link {
        /// The architecture.
        arch: Arch,
    },
}

/// What a policy compiles to on one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    arch: Arch,
    /// The more restrictive first.
    filters: Vec<Filter>,
    /// Every number that they name.
    numbers: BTreeSet<u32>,
    /// What all numbers above the first get, if that is not what other numbers without a rule get.
    above: Option<(u32, Action)>,
}

impl Compiled {
    /// The architecture that the filters are for.
    pub fn arch(&self) -> Arch {
        self.arch
    }

    /// The program to load.
    ///
    /// # Errors
    /// [`CompileError::TooLong`] if the kernel would not take it, [`CompileError::Link`] if seccompiler
    /// changed.
    pub fn link(&self) -> Result<Filter, CompileError> {
        let arch = self.arch;
        let linked =
            link::link(arch, &self.filters, &self.numbers, self.above).ok_or(CompileError::Link { arch })?;
        match linked.0.len() {
            instructions if instructions > BPF_MAXINSNS => Err(CompileError::TooLong { arch, instructions }),
            _ => Ok(linked),
        }
    }
}

/// The alternatives under which one call matches; an empty one always does.
type Alternatives<'a> = Vec<&'a Rule>;

/// Compiles a policy for one architecture.
///
/// # Errors
/// [`CompileError`]: a name that Linux does not have, or a filter that the kernel would not take.
pub fn compile(policy: &Policy, arch: Arch) -> Result<Compiled, CompileError> {
    let mut by_action: BTreeMap<Action, BTreeMap<u32, Alternatives<'_>>> = BTreeMap::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        for name in &rule.names {
            names::check(name).map_err(|source| CompileError::UnknownCall { rule: index, source })?;
            if let (true, Some(call)) = (rule.applies_to(arch), names::on(arch, name)) {
                by_action
                    .entry(rule.action)
                    .or_default()
                    .entry(call.nr())
                    .or_default()
                    .push(rule);
            }
        }
    }
    let mut filters: Vec<(Action, Filter)> = Vec::new();
    if policy.default != Action::Allow {
        let mut softer: BTreeMap<u32, Alternatives<'_>> = BTreeMap::new();
        for (nr, rules) in by_action.range(..policy.default).flat_map(|(_, calls)| calls) {
            softer.entry(*nr).or_default().extend(rules);
        }
        filters.push((
            policy.default,
            program::build(arch, &softer, Action::Allow, policy.default)?,
        ));
    }
    for (action, calls) in by_action.iter().filter(|(action, _)| **action != Action::Allow) {
        filters.push((*action, program::build(arch, calls, *action, Action::Allow)?));
    }
    // Stable: of two filters with one action, either order answers the same.
    filters.sort_by_key(|(action, _)| std::cmp::Reverse(*action));
    Ok(Compiled {
        arch,
        filters: filters.into_iter().map(|(_, filter)| filter).collect(),
        above: (policy.unnamed(arch, u32::MAX) != policy.default)
            .then(|| (arch.newest(), policy.unnamed(arch, u32::MAX))),
        numbers: by_action.values().flat_map(BTreeMap::keys).copied().collect(),
    })
}
