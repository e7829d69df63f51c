//! `callgate policy new|allow|deny|remove|merge|intersect`: makes policies and changes them.

use std::path::PathBuf;

use callgate_abi::{Action, Arch, Syscall, UnknownName, errno_number};
use callgate_policy::{Combination, Derived, Policy, Recipe, Unknown, combine, when};
use callgate_trace::{EndingKind, Phase, Trace};

use super::{warn, write};
use crate::args::{
    AllowArgs, CombineArgs, DefaultArg, DenyArgs, EditArgs, NewArgs, TranslateArgs, UnknownArg,
};
use crate::failure::Failure;
use crate::input;

pub(super) fn new(args: &NewArgs) -> Result<u8, Failure> {
    let mut traces = args
        .traces
        .iter()
        .map(|path| input::trace(path))
        .collect::<Result<Vec<_>, _>>()?;
    let base = layers(&args.base)?;
    if args.phase.is_some() {
        in_the_body(&mut traces, &args.traces)?;
    }
    let plain = Recipe::default();
    let recipe = Recipe {
        base: base.as_ref(),
        default: args.default.map_or(plain.default, DefaultArg::action),
        portable: args.portable,
        args: args.args,
    };
    let Derived { mut policy, notes } = recipe.make(&traces);
    if let Some(unknown) = args.unknown {
        policy.unknown = unknown.means();
    }
    // How an imported recording ended need not be known; one that failed is.
    let failed = |trace: &&Trace| !trace.outcome.succeeded() && trace.outcome.status != EndingKind::Unknown;
    for trace in traces.iter().filter(failed) {
        warn(&format!(
            "a probe failed while it was traced ({}): its trace may lack calls",
            trace.outcome
        ));
    }
    notes.iter().for_each(|note| warn(note));
    write(&policy, args.output.as_path())
}

/// The policies to start from, made into one.
fn layers(sources: &[String]) -> Result<Option<Policy>, Failure> {
    let mut base: Option<Policy> = None;
    for source in sources {
        let next = input::policy(source)?;
        base = Some(match base {
            None => next,
            Some(before) => {
                let made = combine(&before, &next, Combination::Merge)
                    .map_err(|error| Failure::input(format!("--base {source}: {error}")))?;
                made.notes.iter().for_each(|note| warn(note));
                made.policy
            }
        });
    }
    Ok(base)
}

const PROVENANCE: &str = "allowed by hand";

pub(super) fn allow(args: &AllowArgs) -> Result<u8, Failure> {
    let mut policy = input::policy(&args.edit.policy)?;
    for name in &args.edit.names {
        let call = match args.arch {
            Some(arch) => arch.call(name).map_err(Failure::input)?,
            None => named(name).map_err(Failure::input)?,
        };
        if args.when.is_empty() {
            match args.arch {
                Some(_) => policy.allow_here(call, PROVENANCE),
                None => policy.allow(call, PROVENANCE),
            }
            .map_err(Failure::input)?;
            continue;
        }
        let alternatives = args
            .when
            .iter()
            .map(|text| when(call, text).map_err(|error| Failure::input(format!("--when: {error}"))))
            .collect::<Result<Vec<_>, _>>()?;
        let done = policy
            .allow_when(call, &alternatives, PROVENANCE, args.arch)
            .map_err(Failure::input)?;
        done.notes.iter().for_each(|note| warn(note));
    }
    write(&policy, args.edit.output.as_path())
}

pub(super) fn translate(args: &TranslateArgs) -> Result<u8, Failure> {
    let mut policy = input::policy(&args.policy)?;
    for to in Arch::ALL.into_iter().filter(|to| *to != args.from) {
        let translated = policy.translate(args.from, to).map_err(Failure::input)?;
        translated.notes.iter().for_each(|note| warn(note));
        policy = translated.policy;
    }
    write(&policy, args.output.as_path())
}

pub(super) fn remove(args: &EditArgs) -> Result<u8, Failure> {
    let mut policy = input::policy(&args.policy)?;
    for name in &args.names {
        if !policy.remove(name).map_err(Failure::input)? {
            warn(&format!(
                "{name} is in no rule: its default action applies to it already"
            ));
        }
    }
    write(&policy, args.output.as_path())
}

/// The call of that name on this machine, or else on the other.
fn named(name: &str) -> Result<Syscall, UnknownName> {
    let here = Arch::NATIVE.call(name);
    let elsewhere = Arch::ALL.iter().find_map(|arch| arch.call(name).ok());
    here.or_else(|unknown| elsewhere.ok_or(unknown))
}

/// Keeps the calls of the body: the policy is locked after start-up.
fn in_the_body(traces: &mut [Trace], paths: &[PathBuf]) -> Result<(), Failure> {
    for (trace, path) in traces.iter_mut().zip(paths) {
        let before = trace.syscalls.len();
        trace.restrict(Phase::Body);
        let (body, name) = (trace.syscalls.len(), path.display());
        if body == 0 {
            return Err(
                Failure::input(format!("{name} has no calls of the body, only start-up's")).with_advice(
                    Some(
                        "only Python probes have a body; trace the script with `callgate dig SCRIPT.py`"
                            .to_owned(),
                    ),
                ),
            );
        }
        warn(&format!(
            "{name}: {} calls of start-up alone are left out; run with `callgate exec --lock body`",
            before - body
        ));
    }
    Ok(())
}

impl UnknownArg {
    fn means(self) -> Unknown {
        match self {
            Self::Default => Unknown::Default,
            Self::Enosys => Unknown::Enosys,
        }
    }
}

impl DefaultArg {
    fn action(self) -> Action {
        const EPERM: u16 = 1;
        match self {
            Self::Kill => Action::KillProcess,
            Self::Errno => Action::Errno(EPERM),
            Self::Log => Action::Log,
            Self::Trap => Action::Trap,
        }
    }
}

pub(super) fn deny(args: &DenyArgs) -> Result<u8, Failure> {
    let mut policy = input::policy(&args.edit.policy)?;
    let errno = args.errno.as_deref().map(|word| {
        errno_number(word).map(Action::Errno).ok_or_else(|| {
            Failure::input(format!(
                "--errno {word}: no such errno; expected ENOSYS, EPERM, 38 …"
            ))
        })
    });
    let action = errno.transpose()?;
    for name in &args.edit.names {
        let open = policy
            .deny(name, action, "denied by hand")
            .map_err(Failure::input)?;
        let open: Vec<&str> = open
            .into_iter()
            .filter(|other| !args.edit.names.iter().any(|n| n == other))
            .collect();
        if !open.is_empty() {
            warn(&format!(
                "{name} is refused, but {} still run, which do the same job",
                open.join(", ")
            ));
        }
    }
    write(&policy, args.edit.output.as_path())
}

pub(super) fn combined(args: &CombineArgs, how: Combination) -> Result<u8, Failure> {
    let mut policy = input::policy(&args.first)?;
    for source in &args.others {
        let other = input::policy(source)?;
        let made = combine(&policy, &other, how).map_err(Failure::input)?;
        made.notes.iter().for_each(|note| warn(note));
        policy = made.policy;
    }
    write(&policy, args.output.as_path())
}
