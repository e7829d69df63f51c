//! What libc calls on the other architecture where a name does not exist there.
//!
//! [`equivalents`] tells the calls; the crate itself asks for counterparts, which know the arguments too
//! and the older names that amd64's libc may call where arm64's has one name only.

pub(crate) mod carry;
mod policy;
pub(crate) mod table;

use callgate_abi::{Arch, Syscall};

pub(crate) use carry::Way;
pub use policy::Translated;

use crate::names;
use table::{AMD64_ONLY, GUESS};

/// What stands for a call on another architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Equivalent {
    /// Whether the other architecture has a call of the same name.
    pub same: bool,
    /// The calls there: the one of the same name, or those that libc makes in its place, the likeliest
    /// first; empty where none is needed or possible.
    pub calls: Vec<Syscall>,
    /// What is not exact about it, or why there is none.
    pub note: Option<&'static str>,
}

/// What stands for `call` on `to`. For calls through compatibility entries and numbers without a name
/// there is nothing, and the note says so.
pub fn equivalents(call: Syscall, to: Arch) -> Equivalent {
    let none = |note| Equivalent {
        same: false,
        calls: Vec::new(),
        note: Some(note),
    };
    let Some(from) = call.arch() else {
        return none("a call through a compatibility entry: 64-bit arm64 and amd64 code has other numbers");
    };
    if from == to {
        return Equivalent {
            same: true,
            calls: vec![call],
            note: None,
        };
    }
    let Some(name) = call.known_name() else {
        return none("a number without a name: it may mean another call there");
    };
    if let Ok(there) = to.call(name) {
        return Equivalent {
            same: true,
            calls: vec![there],
            note: None,
        };
    }
    match AMD64_ONLY.iter().find(|(missing, ..)| *missing == name) {
        Some((_, targets, note)) => {
            let calls = targets
                .iter()
                .filter_map(|(name, _)| to.call(name).ok())
                .collect();
            Equivalent {
                same: false,
                calls,
                note: *note,
            }
        }
        None => none("callgate knows of no equivalent"),
    }
}

/// A call that stands for another one, argument by argument.
#[derive(Clone, Debug)]
pub(crate) struct Counterpart {
    /// The call there.
    pub call: Syscall,
    /// Where its arguments come from.
    pub way: Way,
    /// Whether it has the same name.
    pub same: bool,
    /// What is not certain about it.
    pub guess: Option<&'static str>,
}

/// What stands for `call` on the architecture `to`: as [`equivalents`], and from arm64 to amd64 also the
/// older names that libc may call there. Empty where there is nothing.
pub(crate) fn counterparts(call: Syscall, to: Arch) -> Vec<Counterpart> {
    let Some((from, name)) = call.arch().zip(call.known_name()) else {
        return Vec::new();
    };
    if let Some(there) = names::on(to, name) {
        let same = Counterpart {
            call: there,
            way: Way::there(if from == to {
                table::SAME
            } else {
                table::same_name(name)
            }),
            same: true,
            guess: None,
        };
        let older = table::older_names(name, to).filter(|_| from != to);
        let older = older.filter_map(|(older, slots)| {
            Some(Counterpart {
                call: to.call(older).ok()?,
                way: Way::back(slots),
                same: false,
                guess: Some(GUESS),
            })
        });
        return std::iter::once(same).chain(older).collect();
    }
    let row = AMD64_ONLY.iter().find(|(missing, ..)| *missing == name);
    let targets = row.into_iter().flat_map(|(_, targets, _)| targets.iter());
    targets
        .filter_map(|(there, slots)| {
            Some(Counterpart {
                call: to.call(there).ok()?,
                way: Way::there(slots),
                same: false,
                guess: None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_on_the_other_architecture_or_in_the_table() {
        for (from, to) in [(Arch::X86_64, Arch::Aarch64), (Arch::Aarch64, Arch::X86_64)] {
            for call in from.calls() {
                let found = equivalents(call, to);
                let explained = AMD64_ONLY.iter().any(|(name, ..)| *name == call.name());
                assert_eq!(found.same, to.call(&call.name()).is_ok(), "{call}");
                assert!(found.same != explained, "{call}: {found:?}");
                assert!(
                    !found.calls.is_empty() || found.note.is_some(),
                    "{call} disappears silently"
                );
            }
        }
    }

    #[test]
    fn open_becomes_openat_and_an_i386_call_becomes_nothing() {
        let open = Arch::X86_64.call("open").unwrap();
        assert_eq!(
            equivalents(open, Arch::Aarch64).calls,
            [Arch::Aarch64.call("openat").unwrap()]
        );
        let i386 = Syscall::new(callgate_abi::Abi::I386, 5);
        assert!(equivalents(i386, Arch::X86_64).calls.is_empty());
        assert!(
            equivalents(Syscall::new(callgate_abi::Abi::X86_64, 999), Arch::Aarch64)
                .calls
                .is_empty()
        );
    }
}
