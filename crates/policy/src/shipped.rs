//! The policies that are compiled into the program, by name.

use crate::{Policy, PolicyError};

/// Name and text, in the order in which they are listed.
const SHIPPED: [(&str, &str); 9] = [
    ("dify-nodejs", include_str!("../../../policies/dify-nodejs.json")),
    (
        "dify-nodejs-network",
        include_str!("../../../policies/dify-nodejs-network.json"),
    ),
    ("dify-python", include_str!("../../../policies/dify-python.json")),
    (
        "dify-python-network",
        include_str!("../../../policies/dify-python-network.json"),
    ),
    (
        "docker-default",
        include_str!("../../../policies/docker-default.json"),
    ),
    ("node", include_str!("../../../policies/node.json")),
    (
        "node-network",
        include_str!("../../../policies/node-network.json"),
    ),
    ("python", include_str!("../../../policies/python.json")),
    (
        "python-network",
        include_str!("../../../policies/python-network.json"),
    ),
];

/// The names, in alphabetical order.
pub fn names() -> Vec<&'static str> {
    SHIPPED.iter().map(|(name, _)| *name).collect()
}

/// The file of that name, as it is in `policies/`.
pub fn get(name: &str) -> Option<&'static str> {
    SHIPPED
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// The policy of that name.
///
/// # Errors
/// [`PolicyError`] in theory only: a test reads every shipped policy.
pub fn load(name: &str) -> Option<Result<Policy, PolicyError>> {
    get(name).map(Policy::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_policy_is_read_says_what_it_is_for_and_is_written_as_it_stands() {
        for name in names() {
            let policy = load(name).unwrap().unwrap();
            assert!(
                policy.comment.as_ref().is_some_and(|comment| comment.len() > 40),
                "{name}"
            );
            assert!(policy.rules.iter().all(|rule| rule.comment.is_some()), "{name}");
            assert_eq!(policy.notes(), [] as [String; 0], "{name}");
            assert_eq!(policy.to_json().unwrap(), get(name).unwrap(), "{name}");
        }
        assert!(names().is_sorted());
        assert!(get("no-such-policy").is_none() && load("no-such-policy").is_none());
    }
}
