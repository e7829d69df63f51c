//! A system call: a number under an ABI.

use std::borrow::Cow;
use std::fmt;

use crate::{Abi, Arch, table};

/// A system call, known by number under an ABI. Numbers without a name are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall {
    abi: Abi,
    nr: u32,
}

impl Syscall {
    /// The call with this number; it need not be known. Under x32 the number carries bit 30.
    pub const fn new(abi: Abi, nr: u32) -> Self {
        Self { abi, nr }
    }

    /// The call with this name, as the kernel's own table has it; `syscall_999` names number 999.
    ///
    /// # Errors
    /// [`UnknownName`] (with the nearest known name) if the ABI has no such call.
    pub fn named(abi: Abi, name: &str) -> Result<Self, UnknownName> {
        if let Some(nr) = table::number(abi, name) {
            return Ok(Self { abi, nr });
        }
        if let Some(nr) = name
            .strip_prefix("syscall_")
            .and_then(|digits| digits.parse().ok())
        {
            return Ok(Self { abi, nr });
        }
        Err(UnknownName::new(abi, name))
    }

    /// The ABI that the number belongs to.
    pub const fn abi(self) -> Abi {
        self.abi
    }

    /// The number.
    pub const fn nr(self) -> u32 {
        self.nr
    }

    /// The kernel's name, or `syscall_N` where it has none (under x32, N is without bit 30).
    pub fn name(self) -> Cow<'static, str> {
        match self.known_name() {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("syscall_{}", self.nr)),
        }
    }

    /// The kernel's name, if it has one.
    pub fn known_name(self) -> Option<&'static str> {
        table::name(self.abi, self.nr)
    }

    /// The machine whose native call this is; `None` for compatibility entries.
    pub const fn arch(self) -> Option<Arch> {
        self.abi.arch()
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

/// A name that an ABI has no call for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct UnknownName {
    /// The ABI that was asked.
    pub abi: Abi,
    /// The name that it does not know.
    pub name: String,
    /// The known name that is nearest in spelling, if one is near.
    pub nearest: Option<&'static str>,
}

impl UnknownName {
    fn new(abi: Abi, name: &str) -> Self {
        let nearest = table::numbers(abi)
            .into_iter()
            .filter_map(|nr| table::name(abi, nr))
            .map(|known| (distance(name, known), known))
            .min()
            .filter(|(d, known)| *d <= 2.max(known.len() / 3))
            .map(|(_, known)| known);
        Self {
            abi,
            name: name.to_owned(),
            nearest,
        }
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has no system call {:?}", self.abi, self.name)?;
        match self.nearest {
            Some(near) => write!(f, "; did you mean {near:?}?"),
            None => Ok(()),
        }
    }
}

/// Levenshtein distance: how many single-character edits lie between two names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_survive_a_round_trip_through_their_name() {
        let call = Syscall::new(Abi::X86_64, 999);
        assert_eq!(call.name(), "syscall_999");
        assert_eq!(Syscall::named(Abi::X86_64, "syscall_999"), Ok(call));
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest_one() {
        let error = Syscall::named(Abi::X86_64, "opennat").unwrap_err();
        assert_eq!(error.nearest, Some("openat"));
        assert_eq!(
            error.to_string(),
            "x86_64 has no system call \"opennat\"; did you mean \"openat\"?"
        );
        assert_eq!(
            Syscall::named(Abi::Aarch64, "qqqqqqqq").unwrap_err().nearest,
            None
        );
    }
}
