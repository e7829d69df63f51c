//! Which format a text is in.

use std::fmt;
use std::str::FromStr;

use super::{ImportError, audit, lists, strace, summary};

/// The formats that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A log of `strace -f -o FILE`, also with `-t`, `-r`, `-T`, `-i`, `-n`, `-k`, `-y`.
    Strace,
    /// The table of `strace -c`.
    StraceSummary,
    /// Numbers with anything but letters between them, decimal or 0x; `#` begins a comment.
    Numbers,
    /// Audit records of type 1326 (SECCOMP), from dmesg, the journal, audit.log or ausearch.
    Audit,
    /// Names, one or several a line; `#` begins a comment.
    Names,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Strace,
        Self::StraceSummary,
        Self::Numbers,
        Self::Audit,
        Self::Names,
    ];

    /// The word of the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strace => "strace",
            Self::StraceSummary => "strace-c",
            Self::Numbers => "numbers",
            Self::Audit => "audit",
            Self::Names => "names",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {0:?}: expected strace, strace-c, numbers, audit or names")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == word)
            .ok_or_else(|| UnknownFormat(word.to_owned()))
    }
}

/// Finds the format by the first line that only one of them has. A kernel log has other lines before its
/// audit records, so these are looked for in all of it.
pub(super) fn detect(text: &str) -> Result<Format, ImportError> {
    if text.lines().any(audit::is_record) {
        return Ok(Format::Audit);
    }
    for line in text.lines() {
        if summary::begins(line) {
            return Ok(Format::StraceSummary);
        }
        if strace::is_call(line) {
            return Ok(Format::Strace);
        }
        let mut words = lists::words(line).peekable();
        if words.peek().is_none() || strace::is_chatter(line) {
            continue;
        }
        let (numbers, names): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        return match (numbers.is_empty(), names.is_empty()) {
            (false, true) => Ok(Format::Numbers),
            (true, false) if names.iter().all(|name| lists::is_name(name)) => Ok(Format::Names),
            _ => Err(ImportError::Format),
        };
    }
    Err(ImportError::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_known_by_its_text() {
        for (text, format) in [
            ("openat(AT_FDCWD, \"a\", O_RDONLY) = 3\n", Format::Strace),
            ("12 execve(\"a\", [], 0) = 0\n", Format::Strace),
            (
                "strace: Process 9 attached\n[pid 9] read(0, <unfinished ...>\n",
                Format::Strace,
            ),
            (
                "% time     seconds  usecs/call     calls    errors syscall\n",
                Format::StraceSummary,
            ),
            (
                "System call usage summary for 32 bit mode:\n",
                Format::StraceSummary,
            ),
            ("[0, 1, 0x3e7]", Format::Numbers),
            ("# a list\n\n12\n13\n", Format::Numbers),
            ("read\nclone3\n", Format::Names),
            (
                "[1.0] usb 1-1: new\n[2.0] audit: type=1326 audit(1.1:1): arch=c000003e syscall=1",
                Format::Audit,
            ),
        ] {
            assert_eq!(detect(text), Ok(format), "{text}");
        }
        assert_eq!(detect("Hello, world!\n"), Err(ImportError::Format));
        assert_eq!(detect("\n# only a comment\n"), Err(ImportError::Nothing));
    }

    #[test]
    fn a_format_is_named_by_its_word() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!(
            "straze"
                .parse::<Format>()
                .unwrap_err()
                .to_string()
                .contains("strace-c")
        );
    }
}
