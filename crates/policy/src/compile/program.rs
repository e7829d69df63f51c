//! One filter of the stack, by seccompiler.

use std::collections::BTreeMap;

use callgate_abi::{Action, Arch, ArgCondition, CompareOp, Filter, Instruction};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{Alternatives, CompileError};

/// A filter that answers `matched` for the calls in `calls` and `unmatched` for all others.
pub(super) fn build(
    arch: Arch,
    calls: &BTreeMap<u32, Alternatives<'_>>,
    matched: Action,
    unmatched: Action,
) -> Result<Filter, CompileError> {
    let action = matched.max(unmatched);
    let failed = |source| match source {
        BackendError::FilterTooLarge(instructions) => CompileError::TooLong { arch, instructions },
        source => CompileError::Backend { arch, action, source },
    };
    let rules = calls
        .iter()
        .map(|(nr, rules)| Ok((i64::from(*nr), alternatives(rules)?)));
    let rules = rules
        .collect::<Result<BTreeMap<_, _>, BackendError>>()
        .map_err(failed)?;
    let target = match arch {
        Arch::X86_64 => TargetArch::x86_64,
        Arch::Aarch64 => TargetArch::aarch64,
    };
    let program: BpfProgram = SeccompFilter::new(rules, backend(unmatched), backend(matched), target)
        .and_then(BpfProgram::try_from)
        .map_err(failed)?;
    Ok(Filter(
        program
            .iter()
            .map(|i| Instruction {
                code: i.code,
                jt: i.jt,
                jf: i.jf,
                k: i.k,
            })
            .collect(),
    ))
}

/// The rules of one call. One without conditions makes the others void; seccompiler writes that as an
/// empty list, and would forget it beside others.
fn alternatives(rules: &Alternatives<'_>) -> Result<Vec<SeccompRule>, BackendError> {
    if rules.iter().any(|rule| rule.args.is_empty()) {
        return Ok(Vec::new());
    }
    rules
        .iter()
        .map(|rule| SeccompRule::new(rule.args.iter().map(condition).collect::<Result<_, _>>()?))
        .collect()
}

/// All 64 bits are compared: a 32-bit comparison would let a caller set the half that it does not see.
fn condition(condition: &ArgCondition) -> Result<SeccompCondition, BackendError> {
    let op = match condition.op() {
        CompareOp::Eq => SeccompCmpOp::Eq,
        CompareOp::Ne => SeccompCmpOp::Ne,
        CompareOp::Lt => SeccompCmpOp::Lt,
        CompareOp::Le => SeccompCmpOp::Le,
        CompareOp::Ge => SeccompCmpOp::Ge,
        CompareOp::Gt => SeccompCmpOp::Gt,
        CompareOp::MaskedEq(mask) => SeccompCmpOp::MaskedEq(mask),
    };
    SeccompCondition::new(condition.index(), SeccompCmpArgLen::Qword, op, condition.value())
}

fn backend(action: Action) -> SeccompAction {
    match action {
        Action::Allow => SeccompAction::Allow,
        Action::Log => SeccompAction::Log,
        Action::Trace(data) => SeccompAction::Trace(u32::from(data)),
        Action::Errno(errno) => SeccompAction::Errno(u32::from(errno)),
        Action::Trap => SeccompAction::Trap,
        Action::KillThread => SeccompAction::KillThread,
        Action::KillProcess => SeccompAction::KillProcess,
    }
}
