//! Text → policy: OCI JSON read strictly, and contradictions found.

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch};

use serde::de::DeserializeOwned;

use crate::oci::{File, FileRule, Own, one_errno};
use crate::{Policy, Rule, outline};

/// The longest text that is read as a policy. Docker's default profile is 15 KB.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Why a text is not a policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is longer than [`MAX_BYTES`].
    #[error("{bytes} bytes are too many for a policy (at most {MAX_BYTES}): is this the right file?")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is not JSON, or not of a policy's shape, or says what Linux does not have.
    #[error("not a policy: at {path}: {source}")]
    Malformed {
        /// The JSON path of the fault: `syscalls[3].names[7]`.
        path: String,
        /// What is wrong there, with line and column.
        source: serde_json::Error,
    },
    /// The action that stands beside `defaultErrnoRet` takes no errno, or not this one.
    #[error("not a policy: at defaultErrnoRet: {reason} at line {line}")]
    DefaultErrno {
        /// Where it stands.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A rule can never have an effect, because another one always overrules it.
    #[error(
        "syscalls[{overruled}] gives {name} {weak}, but syscalls[{overrules}] gives it {strong} without a condition, \
         which always wins: take {name} out of one of them (lines {} and {})", lines[0], lines[1]
    )]
    Contradiction {
        /// The lines on which the two rules begin.
        lines: [usize; 2],
        /// The call.
        name: String,
        /// The place of the rule without effect.
        overruled: usize,
        /// Its action.
        weak: Action,
        /// The place of the rule that always wins.
        overrules: usize,
        /// Its action.
        strong: Action,
    },
}

impl Policy {
    /// Reads a policy: OCI seccomp JSON, with moby's `comment`, `archMap` and `includes.arches`.
    ///
    /// # Errors
    /// [`PolicyError`], with the JSON path and the line of the fault. Unknown fields, actions and names
    /// are faults; so are moby's conditions on capabilities and kernel versions, which need a host.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let file: File<FileRule> = read(text)?;
        assemble(file, |rule| Some(rule.0)).map_err(|fault| fault.in_json(text))
    }

    /// The first rule that an unconditional, more restrictive rule for the same call makes void.
    fn void_rule(&self) -> Option<VoidRule> {
        for arch in Arch::ALL {
            let mut strongest: BTreeMap<&str, (Action, usize)> = BTreeMap::new();
            for (index, rule) in self.rules_for(arch).filter(|(_, rule)| rule.args.is_empty()) {
                for name in &rule.names {
                    let entry = strongest.entry(name).or_insert((rule.action, index));
                    if rule.action > entry.0 {
                        *entry = (rule.action, index);
                    }
                }
            }
            for (overruled, rule) in self.rules_for(arch) {
                for name in &rule.names {
                    if let Some((strong, overrules)) = strongest.get(name.as_str()).copied() {
                        if rule.action < strong {
                            let (name, weak) = (name.clone(), rule.action);
                            return Some(VoidRule {
                                name,
                                overruled,
                                weak,
                                overrules,
                                strong,
                            });
                        }
                    }
                }
            }
        }
        None
    }
}

/// A rule that another one always overrules: places and actions of both.
pub(crate) struct VoidRule {
    pub name: String,
    pub overruled: usize,
    pub weak: Action,
    pub overrules: usize,
    pub strong: Action,
}

/// Why a file that has the right shape is no policy.
pub(crate) enum Unsound {
    /// The default's action takes no errno, or not this one.
    DefaultErrno(String),
    /// A rule is void; its place is that in the file.
    Void(VoidRule),
}

impl Unsound {
    /// The error for a file in JSON, with its lines.
    pub fn in_json(self, text: &str) -> PolicyError {
        let void = match self {
            Self::DefaultErrno(reason) => {
                return PolicyError::DefaultErrno {
                    line: outline::default_errno_line(text),
                    reason,
                };
            }
            Self::Void(void) => void,
        };
        let lines = outline::rule_lines(text);
        let line = |rule: usize| lines.get(rule).copied().unwrap_or_default();
        PolicyError::Contradiction {
            lines: [line(void.overruled), line(void.overrules)],
            name: void.name,
            overruled: void.overruled,
            weak: void.weak,
            overrules: void.overrules,
            strong: void.strong,
        }
    }
}

/// A JSON text as what it should be; a fault is told with its path and line.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, PolicyError> {
    if text.len() > MAX_BYTES {
        return Err(PolicyError::TooLong { bytes: text.len() });
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| PolicyError::Malformed {
        path: place(error.path()),
        source: error.into_inner(),
    })?;
    reader.end().map_err(|source| PolicyError::Malformed {
        path: "the end".into(),
        source,
    })?;
    Ok(value)
}

/// The words for a JSON path.
pub(crate) fn place(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        root if root == "." => "the top".to_owned(),
        path => path,
    }
}

/// The policy of a file, of whose rules those count that are made into one.
pub(crate) fn assemble<R>(file: File<R>, mut rule: impl FnMut(R) -> Option<Rule>) -> Result<Policy, Unsound> {
    let errno = one_errno(file.default_errno_ret, file.default_errno);
    let default = errno
        .and_then(|errno| file.default_action.with(errno))
        .map_err(Unsound::DefaultErrno)?;
    let mut architectures: Vec<String> = Vec::new();
    let mapped = file.arch_map.into_iter().flatten();
    let mapped =
        mapped.flat_map(|m| std::iter::once(m.architecture).chain(m.sub_architectures.into_iter().flatten()));
    for arch in file.architectures.into_iter().flatten().chain(mapped) {
        if !architectures.contains(&arch.0) {
            architectures.push(arch.0);
        }
    }
    let (mut rules, mut places) = (Vec::new(), Vec::new());
    for (place, read) in file.syscalls.into_iter().flatten().enumerate() {
        if let Some(rule) = rule(read) {
            rules.push(rule);
            places.push(place);
        }
    }
    let policy = Policy {
        comment: file.comment,
        default,
        unknown: Own::unknown(file.own),
        architectures,
        flags: file.flags.unwrap_or_default(),
        listener_path: file.listener_path,
        listener_metadata: file.listener_metadata,
        rules,
    };
    match policy.void_rule() {
        Some(void) => Err(Unsound::Void(VoidRule {
            overruled: places[void.overruled],
            overrules: places[void.overrules],
            ..void
        })),
        None => Ok(policy),
    }
}
