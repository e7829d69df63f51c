//! What traces together say of each call.

use std::collections::BTreeMap;

use callgate_abi::{KeySet, Site, Syscall};
use callgate_trace::{Phase, Trace};

/// What traces together say of one call.
pub(super) struct Seen {
    in_body: bool,
    site: Option<Site>,
    /// The values of its arguments.
    pub(super) args: KeySet,
    /// Whether a trace does not tell its arguments.
    pub(super) untold: bool,
}

impl Seen {
    /// Where it was seen, for a rule's comment.
    pub(super) fn provenance(&self) -> String {
        match (&self.site, self.in_body) {
            (Some(site), false) => format!("observed (startup, {})", short(site)),
            (None, false) => "observed (startup)".into(),
            (Some(site), true) => format!("observed: {site}"),
            (None, true) => "observed".into(),
        }
    }
}

/// Every observed call once, ordered by entry and number.
pub(super) fn observed(traces: &[Trace]) -> BTreeMap<Syscall, Seen> {
    let mut calls: BTreeMap<Syscall, Seen> = BTreeMap::new();
    for call in traces.iter().flat_map(|trace| &trace.syscalls) {
        let in_body = call.phases.contains(&Phase::Body);
        let seen = calls.entry(call.syscall()).or_insert(Seen {
            in_body: false,
            site: None,
            args: KeySet::default(),
            untold: false,
        });
        seen.untold |= call.args.is_empty();
        seen.args.unite(call.args.clone());
        // The site that is shown is one of the body's, where there is one.
        if seen.site.is_none() || in_body && !seen.in_body {
            seen.site = call.site.clone().or(seen.site.take());
        }
        seen.in_body |= in_body;
    }
    calls
}

/// A site of the start-up: mostly an object, whose directories say nothing about the program.
fn short(site: &Site) -> String {
    match site.line {
        0 => site.file.rsplit('/').next().unwrap_or_default().to_owned(),
        _ => site.to_string(),
    }
}
