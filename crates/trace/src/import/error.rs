//! Why a recording can't be imported: the line, what is wrong with it, and the mend.

use callgate_abi::{Arch, UnknownName};

/// Why a recording can't be imported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// One of its lines can't be read.
    #[error("line {line}: {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Its format can't be told.
    #[error(
        "the format can't be told from the text: name it with --format (strace, strace-c, numbers, audit or names)"
    )]
    Format,
    /// There is no call in it.
    #[error(
        "no system call in it: expected a log of `strace -f -o FILE`, a table of `strace -c`, audit records of \
         type 1326, numbers, or names"
    )]
    Nothing,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not what this format has.
    #[error("{text:?} is not {expected}; {mend}")]
    Unreadable {
        /// The line or the word, shortened.
        text: String,
        /// What was expected.
        expected: &'static str,
        /// What can be done.
        mend: &'static str,
    },
    /// A name that the ABI has no call for.
    #[error("{0}; correct the name, or give the architecture with --arch")]
    Name(UnknownName),
    /// A recording of another architecture than the rest.
    #[error(
        "this call was made on {found}, the import is for {expected}: import each architecture by itself"
    )]
    Arch {
        /// What the line says.
        found: Arch,
        /// What `--arch` or an earlier line says.
        expected: Arch,
    },
}

/// How much of a line an error shows.
const SHOWN: usize = 60;

impl Problem {
    pub(crate) fn unreadable(text: &str, expected: &'static str, mend: &'static str) -> Self {
        let text = text.trim();
        let mut shown: String = text.chars().take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self::Unreadable {
            text: shown,
            expected,
            mend,
        }
    }

    /// At a line, counted from 0.
    pub(crate) fn at(self, index: usize) -> ImportError {
        ImportError::Line {
            line: index + 1,
            problem: self,
        }
    }
}

impl From<UnknownName> for Problem {
    fn from(unknown: UnknownName) -> Self {
        Self::Name(unknown)
    }
}
