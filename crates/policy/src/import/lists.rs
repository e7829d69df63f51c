//! Bare lists of what is allowed: names, numbers. All else is killed.

use callgate_abi::{Action, Arch, Syscall};

use super::ImportError;
use crate::{Policy, Rule, names};

/// The words of a list, each with its line from 1; `#` begins a comment.
pub(super) fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        let bare = line.split('#').next().unwrap_or_default();
        let words = bare.split(|c: char| c.is_whitespace() || ",;[]".contains(c));
        words
            .filter(|word| !word.is_empty())
            .map(move |word| (index + 1, word))
    })
}

/// Whether a word is written as a number.
pub(super) fn is_number(word: &str) -> bool {
    number(word).is_some()
}

/// Whether a word is written as a call's name.
pub(super) fn is_name(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Decimal or with 0x; no sign.
pub(super) fn number(word: &str) -> Option<u32> {
    let digits = |text: &str, radix| {
        let plain = text.chars().all(|c| c.is_digit(radix));
        plain.then(|| u32::from_str_radix(text, radix).ok()).flatten()
    };
    match word.strip_prefix("0x") {
        Some(hex) => digits(hex, 16),
        None => digits(word, 10),
    }
}

/// Names, for every architecture.
pub(super) fn names(text: &str) -> Result<Policy, ImportError> {
    let mut found: Vec<String> = Vec::new();
    for (line, word) in words(text) {
        names::check(word).map_err(|unknown| ImportError::Line {
            file: None,
            line,
            what: unknown.to_string(),
        })?;
        if !found.iter().any(|name| name == word) {
            found.push(word.to_owned());
        }
    }
    Ok(allowing(found, "in the imported list of names"))
}

/// Numbers of one architecture.
pub(super) fn numbers(text: &str, arch: Arch, notes: &mut Vec<String>) -> Result<Policy, ImportError> {
    let mut found = Vec::new();
    for (line, word) in words(text) {
        let nr = number(word).ok_or_else(|| ImportError::Line {
            file: None,
            line,
            what: format!("{word:?} is no system call number: take it out, or put # before a comment"),
        })?;
        found.push(nr);
    }
    Ok(allowing(
        named(&found, arch, notes),
        "in the imported list of numbers",
    ))
}

/// The names of numbers; those without one are left out, which is told.
pub(super) fn named(numbers: &[u32], arch: Arch, notes: &mut Vec<String>) -> Vec<String> {
    let (mut names, mut nameless): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for nr in numbers {
        let (list, word) = match Syscall::new(arch.abi(), *nr).known_name() {
            Some(name) => (&mut names, name.to_owned()),
            None => (&mut nameless, nr.to_string()),
        };
        if !list.contains(&word) {
            list.push(word);
        }
    }
    if !nameless.is_empty() {
        notes.push(format!(
            "{arch} has no call with these numbers, which are left out: {}",
            nameless.join(", ")
        ));
    }
    names
}

/// A policy that allows these and kills for all else.
pub(super) fn allowing(names: Vec<String>, reason: &str) -> Policy {
    let mut policy = Policy::new(Action::KillProcess);
    if !names.is_empty() {
        policy.rules.push(Rule::new(Action::Allow, names).because(reason));
    }
    policy
}
