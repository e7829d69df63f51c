//! What a run under `--learn` made beyond its policy, as a trace.

use std::collections::BTreeMap;
use std::path::Path;

use callgate_abi::{Arch, KeySet, Syscall, keys};
use callgate_exec::{Outcome, Program, Refusal, Root, Run, Status};
use callgate_policy::{quoted, shipped};
use callgate_trace::{Call, Counts, Ending, EndingKind, Phase, Python, SCHEMA, Sight, Thread, Trace};

use crate::failure::Failure;
use crate::output;
use crate::terminal::{BOLD, YELLOW, escape_line};

/// Said before the run, whatever else is kept quiet.
pub(super) fn warn(policy: &str) {
    say!(
        "{YELLOW}{BOLD}learning:{BOLD:#} what {} refuses is allowed in this run and recorded, but for what would open \
         the other layers; the filter holds nobody{YELLOW:#}",
        escape_line(policy)
    );
}

/// Refuses a file that can't be written when the run is over.
pub(super) fn check(file: &Path) -> Result<(), Failure> {
    if file == Path::new("-") {
        return Err(Failure::input(
            "--learn -: standard output is the code's; name a file",
        ));
    }
    output::check(file)
}

/// Writes the trace, and says how it makes the policy grow.
pub(super) fn write(file: &Path, run: &Run, outcome: &Outcome, policy: &str) -> Result<(), Failure> {
    if outcome.status == Status::SetupFailed {
        return Ok(());
    }
    let trace = trace(run, outcome, policy);
    let text = trace.to_json().map_err(|error| Failure::new(1, error))?;
    output::file(file, text.as_bytes())?;
    let shown = file.display().to_string();
    if trace.syscalls.is_empty() {
        say!(
            "{} refused nothing: {} has no calls",
            escape_line(policy),
            escape_line(&shown)
        );
        return Ok(());
    }
    let grown = match shipped::get(policy) {
        Some(_) => format!("{policy}.policy.json"),
        None => policy.to_owned(),
    };
    let command = format!(
        "callgate policy new --base {} {} -o {}",
        quoted(policy),
        quoted(&shown),
        quoted(&grown)
    );
    say!(
        "{} calls that {} refuses are in {}; a policy with them: {}",
        trace.syscalls.len(),
        escape_line(policy),
        escape_line(&shown),
        escape_line(&command)
    );
    Ok(())
}

fn trace(run: &Run, outcome: &Outcome, policy: &str) -> Trace {
    let (allowed, kept): (Vec<&Refusal>, Vec<&Refusal>) = outcome
        .refusals
        .iter()
        .flatten()
        .partition(|refusal| refusal.allowed);
    let mut notes = vec![format!(
        "recorded by `exec --learn` under the policy {policy}: it has the calls that this refuses, which were allowed for \
         the recording, and no others; how they ended is not in it"
    )];
    let mut names: Vec<&str> = kept.iter().map(|refusal| refusal.call.syscall.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if !names.is_empty() {
        notes.push(format!(
            "refused in the recording, too, and not in it: {} (what would open other layers; for clone3, libc asks clone \
             on ENOSYS)",
            names.join(", ")
        ));
    }
    if outcome.refusals_omitted > 0 {
        notes.push(format!(
            "{} calls are missing, which were of too many kinds: record again under the policy that this one made",
            outcome.refusals_omitted
        ));
    }
    if let Some(violation) = &outcome.violation {
        notes.push(format!(
            "{} ({}) ended a process, as it stays refused in a recording",
            violation.syscall, violation.arch
        ));
    }
    let (command, python) = command(run);
    Trace {
        schema: SCHEMA.to_owned(),
        arch: Arch::NATIVE,
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        command,
        python,
        outcome: ending(outcome),
        counts: match outcome.refusals_omitted {
            0 => Counts::Exact,
            _ => Counts::LowerBound,
        },
        notes,
        syscalls: calls(&allowed),
        files: Vec::new(),
    }
}

/// The command as a recording has it, and its interpreter.
fn command(run: &Run) -> (Vec<String>, Option<Python>) {
    let python = match &run.root {
        Root::ForPython(interpreter) => Some(Python {
            executable: interpreter.executable.display().to_string(),
            version: interpreter.version.to_string(),
            prefix: interpreter.prefix.display().to_string(),
        }),
        _ => None,
    };
    match &run.program {
        Program::Script {
            executable,
            name,
            args,
            ..
        }
        | Program::Node {
            executable,
            name,
            args,
            ..
        } => {
            let mut command = vec![executable.display().to_string(), name.clone()];
            command.extend(args.iter().map(|arg| arg.to_string_lossy().into_owned()));
            (command, python)
        }
        Program::Command { argv, .. } => {
            let command = argv
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect();
            (command, None)
        }
    }
}

fn ending(outcome: &Outcome) -> Ending {
    match (outcome.status, &outcome.signal) {
        (Status::Exited, _) => Ending::exited(outcome.exit_code),
        (Status::Timeout, _) => Ending::cut(EndingKind::Timeout),
        (_, Some(signal)) => Ending::signaled(signal.clone()),
        (_, None) => Ending::cut(EndingKind::Unknown),
    }
}

/// The calls, ordered by ABI and number, each with its sights.
fn calls(allowed: &[&Refusal]) -> Vec<Call> {
    let mut calls: BTreeMap<Syscall, Call> = BTreeMap::new();
    for refusal in allowed {
        let seen = &refusal.call;
        let syscall = Syscall::new(seen.arch, seen.nr);
        let call = calls.entry(syscall).or_insert_with(|| Call {
            name: seen.syscall.clone(),
            nr: seen.nr,
            abi: seen.arch,
            count: 0,
            errors: BTreeMap::new(),
            phases: Default::default(),
            site: None,
            args: KeySet::default(),
            sights: Vec::new(),
        });
        call.count += refusal.count;
        let phase = match refusal.startup {
            true => Phase::Startup,
            false => Phase::Body,
        };
        let first = call.phases.insert(phase);
        let mut args = keys(syscall, &seen.args);
        args.retain(|key| {
            call.args.insert(key.clone());
            let told = |sight: &Sight| sight.phase == phase && sight.args.contains(key);
            call.args.of(key.index).any(|kept| kept == key) && !call.sights.iter().any(told)
        });
        if !first && args.is_empty() {
            continue;
        }
        if call.site.is_none() || first && phase == Phase::Body {
            call.site = seen.site.clone().or(call.site.take());
        }
        call.sights.push(Sight {
            phase,
            ms: refusal.ms,
            args,
            thread: Thread {
                pid: seen.pid,
                tid: seen.tid,
                main: seen.pid == seen.tid,
                name: refusal.thread.clone(),
            },
            site: seen.site.clone(),
            object: None,
            caller: None,
            stack: Vec::new(),
            stack_omitted: 0,
            native: Vec::new(),
        });
    }
    calls.into_values().collect()
}
