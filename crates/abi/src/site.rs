//! The place in the user's program that a call came from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A line of Python (or, where no Python frame could be read, a mapped object) that made a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Site {
    /// The source file as Python knows it, or the path of the mapped object.
    pub file: String,
    /// The line, from 1; 0 where there is none (a mapped object).
    pub line: u32,
    /// The function, method or `<module>`; empty where there is none.
    pub function: String,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.function.as_str()) {
            (0, _) => f.write_str(&self.file),
            (line, "") => write!(f, "{}:{line}", self.file),
            (line, function) => write!(f, "{}:{line} in {function}", self.file),
        }
    }
}
