//! The words of a minijail policy, in logical lines: a backslash at the end joins the next.

/// A word and its line, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

const TWO: [&str; 6] = ["||", "&&", "==", "!=", "<=", ">="];
const ONE: &str = "{}[](),;:~=<>|&";

/// The statements; an error is the line and what is wrong there.
pub(super) fn statements(text: &str) -> Result<Vec<Vec<Token<'_>>>, (usize, String)> {
    let (mut found, mut open) = (Vec::new(), Vec::new());
    for (index, whole) in text.lines().enumerate() {
        let line = index + 1;
        let (bare, joined) = match whole.strip_suffix('\\') {
            Some(bare) => (bare, true),
            None => (whole, false),
        };
        let mut rest = bare.split('#').next().unwrap_or_default().trim();
        while let Some(first) = rest.chars().next() {
            let is_path = open
                .last()
                .is_some_and(|token: &Token<'_>| ["@include", "@frequency"].contains(&token.text));
            let length = if is_path {
                rest.find(char::is_whitespace).unwrap_or(rest.len())
            } else if TWO.iter().any(|two| rest.starts_with(two)) {
                2
            } else if ONE.contains(first) {
                1
            } else {
                let is_word = |c: char| c.is_ascii_alphanumeric() || "_-@".contains(c);
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            };
            if length == 0 {
                return Err((line, format!("unexpected {first:?}")));
            }
            let (text, after) = rest.split_at(length);
            open.push(Token { text, line });
            rest = after.trim_start();
        }
        if !joined && !open.is_empty() {
            found.push(std::mem::take(&mut open));
        }
    }
    if !open.is_empty() {
        found.push(open);
    }
    Ok(found)
}
