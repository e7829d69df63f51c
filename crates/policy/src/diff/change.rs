//! The change of a policy that makes a diff empty: commands, an OCI fragment, dify's list.

use callgate_abi::{Action, Arch, Syscall};
use serde::Serialize;

use crate::amend::{Alternative, nameable};
use crate::oci::FileRule;
use crate::when::Words;
use crate::{Policy, Rule, emit, remedy};

/// What a policy needs on one architecture: each call, for some arguments or (with none given) for all.
pub(super) type Needs = Vec<(Syscall, Vec<Alternative>)>;

/// The exact change for one architecture, in three forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Commands that write the changed policy, to be run in this order.
    pub commands: Vec<String>,
    /// What changes in an OCI profile.
    pub oci: OciChange,
    /// For dify-sandbox: its whole `allowed_syscalls` line. Up to its commit a94a466 the setting replaces the
    /// built-in list; later versions may add to it, which does no harm.
    pub dify: String,
    /// What can't be changed by any policy, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_possible: Vec<String>,
}

/// What changes in the `syscalls` of an OCI profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OciChange {
    /// Names to take out of rules first, as these would refuse the calls all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Removal>,
    /// Rules to add.
    pub add: Vec<AddedRule>,
}

/// A name to take out of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// The place of the rule in `syscalls`, before anything is removed.
    pub rule: usize,
    /// The name.
    pub name: String,
}

/// A rule as OCI files write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AddedRule(#[serde(serialize_with = "as_oci")] pub Rule);

fn as_oci<S: serde::Serializer>(rule: &Rule, serializer: S) -> Result<S::Ok, S::Error> {
    FileRule(rule.clone()).serialize(serializer)
}

/// Where the changed policy comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The policy's file, or the name of a shipped one.
    pub read: &'a str,
    /// The file that the commands write.
    pub write: &'a str,
}

const PROVENANCE: &str = "allowed by hand";

impl Change {
    pub(super) fn new(policy: &Policy, arch: Arch, needs: &Needs, source: Source<'_>) -> Option<Self> {
        let mut changed = policy.clone();
        let mut not_possible = Vec::new();
        let (mut whole, mut partly): (Vec<&str>, Vec<(&str, String)>) = (Vec::new(), Vec::new());
        let mut touched: Vec<&str> = Vec::new();
        for (call, alternatives) in needs {
            let name = match nameable(*call) {
                Ok((_, name)) => name,
                Err(error) => {
                    not_possible.push(error.to_string());
                    continue;
                }
            };
            if alternatives.is_empty() {
                changed.open(&[*call], PROVENANCE);
                whole.push(name);
            } else {
                let done = changed.allow_when(*call, alternatives, PROVENANCE, Some(arch));
                match done {
                    Ok(done) => not_possible.extend(done.notes),
                    Err(error) => {
                        not_possible.push(error.to_string());
                        continue;
                    }
                }
                let words = alternatives.iter().map(|conditions| {
                    let words = Words(*call, conditions).to_string();
                    format!(" --when {}", remedy::quoted(&words))
                });
                partly.push((name, words.collect()));
            }
            touched.push(name);
        }
        if touched.is_empty() && not_possible.is_empty() {
            return None;
        }
        let mut commands = Vec::new();
        let mut read = source.read;
        let mut command = |names: &str, when: &str| {
            commands.push(format!(
                "callgate policy allow {} {names}{when} --arch {arch} -o {}",
                remedy::quoted(read),
                remedy::quoted(source.write)
            ));
            read = source.write;
        };
        if !whole.is_empty() {
            command(&whole.join(" "), "");
        }
        for (name, when) in &partly {
            command(name, when);
        }
        Some(Self {
            commands,
            oci: OciChange::between(policy, &changed, arch, &touched),
            dify: format!("allowed_syscalls: [{}]", emit::numbers(&changed.allowed(arch))),
            not_possible,
        })
    }
}

impl OciChange {
    /// What the rules of these names lose and gain on one architecture.
    fn between(before: &Policy, after: &Policy, arch: Arch, names: &[&str]) -> Self {
        let mut change = Self {
            remove: Vec::new(),
            add: Vec::new(),
        };
        let has = |policy: &Policy, wanted: &Rule, name: &str| {
            policy.rules_for(arch).any(|(_, rule)| {
                rule.names.iter().any(|n| n == name)
                    && (rule.action, &rule.args) == (wanted.action, &wanted.args)
            })
        };
        for name in names {
            let own = |policy: &Policy| -> Vec<(usize, Rule)> {
                let rules = policy
                    .rules_for(arch)
                    .filter(|(_, rule)| rule.names.iter().any(|n| n == name));
                rules.map(|(index, rule)| (index, rule.clone())).collect()
            };
            for (rule, _) in own(before)
                .into_iter()
                .filter(|(_, rule)| !has(after, rule, name))
            {
                let name = (*name).to_owned();
                change.remove.push(Removal { rule, name });
            }
            for (_, rule) in own(after)
                .into_iter()
                .filter(|(_, rule)| !has(before, rule, name))
            {
                change.gain(Rule {
                    names: vec![(*name).to_owned()],
                    arches: None,
                    ..rule
                });
            }
        }
        change
    }

    fn gain(&mut self, rule: Rule) {
        let like = |AddedRule(other): &&mut AddedRule| {
            (other.action, &other.args, &other.comment) == (rule.action, &rule.args, &rule.comment)
                && other.action == Action::Allow
                && other.args.is_empty()
        };
        match self.add.iter_mut().find(like) {
            Some(AddedRule(other)) => other.names.extend(rule.names),
            None => self.add.push(AddedRule(rule)),
        }
    }
}
