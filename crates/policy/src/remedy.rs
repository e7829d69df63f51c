//! What to do about a refused call.

use std::collections::BTreeSet;

use callgate_abi::{ArgCondition, CompareOp, Syscall, is_key};
use serde::Serialize;

use crate::amend::{AmendError, nameable};
use crate::when::{LOW, Words};
use crate::{Policy, Verdict, emit, shipped};

/// How to allow a call that a policy refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The command that writes the mended policy.
    pub command: String,
    /// The file that the command writes: run with `--policy` and this.
    pub policy: String,
    /// The same for dify-sandbox: its whole `allowed_syscalls` line, with this call.
    pub dify: String,
}

/// The mend for a call that `policy` refused; `source` is the file that the policy was read from, or the
/// name of a shipped one (which is not overwritten: the command writes a file into the current directory).
/// Where the policy decides by arguments, the command allows the call with those that it was made with.
///
/// # Errors
/// [`AmendError`] if no policy can allow the call; its text is the answer then.
pub fn remedy(policy: &Policy, source: &str, call: Syscall, args: &[u64; 6]) -> Result<Remedy, AmendError> {
    let (arch, name) = nameable(call)?;
    let target = match shipped::get(source) {
        Some(_) => format!("{source}.policy.json"),
        None => source.to_owned(),
    };
    let mut allowed = policy.allowed(arch);
    allowed.push(call);
    allowed.sort_unstable();
    allowed.dedup();
    let conditions = asked(policy, call, args);
    let when = match conditions.is_empty() {
        true => String::new(),
        false => format!(" --when {}", quoted(&Words(call, &conditions).to_string())),
    };
    Ok(Remedy {
        command: format!(
            "callgate policy allow {} {name}{when} -o {}",
            quoted(source),
            quoted(&target)
        ),
        policy: target,
        dify: format!("allowed_syscalls: [{}]", emit::numbers(&allowed)),
    })
}

/// The values of the arguments that the policy asks about and that choose what the call does.
fn asked(policy: &Policy, call: Syscall, args: &[u64; 6]) -> Vec<ArgCondition> {
    let Verdict::Depends { rules, .. } = policy.verdict(call) else {
        return Vec::new();
    };
    let indexes: BTreeSet<u8> = rules
        .iter()
        .flat_map(|(_, conditions)| conditions)
        .map(|condition| condition.index())
        .filter(|index| is_key(call, *index))
        .collect();
    let equal =
        |index: u8| ArgCondition::new(index, CompareOp::MaskedEq(LOW), args[usize::from(index)] & LOW).ok();
    indexes.into_iter().filter_map(equal).collect()
}

/// A word as a shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+:@%,=".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use callgate_abi::{Abi, Action, Arch};

    use super::*;
    use crate::Rule;

    #[test]
    fn the_remedy_names_the_call_and_keeps_what_was_allowed() {
        let mut policy = Policy::new(Action::KillProcess);
        policy.rules = vec![Rule::new(Action::Allow, ["read", "write"])];
        let call = Arch::X86_64.call("sched_getaffinity").unwrap();
        let shipped = remedy(&policy, "python", call, &[0; 6]).unwrap();
        assert_eq!(
            shipped.command,
            "callgate policy allow python sched_getaffinity -o python.policy.json"
        );
        assert_eq!(shipped.dify, "allowed_syscalls: [0, 1, 204]");
        let file = remedy(&policy, "my dir/it's.json", call, &[0; 6]).unwrap();
        assert_eq!(
            file.command,
            r"callgate policy allow 'my dir/it'\''s.json' sched_getaffinity -o 'my dir/it'\''s.json'"
        );
        assert!(remedy(&policy, "python", Syscall::new(Abi::X32, Abi::X32_BIT), &[0; 6]).is_err());
    }

    #[test]
    fn where_arguments_decide_the_remedy_allows_the_refused_one() {
        let socket = Arch::X86_64.call("socket").unwrap();
        let mut policy = Policy::new(Action::KillProcess);
        policy
            .allow_when(socket, &[crate::when(socket, "arg0=AF_UNIX").unwrap()], "x", None)
            .unwrap();
        let mend = remedy(&policy, "p.json", socket, &[2, 1, 0, 0, 0, 0]).unwrap();
        assert_eq!(
            mend.command,
            "callgate policy allow p.json socket --when arg0=AF_INET -o p.json"
        );
        assert_eq!(mend.dify, "allowed_syscalls: [41]");
    }
}
