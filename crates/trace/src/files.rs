//! The paths that a probe used.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One path, with every way in which it was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileUse {
    /// Absolute, with the working directory or directory descriptor resolved; bytes that are not
    /// UTF-8 are replaced by U+FFFD.
    pub path: String,
    /// How it was used.
    pub how: BTreeSet<How>,
    /// Whether any use of it succeeded.
    pub found: bool,
}

/// A way to use a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Executed (execve, execveat).
    Exec,
    /// Opened for reading.
    Read,
    /// Opened for writing, created, truncated, renamed, removed or otherwise changed.
    Write,
    /// Asked about without opening it (stat, access, statfs …).
    Stat,
    /// Its link target was read (readlink).
    Link,
    /// Made the working directory or root (chdir, chroot).
    Enter,
}

impl How {
    /// The word that stands for it in a trace.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Read => "read",
            Self::Write => "write",
            Self::Stat => "stat",
            Self::Link => "link",
            Self::Enter => "enter",
        }
    }
}
