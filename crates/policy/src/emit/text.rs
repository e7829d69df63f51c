//! What every text has in common: the lines at its top, and the reason of a call.

use callgate_abi::{Arch, Syscall};

use crate::Policy;

/// Comment lines that say what the text is, what it was made from and what it does not say.
pub(super) fn header(mark: &str, what: &str, policy: &Policy, name: &str, lost: &[String]) -> String {
    let mut lines = vec![format!("{what}, made by callgate from the policy {name}")];
    lines.extend(policy.comment.clone());
    lines.extend(lost.iter().map(|sentence| format!("lost: {sentence}")));
    comment(mark, lines.join("\n").as_str())
}

/// A text as comment lines; nothing in it can end a line of its own accord.
pub(super) fn comment(mark: &str, text: &str) -> String {
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
    lines
        .map(|line| {
            let line: String = line
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            // A backslash at the end would join the next line to the comment.
            format!("{mark} {}\n", line.trim_end().trim_end_matches('\\').trim_end())
        })
        .collect()
}

/// The provenance of what a policy says of a call: the comments of its rules, each once.
pub(super) fn because(policy: &Policy, arch: Arch, call: Syscall) -> Option<String> {
    let mut found: Vec<&str> = Vec::new();
    for (_, rule) in policy.rules_for(arch) {
        if rule.names.iter().any(|name| call.known_name() == Some(name)) {
            found.extend(rule.comment.as_deref().filter(|comment| !found.contains(comment)));
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// `word word …` in lines of at most 100 characters, each after a prefix.
pub(super) fn wrapped(prefix: &str, words: &[String], separator: &str, end: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in words {
        if !line.is_empty() && prefix.len() + line.len() + word.len() + 2 > 100 {
            text.push_str(&format!("{prefix}{line}{end}\n"));
            line.clear();
        }
        if !line.is_empty() {
            line.push_str(separator);
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        text.push_str(&format!("{prefix}{line}{end}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_stays_a_comment_whatever_it_says() {
        assert_eq!(
            comment("#", "a\nread: 1\u{2028}b\rc \\"),
            "# a\n# read: 1\n# b\n# c\n"
        );
    }

    #[test]
    fn lines_are_wrapped_between_words() {
        let words: Vec<String> = (0..60).map(|i| format!("w{i}")).collect();
        let text = wrapped("X=", &words, " ", "");
        assert!(text.lines().count() > 1 && text.lines().all(|l| l.len() <= 100 && l.starts_with("X=w")));
        assert_eq!(wrapped("X=", &[], " ", ""), "");
    }
}
