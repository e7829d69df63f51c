//! `callgate fit --minimise`: which calls the probe needs, and which can be refused.

use std::time::Duration;

use callgate_abi::{Arch, Site, about};
use callgate_fit::minimise::MinimiseError;
use callgate_fit::minimise::{Cancel, Comparison, Judged, Judgement, Refusal, Runs, Stage, Standing};
use callgate_fit::{Fit, Fitted, Minimise, Minimised};
use callgate_trace::Phase;
use comfy_table::{Cell, Color, Table};
use serde::Serialize;

use super::Files;
use crate::args::FitArgs;
use crate::failure::{BAD_INPUT, CANNOT, Failure};
use crate::progress::Bar;
use crate::terminal::{BOLD, DIM, GREEN, YELLOW, escape};
use crate::{interrupt, output, table};

/// The schema of what `--json` prints.
const SCHEMA: &str = "callgate.minimised/1";

pub(super) fn run(args: &FitArgs, fit: &Fit, fitted: &Fitted, files: &Files) -> Result<u8, Failure> {
    let jobs = args
        .jobs
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let minimise = Minimise {
        fit,
        fitted,
        jobs,
        confirm: args.confirm,
    };
    let cancel = Cancel::default();
    let handle = cancel.clone();
    interrupt::watch_with(move || handle.cancel());
    say!("{DIM}finding out which calls can be refused …{DIM:#}");
    let bar = Bar::new();
    let found = minimise.run(&cancel, &|standing| {
        bar.at(standing.decided, standing.candidates, stage(standing))
    });
    bar.end();
    interrupt::unwatch();
    let found = found.map_err(|error| {
        let (code, advice) = match &error {
            MinimiseError::Unsteady { .. } => {
                (1, Some("make the probe do the same each time, and fit it again"))
            }
            MinimiseError::SetUp(_) => (CANNOT, None),
            MinimiseError::Compile(_) => (BAD_INPUT, None),
        };
        Failure::new(code, error).with_advice(advice.map(str::to_owned))
    })?;
    if let Some(policy) = &found.policy {
        let text = policy.to_json().map_err(|error| Failure::new(1, error))?;
        output::file(&files.policy, text.as_bytes())?;
    }
    let interrupted = cancel.is_cancelled();
    match args.json {
        true => output::json(&report(&found, args.confirm, interrupted, files))?,
        false => output::stdout(format!("{}\n", verdicts(&found)).as_bytes())?,
    }
    sum_up(&found, args.confirm, files);
    if found.policy.is_some() {
        return Ok(0);
    }
    let so_far = format!(
        "{} holds the policy as it was fitted, in which nothing is refused",
        files.policy.display()
    );
    let why = match interrupted {
        true => "interrupted: what was found so far is above; nothing is called minimal",
        false => "no minimal policy: see above",
    };
    Err(Failure::new(1, why).with_advice(Some(so_far)))
}

/// What is being done, beside the bar.
fn stage(standing: Standing) -> String {
    let what = match standing.stage {
        Stage::Baseline => "nothing refused yet",
        Stage::Search => "searching",
        Stage::Confirm => "confirming",
    };
    format!("run {}: {what}", standing.runs + 1)
}

/// The calls, the required ones first.
fn verdicts(found: &Minimised) -> Table {
    let mut table = table::table(&["call", "nr", "verdict", "verified in", "group", "first made at"]);
    let mut calls: Vec<&Judged> = found.calls.iter().collect();
    calls.sort_by_key(|judged| (rank(judged), judged.call.name().into_owned()));
    for judged in calls {
        let (verdict, colour, verified) = match judged.judgement {
            Judgement::Required { runs } => {
                ("required".to_owned(), Color::Green, format!("{runs} that failed"))
            }
            Judgement::Kept { why } => ("kept".to_owned(), Color::Green, why.to_owned()),
            Judgement::Refusable { refusal, runs } => (
                format!("can be refused {refusal}"),
                Color::Yellow,
                format!("{runs} runs"),
            ),
            Judgement::Open => ("not decided".to_owned(), Color::Red, String::new()),
        };
        let name = judged.call.name();
        let group = about(&name).map_or("other", |about| about.group.name());
        let site = match judged.in_body {
            true => table::site(judged.site.as_ref()),
            false => Cell::new("start-up only"),
        };
        table.add_row([
            table::text(&name),
            table::number(judged.call.nr()),
            Cell::new(verdict).fg(colour),
            table::text(verified),
            table::text(group),
            site,
        ]);
    }
    table
}

fn rank(judged: &Judged) -> u8 {
    match judged.judgement {
        Judgement::Required { .. } => 0,
        Judgement::Kept { .. } => 1,
        Judgement::Refusable { .. } => 2 + u8::from(!judged.in_body),
        Judgement::Open => 4,
    }
}

/// The lines below the table, on standard error.
fn sum_up(found: &Minimised, confirm: usize, files: &Files) {
    if let Some(comparison) = &found.comparison {
        let how = match comparison.notes.is_empty() {
            true => "runs were compared by exit code, standard output and standard error, byte by byte",
            false => "runs were compared by exit code and by what is stable in their output",
        };
        say!("{DIM}{how}{DIM:#}");
        for note in &comparison.notes {
            say!("{YELLOW}note:{YELLOW:#} {}", escape(note));
        }
    }
    for note in &found.notes {
        say!("{YELLOW}note:{YELLOW:#} {}", escape(note));
    }
    let Runs {
        baseline,
        search,
        confirm: confirming,
    } = found.runs;
    say!(
        "{} runs ({baseline} with nothing refused, {search} to search, {confirming} to confirm) in {}, the time of {:.0} \
         runs with nothing refused ({} each); a run was stopped after {}",
        found.runs.total(),
        seconds(found.wall),
        worth(found),
        seconds(found.baseline),
        seconds(found.limit),
    );
    if found.policy.is_none() {
        return;
    }
    let count = |rank_is: fn(u8) -> bool| found.calls.iter().filter(|judged| rank_is(rank(judged))).count();
    let (needed, refusable) = (count(|rank| rank < 2), count(|rank| rank == 2 || rank == 3));
    let word = match found.minimal {
        true => "minimal",
        false => "not proved minimal",
    };
    say!(
        "{GREEN}{word}{GREEN:#}: {needed} calls are allowed and {refusable} refused in {BOLD}{}{BOLD:#}; all refused at \
         once, the probe ended the same {confirm} times",
        files.policy.display()
    );
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// The time of how many runs with nothing refused it took.
fn worth(found: &Minimised) -> f64 {
    found.wall.as_secs_f64() / found.baseline.as_secs_f64().max(f64::EPSILON)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    probe: &'a str,
    arch: Arch,
    minimal: bool,
    interrupted: bool,
    policy: Option<String>,
    confirm: usize,
    runs: Runs,
    total_runs: usize,
    wall_ms: u64,
    baseline_ms: u64,
    limit_ms: u64,
    comparison: Option<&'a Comparison>,
    calls: Vec<Call<'a>>,
    notes: &'a [String],
}

/// One call in it.
#[derive(Serialize)]
struct Call<'a> {
    name: String,
    nr: u32,
    verdict: &'static str,
    errno: Option<Refusal>,
    runs: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    phase: Phase,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a Site>,
}

fn report<'a>(found: &'a Minimised, confirm: usize, interrupted: bool, files: &'a Files) -> Report<'a> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Report {
        schema: SCHEMA,
        probe: &files.stem,
        arch: Arch::NATIVE,
        minimal: found.minimal,
        interrupted,
        policy: found.policy.as_ref().map(|_| files.policy.display().to_string()),
        confirm,
        runs: found.runs,
        total_runs: found.runs.total(),
        wall_ms: millis(found.wall),
        baseline_ms: millis(found.baseline),
        limit_ms: millis(found.limit),
        comparison: found.comparison.as_ref(),
        calls: found.calls.iter().map(call).collect(),
        notes: &found.notes,
    }
}

fn call(judged: &Judged) -> Call<'_> {
    let (verdict, errno, runs, why) = match judged.judgement {
        Judgement::Required { runs } => ("required", None, Some(runs), None),
        Judgement::Refusable { refusal, runs } => ("refusable", Some(refusal), Some(runs), None),
        Judgement::Kept { why } => ("kept", None, None, Some(why)),
        Judgement::Open => ("open", None, None, None),
    };
    Call {
        name: judged.call.name().into_owned(),
        nr: judged.call.nr(),
        verdict,
        errno,
        runs,
        why,
        phase: match judged.in_body {
            true => Phase::Body,
            false => Phase::Startup,
        },
        site: judged.site.as_ref(),
    }
}
