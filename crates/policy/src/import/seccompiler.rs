//! seccompiler's JSON: filters by thread, each with one action for a match and one for all else.

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch, CompareOp};
use serde::Deserialize;

use super::ImportError;
use crate::logic::{self, Any};
use crate::parse::read as read_json;
use crate::{Policy, Rule, names};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    mismatch_action: Word,
    match_action: Word,
    filter: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Allow,
    Errno(u16),
    KillThread,
    KillProcess,
    Log,
    Trace(u16),
    Trap,
}

impl Word {
    fn action(&self) -> Action {
        match self {
            Self::Allow => Action::Allow,
            Self::Errno(errno) => Action::Errno(*errno),
            Self::KillThread => Action::KillThread,
            Self::KillProcess => Action::KillProcess,
            Self::Log => Action::Log,
            Self::Trace(data) => Action::Trace(*data),
            Self::Trap => Action::Trap,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    syscall: Name,
    args: Option<Vec<Condition>>,
    #[serde(default)]
    comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = names::UnknownCall;

    fn try_from(name: String) -> Result<Self, names::UnknownCall> {
        names::check(&name).map(|()| Self(name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Condition {
    index: u8,
    #[serde(rename = "type")]
    width: Width,
    op: Op,
    val: u64,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Width {
    Dword,
    Qword,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
    MaskedEq(u64),
    Ne,
}

pub(super) fn read(
    text: &str,
    arch: Arch,
    part: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Policy, ImportError> {
    let threads: BTreeMap<String, Filter> = read_json(text)?;
    let names = threads.keys().cloned().collect::<Vec<_>>().join(", ");
    let (thread, filter) = match (part, threads.len()) {
        (None, 1) => threads.first_key_value(),
        (None, 0) => return Err(ImportError::Part("no filter in the file".to_owned())),
        (None, _) => {
            return Err(ImportError::Part(format!(
                "it has the filters {names}: choose one with --part"
            )));
        }
        (Some(part), _) => threads.get_key_value(part),
    }
    .ok_or_else(|| {
        ImportError::Part(format!(
            "no filter {:?}: it has {names}",
            part.unwrap_or_default()
        ))
    })?;
    let (default, matched) = (filter.mismatch_action.action(), filter.match_action.action());
    let mut policy = Policy::new(default);
    policy.comment = Some(format!("seccompiler's filter {thread}"));
    let open = |name: &str| {
        filter
            .filter
            .iter()
            .any(|call| call.syscall.0 == name && call.args.as_ref().is_none_or(Vec::is_empty))
    };
    let mut widened = 0;
    for (index, call) in filter.filter.iter().enumerate() {
        let name = &call.syscall.0;
        let place = |what: String| ImportError::Place {
            path: format!("{thread}.filter[{index}]"),
            line: None,
            what,
        };
        if names::on(arch, name).is_none() {
            return Err(place(format!(
                "{name} does not exist on {arch}, where seccompiler refuses the file"
            )));
        }
        let mut all: Any = logic::always();
        for (position, condition) in call.args.iter().flatten().enumerate() {
            let own = condition.alternatives().map_err(|what| ImportError::Place {
                path: format!("{thread}.filter[{index}].args[{position}]"),
                line: None,
                what,
            })?;
            all = logic::both(&all, &own)
                .ok_or_else(|| place("these conditions need too many rules".to_owned()))?;
        }
        if !call.args.as_ref().is_none_or(Vec::is_empty) && open(name) {
            notes.push(format!(
                "{thread}.filter[{index}]: {name} stands without conditions too, which covers this; seccompiler 0.5.0 \
                 compiles the conditional one alone"
            ));
        }
        let rules =
            logic::rules(&all).ok_or_else(|| place("these conditions need too many rules".to_owned()))?;
        widened += usize::from(rules.len() > 1);
        for args in rules {
            let rule = Rule::new(matched, [name.clone()]).when(args);
            policy.rules.push(match &call.comment {
                Some(comment) => rule.because(comment),
                None => rule,
            });
        }
    }
    if widened > 0 {
        notes.push(format!(
            "{widened} rules compare the lower half of an argument by size; policies compare whole arguments, so each \
             became several rules with masks"
        ));
    }
    Ok(policy)
}

impl Condition {
    fn alternatives(&self) -> Result<Any, String> {
        let op = match self.op {
            Op::Eq => CompareOp::Eq,
            Op::Ge => CompareOp::Ge,
            Op::Gt => CompareOp::Gt,
            Op::Le => CompareOp::Le,
            Op::Lt => CompareOp::Lt,
            Op::MaskedEq(mask) => CompareOp::MaskedEq(mask),
            Op::Ne => CompareOp::Ne,
        };
        if self.index > 5 {
            return Err(format!("a system call has arguments 0 to 5, not {}", self.index));
        }
        Ok(match (self.width, u32::try_from(self.val)) {
            (Width::Qword, _) => match op {
                CompareOp::MaskedEq(mask) => logic::masked(self.index, mask, self.val & mask),
                op => logic::comparison(self.index, op, self.val),
            },
            (Width::Dword, Ok(val)) => logic::low_half(self.index, op, val),
            (Width::Dword, Err(_)) => return Err(format!("{} does not fit into a dword", self.val)),
        })
    }
}
