//! What to do about a refused call.

use callgate_abi::Syscall;
use serde::Serialize;

use crate::amend::{AmendError, nameable};
use crate::{Policy, emit, shipped};

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
///
/// # Errors
/// [`AmendError`] if no policy can allow the call; its text is the answer then.
pub fn remedy(policy: &Policy, source: &str, call: Syscall) -> Result<Remedy, AmendError> {
    let (arch, name) = nameable(call)?;
    let target = match shipped::get(source) {
        Some(_) => format!("{source}.policy.json"),
        None => source.to_owned(),
    };
    let mut allowed = policy.allowed(arch);
    allowed.push(call);
    Ok(Remedy {
        command: format!(
            "callgate policy allow {} {name} -o {}",
            quoted(source),
            quoted(&target)
        ),
        policy: target,
        dify: format!("allowed_syscalls: [{}]", emit::numbers(&allowed)),
    })
}

/// A word as a shell reads it back.
pub(crate) fn quoted(word: &str) -> String {
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
        let shipped = remedy(&policy, "python", call).unwrap();
        assert_eq!(
            shipped.command,
            "callgate policy allow python sched_getaffinity -o python.policy.json"
        );
        assert_eq!(shipped.dify, "allowed_syscalls: [0, 1, 204]");
        let file = remedy(&policy, "my dir/it's.json", call).unwrap();
        assert_eq!(
            file.command,
            r"callgate policy allow 'my dir/it'\''s.json' sched_getaffinity -o 'my dir/it'\''s.json'"
        );
        assert!(remedy(&policy, "python", Syscall::new(Abi::X32, Abi::X32_BIT)).is_err());
    }
}
