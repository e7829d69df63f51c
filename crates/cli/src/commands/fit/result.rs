//! What `fit --json` prints: whether the probe fits, and how that came.

use std::collections::BTreeMap;
use std::path::Path;

use callgate_abi::{Arch, Site};
use callgate_exec::Outcome;
use callgate_fit::{Attempt, Fitted};
use callgate_policy::{ArchDiff, Observed, Policy};
use serde::Serialize;

use super::Files;
use crate::args::FitArgs;
use crate::commands::diff;
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    probe: &'a Path,
    fits: bool,
    trace: &'a Path,
    policy: &'a Path,
    against: &'a str,
    diff: BTreeMap<Arch, ArchDiff>,
    runs: Vec<Run<'a>>,
    notes: &'a [String],
}

/// A run under the policy, and what was added to the policy after it.
#[derive(Serialize)]
struct Run<'a> {
    outcome: &'a Outcome,
    added: Option<Added<'a>>,
}

#[derive(Serialize)]
struct Added<'a> {
    name: String,
    nr: u32,
    site: Option<&'a Site>,
}

pub(super) fn print(args: &FitArgs, fitted: &Fitted, against: &Policy, files: &Files) -> Result<(), Failure> {
    output::json(&Report {
        schema: "callgate.fit/1",
        probe: &args.probe,
        fits: fitted.fits,
        trace: &files.trace,
        policy: &files.policy,
        against: &args.against,
        diff: diff::compare(&Observed::from(&fitted.trace), against, &Arch::ALL),
        runs: fitted.attempts.iter().map(run).collect(),
        notes: &fitted.notes,
    })
}

fn run(attempt: &Attempt) -> Run<'_> {
    Run {
        outcome: &attempt.outcome,
        added: attempt.amendment.as_ref().map(|amendment| Added {
            name: amendment.call.name().into_owned(),
            nr: amendment.call.nr(),
            site: amendment.site.as_ref(),
        }),
    }
}
