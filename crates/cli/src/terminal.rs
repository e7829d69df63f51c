//! Colours, widths, and text that comes from elsewhere.

use std::borrow::Cow;
use std::io::Write;

use anstyle::{AnsiColor, Style};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const BOLD_RED: Style = AnsiColor::Red.on_default().bold();

/// Prints a line to standard error. Where nobody takes it (a full disk, a reader that has gone away) it is lost, and
/// nothing else: what is done and the exit code don't hang on it.
macro_rules! say {
    ($($words:tt)*) => {
        $crate::terminal::line(format_args!($($words)*))
    };
}

/// What `say!` does.
pub(crate) fn line(words: std::fmt::Arguments<'_>) {
    let _ = writeln!(anstream::stderr().lock(), "{words}");
}

/// Text that the code under test had a hand in, made harmless for a terminal: control characters
/// (escape sequences among them) and characters that reorder text are shown as their code.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let harmless = |c: char| (!c.is_control() || c == '\n') && !reorders(c);
    if text.chars().all(harmless) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().map(|c| {
        if harmless(c) {
            c.to_string()
        } else {
            c.escape_unicode().to_string()
        }
    });
    Cow::Owned(escaped.collect())
}

/// The same for what is shown within a line: a new line in it can't pass for one of ours.
pub(crate) fn escape_line(text: &str) -> String {
    escape(text).replace('\n', "\\n")
}

/// Bidirectional controls (Unicode UAX #9) and line separators.
fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

/// Whether colours belong on standard output: a terminal, and NO_COLOR is not set.
pub(crate) fn colours_stdout() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_reordering_are_shown_and_not_obeyed() {
        assert_eq!(escape("plain ünïcode\n"), "plain ünïcode\n");
        assert_eq!(escape("\x1b[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(escape("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(escape("a\rb"), "a\\u{d}b");
        assert_eq!(escape_line("a\nb\x1b"), "a\\nb\\u{1b}");
    }
}
