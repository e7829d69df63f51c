//! The tier of a run: the one that is asked for, or the highest that works here.

use callgate_cache::Cache;

use crate::outcome::SetUpFailure;
use crate::tier::{Tier, TierChoice};
use crate::tried::tried;

/// A tier that works here.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) tier: Tier,
    /// Said of a run that lies on nothing but Landlock and filters: why it has no more.
    pub(crate) note: Option<String>,
}

/// The tiers that will do, the best first. What an ordinary user can have has two forms, with a user namespace and
/// without, and which one it is depends on the machine; all others are what they are, or nothing runs.
fn candidates(choice: TierChoice) -> Vec<Tier> {
    match choice {
        TierChoice::Auto => Tier::ALL.to_vec(),
        TierChoice::Exactly(Tier::Unprivileged) => vec![Tier::Unprivileged, Tier::Landlock],
        TierChoice::Exactly(tier) => vec![tier],
    }
}

/// The tier that is asked for, if it works here; else why not.
pub(crate) fn choose(choice: TierChoice, cache: &Cache) -> Result<Chosen, SetUpFailure> {
    let mut reasons: Vec<String> = Vec::new();
    for tier in candidates(choice) {
        match tried(tier, cache) {
            Ok(()) => {
                let why = reasons.join("; ");
                let note = match (tier, choice) {
                    (Tier::Landlock, TierChoice::Exactly(Tier::Unprivileged)) => Some(format!(
                        "tier unprivileged takes its form without namespaces here, which is tier landlock ({why})"
                    )),
                    (Tier::Landlock, TierChoice::Auto) => {
                        Some(format!("higher tiers can't be had here ({why})"))
                    }
                    _ => None,
                };
                return Ok(Chosen { tier, note });
            }
            Err(reason) => reasons.push(format!("{tier}: {reason}")),
        }
    }
    Err(SetUpFailure {
        step: "tier".to_owned(),
        error: reasons.join("; "),
        advice: Some("`callgate doctor` lists what is missing and what it costs".to_owned()),
    })
}
