//! The words of `callgate root prune`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exec::size;

#[derive(Debug, Args)]
#[command(after_help = "\
A content is held by a root as long as the root's directory has it: first remove the roots that are
not wanted any more (rm -r). Builds that use the store are waited for.
Exit codes: 0 done; 2 bad input; 125 it can't be removed.")]
pub(crate) struct RootPruneArgs {
    /// The directory that was given to `root build --store`
    #[arg(value_name = "STORE")]
    pub(crate) store: PathBuf,
    /// Remove only what no root has held for so long: a number with s, m, h or d, such as 30d
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<Duration>,
    /// Remove only so much that what no root holds takes no more than this, such as 2G; what has been unused
    /// longest goes first
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) keep: Option<u64>,
    /// Remove nothing, and say what would be
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON: {schema, dry_run, used, removed, kept}, each with files and bytes
    #[arg(long)]
    pub(crate) json: bool,
}

/// A length of time, with its unit.
fn age(word: &str) -> Result<Duration, String> {
    let wrong = || "expected an age: a number with s, m, h or d, such as 12h or 30d".to_owned();
    let (number, seconds) = match word.char_indices().next_back() {
        Some((at, 's')) => (&word[..at], 1),
        Some((at, 'm')) => (&word[..at], 60),
        Some((at, 'h')) => (&word[..at], 60 * 60),
        Some((at, 'd')) => (&word[..at], 24 * 60 * 60),
        _ => return Err(wrong()),
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let whole = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds));
    whole.map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_units() {
        for (word, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("5m", 300),
            ("12h", 43_200),
            ("30d", 2_592_000),
        ] {
            assert_eq!(age(word), Ok(Duration::from_secs(seconds)), "{word}");
        }
        for bad in [
            "",
            "d",
            "30",
            "-1d",
            "+1d",
            "1.5h",
            "1w",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
