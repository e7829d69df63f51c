//! One rule of a policy file, and moby's conditions on the host that it runs on.

use serde::{Deserialize, Serialize};

use super::Kernel;
use super::condition::Arg;
use super::words::{ActionName, CallName, Cap, ErrnoName, MobyArch, one_errno};
use crate::Rule;

/// One rule.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "RuleParts", into = "RuleParts")]
pub(crate) struct FileRule(pub Rule);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RuleParts {
    #[serde(default)]
    names: Option<Vec<CallName>>,
    /// Docker before 17.05 wrote one name.
    #[serde(default, skip_serializing)]
    name: Option<CallName>,
    action: ActionName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(default, skip_serializing)]
    errno: Option<ErrnoName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Arg>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    includes: Option<Conditions>,
    #[serde(default, skip_serializing)]
    excludes: Option<Conditions>,
}

/// moby's conditions on the host.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Conditions {
    /// Machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arches: Option<Vec<MobyArch>>,
    /// Capabilities of the container.
    #[serde(default, skip_serializing)]
    caps: Option<Vec<Cap>>,
    /// The oldest kernel.
    #[serde(default, skip_serializing)]
    min_kernel: Option<Kernel>,
}

impl Conditions {
    /// The machines, in moby's words.
    pub fn arches(&self) -> Vec<String> {
        self.arches.iter().flatten().map(|arch| arch.0.clone()).collect()
    }

    /// The capabilities.
    pub fn caps(&self) -> Vec<&str> {
        self.caps.iter().flatten().map(|cap| cap.0.as_str()).collect()
    }

    /// The oldest kernel.
    pub fn min_kernel(&self) -> Option<Kernel> {
        self.min_kernel
    }
}

/// A rule that counts on some hosts.
#[derive(Deserialize)]
#[serde(try_from = "RuleParts")]
pub(crate) struct HostRule {
    /// The rule, for all hosts.
    pub rule: Rule,
    /// Where it counts: all of these must hold.
    pub includes: Conditions,
    /// Where it does not: none of these may hold.
    pub excludes: Conditions,
}

fn unresolved(what: &str) -> String {
    format!("{what} depends on the host: `callgate policy import` resolves it (--kernel, --cap)")
}

impl TryFrom<RuleParts> for HostRule {
    type Error = String;

    fn try_from(parts: RuleParts) -> Result<Self, String> {
        let action = parts.action.with(one_errno(parts.errno_ret, parts.errno)?)?;
        let names = match (parts.names, parts.name) {
            (Some(names), None) if !names.is_empty() => names,
            (None, Some(name)) => vec![name],
            (Some(_), Some(_)) => return Err("both `name` and `names`".into()),
            _ => return Err("a rule without names".into()),
        };
        Ok(Self {
            rule: Rule {
                names: names.into_iter().map(|name| name.0).collect(),
                action,
                args: parts
                    .args
                    .unwrap_or_default()
                    .into_iter()
                    .map(|arg| arg.0)
                    .collect(),
                comment: parts.comment,
                arches: None,
            },
            includes: parts.includes.unwrap_or_default(),
            excludes: parts.excludes.unwrap_or_default(),
        })
    }
}

impl TryFrom<RuleParts> for FileRule {
    type Error = String;

    fn try_from(parts: RuleParts) -> Result<Self, String> {
        let HostRule {
            rule,
            includes,
            excludes,
        } = HostRule::try_from(parts)?;
        if !includes.caps().is_empty() {
            return Err(unresolved("includes.caps"));
        }
        if includes.min_kernel.is_some() {
            return Err(unresolved("includes.minKernel"));
        }
        if !excludes.caps().is_empty() || excludes.min_kernel.is_some() || !excludes.arches().is_empty() {
            return Err(unresolved("excludes"));
        }
        let arches = Some(includes.arches()).filter(|arches| !arches.is_empty());
        Ok(Self(Rule { arches, ..rule }))
    }
}

impl From<FileRule> for RuleParts {
    fn from(FileRule(rule): FileRule) -> Self {
        let (action, errno_ret) = ActionName::of(rule.action);
        Self {
            names: Some(rule.names.into_iter().map(CallName).collect()),
            name: None,
            action,
            errno_ret,
            errno: None,
            args: (!rule.args.is_empty()).then(|| rule.args.iter().copied().map(Arg).collect()),
            comment: rule.comment,
            includes: rule.arches.map(|arches| Conditions {
                arches: Some(arches.into_iter().map(MobyArch).collect()),
                ..Conditions::default()
            }),
            excludes: None,
        }
    }
}
