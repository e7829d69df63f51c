//! Which format a text is in.

use std::fmt;
use std::str::FromStr;

/// A format that policies are imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI runtime-spec seccomp.
    Oci,
    /// Docker's profile.
    Moby,
    /// `SeccompProfile` of the security-profiles-operator.
    K8s,
    /// dify-sandbox's config.yaml, or its environment.
    Dify,
    /// minijail's `.policy`.
    Minijail,
    /// seccompiler's JSON.
    Seccompiler,
    /// Names of what is allowed.
    Names,
    /// Numbers of what is allowed.
    Numbers,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Oci,
        Self::Moby,
        Self::K8s,
        Self::Dify,
        Self::Minijail,
        Self::Seccompiler,
        Self::Names,
        Self::Numbers,
    ];

    /// The word of the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::Moby => "moby",
            Self::K8s => "k8s",
            Self::Dify => "dify",
            Self::Minijail => "minijail",
            Self::Seccompiler => "seccompiler",
            Self::Names => "names",
            Self::Numbers => "numbers",
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
#[error("unknown format {0:?}: expected oci, moby, k8s, dify, minijail, seccompiler, names or numbers")]
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

/// The format that the text looks like; `None` if that is unclear.
pub(super) fn detect(text: &str) -> Option<Format> {
    let lines = || {
        let bare = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim());
        bare.filter(|line| !line.is_empty())
    };
    let first = lines().next()?;
    if first.starts_with('{') && !first.contains('}')
        || serde_json::from_str::<serde_json::Value>(text).is_ok_and(|v| v.is_object())
    {
        let has = |key: &str| text.contains(&format!("\"{key}\""));
        return match () {
            () if has("mismatch_action") => Some(Format::Seccompiler),
            () if has("archMap") || has("includes") || has("excludes") => Some(Format::Moby),
            () if has("defaultAction") => Some(Format::Oci),
            () if first.starts_with("{ ") || first.len() > 1 => minijail(lines()),
            () => None,
        };
    }
    if lines().any(|line| line.starts_with("kind:") && line.contains("SeccompProfile")) {
        return Some(Format::K8s);
    }
    if lines().any(|line| line.starts_with("allowed_syscalls:") || line.contains("ALLOWED_SYSCALLS")) {
        return Some(Format::Dify);
    }
    let words = || super::lists::words(text).map(|(_, word)| word);
    if words().all(super::lists::is_number) {
        return Some(Format::Numbers);
    }
    if words().all(super::lists::is_name) {
        return Some(Format::Names);
    }
    minijail(lines())
}

fn minijail<'a>(mut lines: impl Iterator<Item = &'a str>) -> Option<Format> {
    let statement = |line: &str| {
        line.starts_with('@')
            || line
                .split_once(':')
                .is_some_and(|(name, rest)| !name.trim().is_empty() && !rest.is_empty())
    };
    lines.next().is_some_and(statement).then_some(Format::Minijail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::ImportError;

    #[test]
    fn each_format_has_a_word_and_a_wrong_word_is_told_all_of_them() {
        let fault = "yaml".parse::<Format>().unwrap_err().to_string();
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert!(fault.contains(format.name()), "{fault}");
            let unclear = ImportError::Unclear.to_string();
            assert!(unclear.contains(format.name()), "{unclear}");
        }
    }

    #[test]
    fn each_format_is_told_by_its_looks() {
        for (text, format) in [
            ("{\n \"defaultAction\": \"SCMP_ACT_KILL\"}", Some(Format::Oci)),
            ("{\"defaultAction\": \"SCMP_ACT_KILL\"}", Some(Format::Oci)),
            ("{\"defaultAction\": \"x\", \"archMap\": []}", Some(Format::Moby)),
            (
                "{\"main\": {\"mismatch_action\": \"allow\"}}",
                Some(Format::Seccompiler),
            ),
            ("# x\napiVersion: a\nkind: SeccompProfile\n", Some(Format::K8s)),
            ("app:\n  port: 1\nallowed_syscalls: [1]\n", Some(Format::Dify)),
            ("ALLOWED_SYSCALLS=1,2", Some(Format::Dify)),
            ("# c\nread: 1\n", Some(Format::Minijail)),
            ("{ read, write }: 1\n", Some(Format::Minijail)),
            ("@default kill\nread: 1\n", Some(Format::Minijail)),
            ("0, 1, 0x20\n3", Some(Format::Numbers)),
            ("read\nwrite # c\n", Some(Format::Names)),
            ("Hello, world!", None),
            ("", None),
        ] {
            assert_eq!(detect(text), format, "{text}");
        }
    }
}
