//! Values as people write them: numbers, yes and no, lists of calls.

use std::path::PathBuf;
use std::time::Duration;

/// What `allowed_syscalls` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Calls, by number or by name, as they were written.
    Calls(Vec<String>),
    /// A policy: a file, or the name of a shipped one.
    Policy(String),
}

impl Allowed {
    /// A word that stands alone: a list with commas, or a policy.
    pub(super) fn of(text: &str) -> Self {
        let listed = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_, []".contains(&b));
        match listed {
            true => Self::Calls(split(text.trim_matches(['[', ']', ' ']))),
            false => Self::Policy(text.to_owned()),
        }
    }
}

/// The words between commas.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Paths between commas.
pub(super) fn paths(text: &str) -> Vec<PathBuf> {
    split(text).into_iter().map(PathBuf::from).collect()
}

/// A yes or no, as Go's `strconv.ParseBool` has them, which reads dify-sandbox's variables.
pub(super) fn yes_or_no(word: &str) -> Option<bool> {
    match word {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// A yes or no in YAML 1.1's words, which dify-sandbox takes in its file besides true and false.
pub(super) fn old_yes_or_no(word: &str) -> Option<bool> {
    match word {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// The most workers and requests: more threads than that no machine has any use for.
const MOST: u64 = 4096;

/// A number of workers or requests.
pub(super) fn count(number: u64) -> Result<usize, String> {
    match number {
        1..=MOST => Ok(number as usize),
        _ => Err(format!("expected a number from 1 to {MOST}")),
    }
}

/// A port; 0 lets the kernel choose a free one.
pub(super) fn port(number: u64) -> Result<u16, String> {
    u16::try_from(number).map_err(|_| "expected a port: a number up to 65535".to_owned())
}

/// Seconds of a time limit.
pub(super) fn seconds(number: u64) -> Result<Duration, String> {
    match number {
        1..=86_400 => Ok(Duration::from_secs(number)),
        _ => Err("expected whole seconds, from 1 to 86400".to_owned()),
    }
}
