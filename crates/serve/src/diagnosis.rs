//! What a snippet needs beyond the policy, and a policy with it: `callgate.diagnosis/1`.
//!
//! The code is run as always, in the sandbox, but what the policy refuses is recorded and allowed: all layers hold but
//! the filter's refusals, and of these what would open the other layers holds too ([`callgate_exec::Filtering`]).

use std::collections::{BTreeMap, BTreeSet};

use callgate_abi::{Abi, ArgCondition, ArgKey, CompareOp, Risk, Site, Syscall, about, is_key, keys, risk};
use callgate_exec::{Refusal, Refuser};
use callgate_policy::{Policy, Verdict};
use serde::Serialize;
use serde_json::Value;

use crate::answer::{Refusal as Refused, RunData};
use crate::job::Done;
use crate::rules::Rules;

/// The value of `schema`.
const SCHEMA: &str = "callgate.diagnosis/1";

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Diagnosis {
    schema: &'static str,
    /// How the run ended, with what the policy refuses allowed: `data` of a run.
    run: RunData,
    /// The policy that the code was held against.
    policy: String,
    /// The calls that the policy refuses, which were allowed for this run.
    needs: Vec<Need>,
    /// The calls that stayed refused with an errno, as they would open other layers of the sandbox; one that ended
    /// the code is `run.violation`.
    refused: Vec<Need>,
    /// How many refusals are missing here, because there were too many kinds.
    omitted: u64,
    /// A policy under which the code makes the calls of `needs`; none if there are none.
    suggestion: Option<Suggestion>,
}

/// A call beyond the policy.
#[derive(Debug, Serialize)]
struct Need {
    syscall: String,
    nr: u32,
    arch: Abi,
    /// What the policy answers: an errno's name, or `kill`, `kill-thread`, `trap`.
    answer: String,
    /// How often it was made.
    count: u64,
    /// The arguments that choose what it does, as they were seen.
    args: Vec<ArgKey>,
    /// Where it was first made.
    site: Option<Site>,
    /// What it is for.
    group: Option<&'static str>,
    /// What it opens, where that is known.
    risk: Option<Risk>,
}

/// How the policy could be changed.
#[derive(Debug, Serialize)]
struct Suggestion {
    /// OCI seccomp JSON, for `--policy`.
    policy: Value,
    /// The line of the configuration that adds the calls; whatever their arguments.
    allowed_syscalls: String,
    /// What should be known of it.
    notes: Vec<String>,
}

impl Diagnosis {
    /// What a run that was made for it told.
    ///
    /// # Errors
    /// Why nothing ran.
    pub(crate) fn of(mut done: Done, rules: &Rules) -> Result<Self, Refused> {
        let all = done.outcome.refusals.take().unwrap_or_default();
        let omitted = done.outcome.refusals_omitted;
        let (allowed, kept): (Vec<Refusal>, Vec<Refusal>) =
            all.into_iter().partition(|refusal| refusal.allowed);
        let suggestion = match allowed.is_empty() {
            true => None,
            false => Some(suggestion(rules, &allowed)?),
        };
        Ok(Self {
            schema: SCHEMA,
            run: RunData::of(done.outcome, done.ended)?,
            policy: rules.source.clone(),
            needs: needs(&allowed),
            refused: needs(&kept),
            omitted,
            suggestion,
        })
    }
}

fn call_of(refusal: &Refusal) -> Syscall {
    Syscall::new(refusal.call.arch, refusal.call.nr)
}

/// One entry for each call.
fn needs(refusals: &[Refusal]) -> Vec<Need> {
    let mut all: BTreeMap<Syscall, Need> = BTreeMap::new();
    for refusal in refusals {
        let call = call_of(refusal);
        let name = call.known_name().unwrap_or_default();
        let need = all.entry(call).or_insert_with(|| Need {
            syscall: refusal.call.syscall.clone(),
            nr: refusal.call.nr,
            arch: refusal.call.arch,
            answer: refusal.answer.clone(),
            count: 0,
            args: Vec::new(),
            site: refusal.call.site.clone(),
            group: about(name).map(|about| about.group.name()),
            risk: risk(name),
        });
        need.count += refusal.count;
        for key in keys(call, &refusal.call.args) {
            if !need.args.contains(&key) {
                need.args.push(key);
            }
        }
    }
    all.into_values().collect()
}

fn suggestion(rules: &Rules, allowed: &[Refusal]) -> Result<Suggestion, Refused> {
    let mut policy = rules.policy().clone();
    let mut notes = vec!["it was seen in one run: what was not seen may be needed as well".to_owned()];
    let mut names = BTreeSet::new();
    let mut conditional = BTreeSet::new();
    for refusal in allowed.iter().filter(|refusal| refusal.by == Refuser::Policy) {
        let call = call_of(refusal);
        let site = refusal.call.site.as_ref();
        let comment = site.map_or_else(|| "diagnosed".to_owned(), |site| format!("diagnosed: {site}"));
        let conditions = conditions(rules.policy(), call, &refusal.call.args);
        let added = match conditions.is_empty() {
            true => policy.allow_here(call, &comment).map(|_| ()),
            false => {
                conditional.insert(refusal.call.syscall.clone());
                let only = call.arch();
                let amended = policy.allow_when(call, &[conditions], &comment, only);
                amended.map(|amended| notes.extend(amended.notes))
            }
        };
        match added {
            Ok(()) => drop(names.insert(refusal.call.syscall.clone())),
            Err(error) => notes.push(error.to_string()),
        }
    }
    if !conditional.is_empty() {
        let all: Vec<String> = conditional.into_iter().collect();
        notes.push(format!(
            "the policy allows these with the arguments that were seen, allowed_syscalls with any: {}",
            all.join(", ")
        ));
    }
    let written =
        |error: &dyn std::fmt::Display| Refused::told(-500, format!("the policy can't be written: {error}"));
    let text = policy.to_json().map_err(|error| written(&error))?;
    Ok(Suggestion {
        policy: serde_json::from_str(&text).map_err(|error| written(&error))?,
        allowed_syscalls: rules.listing(names),
        notes,
    })
}

/// The values of the arguments that the policy asks about and that choose what the call does.
fn conditions(policy: &Policy, call: Syscall, args: &[u64; 6]) -> Vec<ArgCondition> {
    let Verdict::Depends { rules, .. } = policy.verdict(call) else {
        return Vec::new();
    };
    let asked: BTreeSet<u8> = rules
        .iter()
        .flat_map(|(_, conditions)| conditions)
        .map(|condition| condition.index())
        .filter(|index| is_key(call, *index))
        .collect();
    // As the kernel reads them: of an int the low half.
    let half = 0xffff_ffff;
    let equal = |index: u8| {
        let value = args.get(usize::from(index))? & half;
        ArgCondition::new(index, CompareOp::MaskedEq(half), value).ok()
    };
    asked.into_iter().filter_map(equal).collect()
}
