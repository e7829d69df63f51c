//! A kernel's version, as moby's `minKernel` and people write it.

use serde::Deserialize;

/// A kernel's version: its first two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Kernel {
    /// `6` of 6.1.
    pub version: u32,
    /// `1` of 6.1.
    pub patchlevel: u32,
}

impl TryFrom<String> for Kernel {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        word.parse()
    }
}

impl std::str::FromStr for Kernel {
    type Err = String;

    /// Reads `6.1`, and `uname -r`'s `6.1.0-13-amd64`.
    fn from_str(word: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse::<u32>().ok()
        };
        let mut parts = word.splitn(3, '.').map(number);
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(version), Some(patchlevel)) => Ok(Self { version, patchlevel }),
            _ => Err(format!(
                "{word:?} is no kernel version: expected two numbers, as 6.1"
            )),
        }
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.version, self.patchlevel)
    }
}
