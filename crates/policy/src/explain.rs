//! All that is known of one call, in one place.

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch, CompareOp, Group, Risk, Severity, Syscall, about, risk};
use serde::Serialize;

use crate::when::LOW;
use crate::{Policy, PolicyError, UnknownCall, Verdict, equivalents, names, shipped, siblings, when};

/// What is known of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The kernel's name.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What it has to do with.
    pub group: Group,
    /// The kernel that had it first, where that is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<&'static str>,
    /// Its number on each architecture that has it.
    pub numbers: BTreeMap<Arch, u32>,
    /// What stands for it on an architecture that lacks it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub equivalents: BTreeMap<Arch, Instead>,
    /// What libc may call in its place, by its version.
    pub siblings: Vec<&'static str>,
    /// Why it is dangerous, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskNote>,
    /// What each shipped policy does with it: policy, architecture, answer.
    pub shipped: BTreeMap<&'static str, BTreeMap<Arch, String>>,
}

/// What libc calls on an architecture that lacks the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Instead {
    /// The calls, the likeliest first.
    pub calls: Vec<String>,
    /// What is not exact about it, or why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// Why a call is dangerous.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RiskNote {
    /// How much an open call weakens a sandbox.
    pub severity: Severity,
    /// Why.
    pub reason: &'static str,
    /// A flaw that was used through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cve: Option<&'static str>,
}

impl From<Risk> for RiskNote {
    fn from(risk: Risk) -> Self {
        let Risk {
            severity,
            reason,
            cve,
        } = risk;
        Self {
            severity,
            reason,
            cve,
        }
    }
}

/// Why a call can't be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Linux has no such call.
    #[error(transparent)]
    Unknown(#[from] UnknownCall),
    /// Linux has it on other machines only.
    #[error("neither amd64 nor arm64 has {0}: it is a call of other machines")]
    Elsewhere(String),
    /// A shipped policy can't be read.
    #[error("shipped policy {name}: {source}")]
    Shipped {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        source: PolicyError,
    },
}

/// Explains the call of that name.
///
/// # Errors
/// [`ExplainError`]: a name that Linux does not have (with the nearest one), or not on these machines.
pub fn explain(name: &str) -> Result<Explanation, ExplainError> {
    names::check(name)?;
    let about = about(name).ok_or_else(|| ExplainError::Elsewhere(name.to_owned()))?;
    let calls: Vec<_> = Arch::ALL
        .into_iter()
        .filter_map(|arch| names::on(arch, name))
        .collect();
    let lacking = Arch::ALL
        .into_iter()
        .filter(|arch| names::on(*arch, name).is_none());
    let instead = |arch: Arch| {
        let found = equivalents(*calls.first()?, arch);
        let calls = found.calls.iter().map(ToString::to_string).collect();
        Some((
            arch,
            Instead {
                calls,
                note: found.note,
            },
        ))
    };
    let mut shipped_answers = BTreeMap::new();
    for policy_name in shipped::names() {
        let policy = match shipped::load(policy_name) {
            Some(Ok(policy)) => policy,
            Some(Err(source)) => {
                return Err(ExplainError::Shipped {
                    name: policy_name,
                    source,
                });
            }
            None => continue,
        };
        shipped_answers.insert(policy_name, answers(&policy, name));
    }
    Ok(Explanation {
        name: about.name,
        summary: about.summary,
        group: about.group,
        since: about.since,
        numbers: calls
            .iter()
            .filter_map(|call| Some((call.arch()?, call.nr())))
            .collect(),
        equivalents: lacking.filter_map(instead).collect(),
        siblings: siblings(name),
        risk: risk(name).map(RiskNote::from),
        shipped: shipped_answers,
    })
}

/// What a policy does with a name on each architecture that has it.
fn answers(policy: &Policy, name: &str) -> BTreeMap<Arch, String> {
    let answer = |arch| {
        let call = names::on(arch, name)?;
        Some((arch, in_words(call, &policy.verdict(call))))
    };
    Arch::ALL.into_iter().filter_map(answer).collect()
}

/// A verdict with its values by name, one clause for each action and argument:
/// `allow if arg0 is AF_UNIX or AF_INET; else kill`.
fn in_words(call: Syscall, verdict: &Verdict) -> String {
    let (base, rules) = match verdict {
        Verdict::Always(action) => return action.to_string(),
        Verdict::Depends { base, rules, .. } => (base, rules),
    };
    let mut clauses: Vec<(Action, Option<u8>, Vec<String>)> = Vec::new();
    for (action, conditions) in rules {
        let (index, words) = match conditions.as_slice() {
            [one] if matches!(one.op(), CompareOp::Eq | CompareOp::MaskedEq(LOW)) => {
                let mut args = [0; 6];
                args[usize::from(one.index())] = one.value();
                let number = || format!("{:#x}", one.value());
                let name = when::name(call, one.index(), &args).unwrap_or_else(number);
                (Some(one.index()), name)
            }
            all => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                (None, all.join(" and "))
            }
        };
        let like =
            |(other, place, _): &&mut (Action, Option<u8>, Vec<String>)| (*other, *place) == (*action, index);
        match clauses.iter_mut().find(like) {
            Some((_, _, list)) => list.push(words),
            None => clauses.push((*action, index, vec![words])),
        }
    }
    let clause = |(action, index, words): &(Action, Option<u8>, Vec<String>)| match index {
        Some(index) => format!("{action} if arg{index} is {}", words.join(" or ")),
        None => format!("{action} if {}", words.join(" or ")),
    };
    let clauses: Vec<String> = clauses.iter().map(clause).collect();
    format!("{}; else {base}", clauses.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_known_of_every_call_of_both_architectures() {
        for call in Arch::ALL.into_iter().flat_map(Arch::calls) {
            let found = explain(&call.name()).unwrap();
            let arch = call.arch().unwrap();
            assert_eq!(found.numbers.get(&arch), Some(&call.nr()));
            assert_eq!(found.numbers.len() + found.equivalents.len(), 2, "{call}");
            assert_eq!(found.shipped.len(), shipped::names().len());
        }
    }

    #[test]
    fn clone3_is_explained_with_its_sibling_its_risk_and_the_policies_answers() {
        let found = explain("clone3").unwrap();
        assert_eq!(
            (found.since, found.group, &found.siblings[..]),
            (Some("5.3"), Group::Process, &["clone"][..])
        );
        assert_eq!(found.numbers[&Arch::Aarch64], 435);
        assert!(found.risk.unwrap().reason.contains("namespaces"));
        assert_eq!(found.shipped["python"][&Arch::X86_64], "errno(ENOSYS)");
        let open = explain("open").unwrap();
        assert_eq!(open.equivalents[&Arch::Aarch64].calls, ["openat"]);
    }

    #[test]
    fn a_policy_that_decides_by_arguments_is_told_with_their_names() {
        let found = explain("socket").unwrap();
        let network = &found.shipped["python-network"][&Arch::X86_64];
        assert!(
            network.starts_with("allow if arg0 is AF_UNIX or AF_INET or AF_INET6; errno(EAFNOSUPPORT) if "),
            "{network}"
        );
        assert!(network.ends_with("; else kill"), "{network}");
        assert_eq!(found.shipped["python"][&Arch::Aarch64], "errno(EPERM)");
    }

    #[test]
    fn names_of_other_machines_and_no_names_are_errors_with_the_reason() {
        assert!(
            explain("_llseek")
                .unwrap_err()
                .to_string()
                .contains("other machines")
        );
        assert!(explain("opennat").unwrap_err().to_string().contains("\"openat\""));
    }
}
