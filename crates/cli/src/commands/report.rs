//! What is said of a run, below its own output and on standard error.

mod lacks;
mod refusals;
mod timings;

use callgate_abi::Syscall;
use callgate_exec::{LimitHit, Outcome, Refusal, Refuser, Remedy, Status, Violation};
use callgate_policy::Policy;

pub(crate) use self::timings::print as timings;
use crate::terminal::{BOLD, BOLD_RED, DIM, GREEN, YELLOW, escape, escape_line};

/// Fills in how the refused calls could be allowed.
pub(crate) fn add_remedy(outcome: &mut Outcome, policy: &Policy, source: &str) {
    let Outcome {
        violation,
        refusals,
        notes,
        ..
    } = outcome;
    let by_policy = |refusal: &&mut Refusal| refusal.by == Refuser::Policy;
    let soft = refusals
        .iter_mut()
        .flatten()
        .filter(by_policy)
        .map(|refusal| &mut refusal.call);
    for refused in violation.iter_mut().chain(soft) {
        let call = Syscall::new(refused.arch, refused.nr);
        match callgate_policy::remedy(policy, source, call, &refused.args) {
            Ok(remedy) => {
                refused.remedy = Some(Remedy {
                    command: remedy.command,
                    dify: remedy.dify,
                });
            }
            Err(error) => {
                let note = error.to_string();
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
    }
}

/// Prints the report.
pub(crate) fn print(outcome: &Outcome) {
    let usage = &outcome.usage;
    // Of all processes together, if that is known; else of the greatest one.
    let memory = usage.memory_peak_bytes.unwrap_or(usage.max_rss_bytes);
    let mib = memory as f64 / (1 << 20) as f64;
    let used = format!("{} ms, {} ms cpu, {mib:.1} MiB", usage.wall_ms, usage.cpu_ms);
    match outcome.status {
        Status::SetupFailed => {
            if let Some(setup) = &outcome.setup {
                say!(
                    "{BOLD_RED}nothing ran:{BOLD_RED:#} {}",
                    escape(&setup.to_string())
                );
                if let Some(advice) = &setup.advice {
                    say!("{DIM}  → {}{DIM:#}", escape(advice));
                }
            }
        }
        Status::Exited if outcome.exit_code == 0 => say!("{GREEN}ran{GREEN:#} in {used}"),
        Status::Exited => {
            say!("{YELLOW}exited with {}{YELLOW:#} after {used}", outcome.exit_code)
        }
        Status::Timeout => say!("{BOLD_RED}killed at the time limit{BOLD_RED:#} after {used}"),
        Status::Oom => say!("{BOLD_RED}out of memory{BOLD_RED:#} after {used}"),
        Status::Cpu => {
            say!("{BOLD_RED}killed at the limit of CPU time{BOLD_RED:#} after {used}")
        }
        Status::FileSize => {
            say!("{BOLD_RED}killed at the limit of a file's size{BOLD_RED:#} after {used}")
        }
        Status::Signaled | Status::Violation => {
            let signal = outcome.signal.as_deref().unwrap_or("a signal");
            say!("{BOLD_RED}killed by {signal}{BOLD_RED:#} after {used}");
        }
    }
    violation(outcome);
    refusals::print(outcome);
    lacks::print(outcome);
    if let Some(limit) = &outcome.limit {
        say!("  {}", mend(limit));
    }
    for stream in &outcome.truncated {
        say!("{YELLOW}cut:{YELLOW:#} {stream} is longer than --output-limit allows");
    }
    if let Some(tier) = outcome.tier {
        say!("{DIM}tier {tier}: {}{DIM:#}", outcome.layers.join(", "));
    }
    for missing in &outcome.missing {
        say!("{YELLOW}missing layer:{YELLOW:#} {}", escape(missing));
    }
    for note in &outcome.notes {
        say!("{DIM}note: {}{DIM:#}", escape(note));
    }
}

/// Which limit ended the run, and how to raise it.
fn mend(limit: &LimitHit) -> String {
    let doubled = limit.value.saturating_mul(2);
    let (was, more) = match limit.unit.as_str() {
        "bytes" => (size(limit.value), size(doubled)),
        _ => (seconds(limit.value), seconds(doubled)),
    };
    format!(
        "the limit was --{} {was}; to raise it: --{} {more}",
        limit.name, limit.name
    )
}

/// Bytes as the options take them.
fn size(bytes: u64) -> String {
    let units = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let fits = units.iter().find(|(unit, _)| bytes % unit == 0);
    fits.map_or_else(
        || bytes.to_string(),
        |(unit, name)| format!("{}{name}", bytes / unit),
    )
}

/// Milliseconds as the options take them.
fn seconds(millis: u64) -> String {
    (millis as f64 / 1000.0).to_string()
}

/// Prints what was refused, where, and how to allow it.
pub(crate) fn violation(outcome: &Outcome) {
    let Some(violation) = &outcome.violation else {
        return;
    };
    say!(
        "{BOLD_RED}refused:{BOLD_RED:#} {BOLD}{}{BOLD:#} {}",
        violation.syscall,
        call(violation)
    );
    site(violation);
    thread(violation);
    remedy(violation, true);
}

/// Number and arguments.
fn call(violation: &Violation) -> String {
    let args: Vec<String> = violation.args.iter().map(|arg| format!("{arg:#x}")).collect();
    format!(
        "({} number {}) with ({})",
        violation.arch,
        violation.nr,
        args.join(", ")
    )
}

/// The named arguments, and the place.
fn site(violation: &Violation) {
    let named = named_arguments(Syscall::new(violation.arch, violation.nr), &violation.args);
    if !named.is_empty() {
        say!("  that is {}", named.join(", "));
    }
    match (&violation.site, &violation.no_lines) {
        (Some(site), _) => say!("  at {}", escape_line(&site.to_string())),
        (None, Some(why)) => say!("  no line can be told: {}", escape_line(why)),
        (None, None) => say!("  no line can be told: none of Python led to it"),
    }
}

fn thread(violation: &Violation) {
    let which = if violation.pid == violation.tid {
        "the main thread"
    } else {
        "another thread"
    };
    say!("  by {which} ({}) of process {}", violation.tid, violation.pid);
}

fn remedy(violation: &Violation, dify: bool) {
    if let Some(remedy) = &violation.remedy {
        say!("  to allow it: {}", escape_line(&remedy.command));
        if dify {
            say!("  in dify-sandbox: {}", escape(&remedy.dify));
        }
    }
}

/// The arguments that choose what a call does, by the names that the kernel's headers have for them.
fn named_arguments(call: Syscall, args: &[u64; 6]) -> Vec<String> {
    let keys = callgate_abi::keys(call, args);
    keys.iter()
        .map(|key| format!("arg{} {}", key.index, key.name))
        .collect()
}
