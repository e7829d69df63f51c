//! The tiers: which layers of isolation a run has.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A set of isolation layers, from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Namespaces made by a superuser, a mounted read-only root, a uid of its own.
    Full,
    /// `chroot` into a materialised root and a uid of its own: what a plain container allows.
    Container,
    /// The namespaces of a full tier, made by an ordinary user.
    Unprivileged,
    /// For an ordinary user who is refused namespaces: Landlock on the host's own tree, limits and filters.
    Landlock,
}

impl Tier {
    /// All tiers, the highest first.
    pub const ALL: [Self; 4] = [Self::Full, Self::Container, Self::Unprivileged, Self::Landlock];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Container => "container",
            Self::Unprivileged => "unprivileged",
            Self::Landlock => "landlock",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The tier that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierChoice {
    /// The highest that works here.
    #[default]
    Auto,
    /// This one, or nothing runs. [`Tier::Unprivileged`] is [`Tier::Landlock`] where user namespaces are refused,
    /// and a note says so.
    Exactly(Tier),
}

/// A word that names no tier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown tier {0:?}: expected auto, full, container, unprivileged or landlock")]
pub struct UnknownTier(String);

impl FromStr for TierChoice {
    type Err = UnknownTier;

    fn from_str(word: &str) -> Result<Self, UnknownTier> {
        if word == "auto" {
            return Ok(Self::Auto);
        }
        let tier = Tier::ALL.into_iter().find(|tier| tier.name() == word);
        tier.map(Self::Exactly)
            .ok_or_else(|| UnknownTier(word.to_owned()))
    }
}
