//! The sentences by which a program says that something was refused with an errno, which by itself names no call.

use callgate_abi::{Action, Filter};

use super::limits::is_error;
use crate::bpf::RETURN;

/// What the C library says of the errnos that filters answer with (strerror(3)).
const WORDS: [&str; 3] = [
    "Operation not permitted",
    "Permission denied",
    "Function not implemented",
];

/// Where to look further, if the code says that it was refused and its policy answers calls with errnos.
pub(crate) fn refusal_said(filter: &Filter, stderr: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(stderr);
    let said = |words: &&&str| text.lines().any(|line| is_error(line) && line.contains(**words));
    let words = WORDS.iter().find(said)?;
    answers_with_errnos(filter).then(|| {
        format!(
            "the code says \"{words}\": if the policy answered a call with an errno, --explain names the call"
        )
    })
}

fn answers_with_errnos(filter: &Filter) -> bool {
    let answers = filter.0.iter().filter(|instruction| instruction.code == RETURN);
    answers
        .filter_map(|instruction| Action::from_ret(instruction.k))
        .any(|action| matches!(action, Action::Errno(_)))
}

#[cfg(test)]
mod tests {
    use callgate_abi::Instruction;

    use super::*;

    fn returning(action: Action) -> Filter {
        Filter(vec![Instruction {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: action.ret(),
        }])
    }

    #[test]
    fn it_is_told_where_to_look_when_the_policy_may_have_refused_it() {
        let soft = returning(Action::Errno(1));
        let note = refusal_said(&soft, b"PermissionError: [Errno 1] Operation not permitted\n").unwrap();
        assert!(
            note.contains("--explain") && note.contains("Operation not permitted"),
            "{note}"
        );
        assert_eq!(
            refusal_said(&soft, b"  raise X('Operation not permitted')\nX: no\n"),
            None
        );
        let hard = returning(Action::KillProcess);
        assert_eq!(
            refusal_said(&hard, b"PermissionError: [Errno 1] Operation not permitted\n"),
            None
        );
    }
}
