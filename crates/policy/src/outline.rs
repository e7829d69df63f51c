//! Where the parts of a policy file stand: its lines, for errors and findings.

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Default, Deserialize)]
struct Outline<'a> {
    #[serde(borrow, default, rename = "defaultErrnoRet")]
    default_errno: Option<&'a RawValue>,
    #[serde(borrow, default)]
    syscalls: Option<Vec<&'a RawValue>>,
}

fn outline(text: &str) -> Outline<'_> {
    serde_json::from_str(text).unwrap_or_default()
}

/// The line (from 1) on which each rule of a policy file begins, in the file's order; none if it is no
/// policy.
pub fn rule_lines(text: &str) -> Vec<usize> {
    let (mut line, mut at) = (1, 0);
    let mut lines = Vec::new();
    for rule in outline(text).syscalls.unwrap_or_default() {
        let begin = place(text, rule);
        line += breaks(text, at, begin);
        at = begin;
        lines.push(line);
    }
    lines
}

/// The line of `defaultErrnoRet`.
pub(crate) fn default_errno_line(text: &str) -> usize {
    let value = outline(text).default_errno;
    1 + value.map_or(0, |value| breaks(text, 0, place(text, value)))
}

/// How far in the text a part of it begins: as far as their addresses differ.
fn place(text: &str, part: &RawValue) -> usize {
    (part.get().as_ptr() as usize).wrapping_sub(text.as_ptr() as usize)
}

fn breaks(text: &str, from: usize, to: usize) -> usize {
    let between = text.as_bytes().get(from..to).unwrap_or_default();
    between.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_the_line_on_which_it_begins() {
        let text = "{\"defaultAction\": \"SCMP_ACT_KILL\",\n\"syscalls\": [ {\"names\":\n [\"read\"]},\n\n  {}, {}]}";
        assert_eq!(rule_lines(text), [2, 5, 5]);
        assert_eq!(rule_lines("{}"), [] as [usize; 0]);
        assert_eq!(rule_lines("no json"), [] as [usize; 0]);
        assert_eq!(default_errno_line("{\n\n\"defaultErrnoRet\": 7}"), 3);
    }
}
