//! seccompiler's JSON: one filter with one action for a match and one for all else.

use callgate_abi::{Action, Arch, ArgCondition, CompareOp};
use serde_json::{Value, json};

use super::{EmitError, Emitted, lost};
use crate::{Policy, Verdict};

/// The policy as the JSON that seccompiler's front end reads (0.5, docs/json_format.md), with one filter,
/// `main`.
///
/// Its action for a match is allow, or the one action of the policy's rules if none allows. Other actions
/// are lost; so is, where the default does not kill, the refusal of x32's entry. The front end knows names
/// up to Linux 6.8 and refuses newer ones.
///
/// # Errors
/// [`EmitError::Json`] in theory only.
pub fn seccompiler(policy: &Policy, arch: Arch) -> Result<Emitted, EmitError> {
    let matched = matched(policy, arch);
    let (mut rules, mut lost): (_, Vec<String>) = (Vec::new(), Vec::new());
    lost.extend(lost::x32(policy, arch));
    lost.extend(lost::loading(policy));
    lost.extend(lost::unknown(policy, policy.default));
    for call in arch.calls() {
        match policy.verdict(call) {
            Verdict::Always(action) if action == policy.default => {}
            Verdict::Always(action) if action == matched => rules.push(json!({"syscall": call.name()})),
            Verdict::Depends { base, rules: own, .. }
                if base == policy.default && own.iter().all(|(action, _)| *action == matched) =>
            {
                rules.extend(own.iter().map(|(_, args)| {
                    let args: Vec<Value> = args.iter().map(condition).collect();
                    json!({"syscall": call.name(), "args": args})
                }));
            }
            verdict => lost.push(format!("{call}: {verdict}; there {}", policy.default)),
        }
    }
    let filter = json!({"main": {
        "mismatch_action": action(policy.default),
        "match_action": action(matched),
        "filter": rules,
    }});
    let mut text = serde_json::to_string_pretty(&filter)?;
    text.push('\n');
    Ok(Emitted { text, lost })
}

/// The action of the filter's rules, which differs from the default.
fn matched(policy: &Policy, arch: Arch) -> Action {
    let actions = policy.rules_for(arch).map(|(_, rule)| rule.action);
    let softest = actions.filter(|action| *action != policy.default).min();
    softest.unwrap_or(match policy.default {
        Action::Allow => Action::KillProcess,
        _ => Action::Allow,
    })
}

fn action(action: Action) -> Value {
    match action {
        Action::Allow => json!("allow"),
        Action::Log => json!("log"),
        Action::Trace(data) => json!({"trace": data}),
        Action::Errno(errno) => json!({"errno": errno}),
        Action::Trap => json!("trap"),
        Action::KillThread => json!("kill_thread"),
        Action::KillProcess => json!("kill_process"),
    }
}

/// Always over 64 bits, as the policy compares.
fn condition(condition: &ArgCondition) -> Value {
    let op = match condition.op() {
        CompareOp::Eq => json!("eq"),
        CompareOp::Ne => json!("ne"),
        CompareOp::Lt => json!("lt"),
        CompareOp::Le => json!("le"),
        CompareOp::Ge => json!("ge"),
        CompareOp::Gt => json!("gt"),
        CompareOp::MaskedEq(mask) => json!({"masked_eq": mask}),
    };
    json!({"index": condition.index(), "type": "qword", "op": op, "val": condition.value()})
}

#[cfg(test)]
mod tests {
    use ::seccompiler::{TargetArch, compile_from_json};
    use callgate_abi::{Filter, Instruction};

    use super::*;
    use crate::{Rule, Verifier, VerifyError};

    /// What seccompiler's own front end makes of the text, proved against the policy.
    fn proved(policy: &Policy, text: &str, arch: Arch) -> Result<crate::Proof, VerifyError> {
        let target = match arch {
            Arch::X86_64 => TargetArch::x86_64,
            Arch::Aarch64 => TargetArch::aarch64,
        };
        let programs = compile_from_json(text.as_bytes(), target).unwrap();
        let instructions = programs["main"].iter().map(|i| Instruction {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        });
        let filter = Filter(instructions.collect());
        Verifier::of(policy, arch, "seccompiler's program", &[filter])?.check_all()
    }

    #[test]
    fn seccompilers_own_front_end_makes_of_it_what_the_policy_says() {
        let arg = |op, value| ArgCondition::new(1, op, value).unwrap();
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["read", "openat", "exit_group"]),
            Rule::new(Action::Allow, ["read"]).when([arg(CompareOp::Eq, 1)]),
            Rule::new(Action::Allow, ["ioctl"]).when([arg(CompareOp::MaskedEq(0xffff_ffff), 0x5401)]),
            Rule::new(Action::Allow, ["ioctl"])
                .when([arg(CompareOp::Ge, 1 << 33), arg(CompareOp::Ne, u64::MAX)]),
        ];
        for arch in Arch::ALL {
            let emitted = seccompiler(&policy, arch).unwrap();
            assert_eq!(emitted.lost, [] as [String; 0]);
            proved(&policy, &emitted.text, arch).unwrap();
        }
    }

    #[test]
    fn a_second_action_is_lost_and_the_proof_finds_it_missing() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![
            Rule::new(Action::Allow, ["read"]),
            Rule::new(Action::Errno(38), ["clone3"]),
        ];
        let emitted = seccompiler(&policy, Arch::Aarch64).unwrap();
        assert_eq!(emitted.lost, ["clone3: errno(ENOSYS); there kill"]);
        let Err(VerifyError::Wrong(found)) = proved(&policy, &emitted.text, Arch::Aarch64) else {
            panic!("proved")
        };
        assert_eq!(found.nr, 435);
    }

    #[test]
    fn a_list_of_refusals_is_said_too_and_x32_is_reported() {
        let mut policy = Policy::new(Action::Allow);
        policy.rules = vec![Rule::new(Action::Errno(1), ["ptrace"])];
        let emitted = seccompiler(&policy, Arch::Aarch64).unwrap();
        assert!(emitted.lost.is_empty());
        proved(&policy, &emitted.text, Arch::Aarch64).unwrap();
        assert!(seccompiler(&policy, Arch::X86_64).unwrap().lost[0].contains("x32 calls get allow"));
    }
}
