//! `callgate exec`: runs code under a policy and says how it ended.

mod asked;
mod compiled;
mod learned;
mod node;

use std::sync::Arc;
use std::time::Instant;

use callgate_exec::{Early, Filtering, Input, Io, Lock, Outcome, Program, Run, Status, Word};

use self::asked::{Asked, Text, asked};
use self::compiled::compiled;
use crate::args::{ExecArgs, LockArg, NetArg};
use crate::commands::report;
use crate::failure::{CANNOT, Failure};
use crate::{files, input, interrupt, kept, output};

/// The exit code of a run that went well whose files could not be written: they are the result.
const FILES_LOST: u8 = 1;

/// The exit code of a command that is not found.
const NOT_FOUND: u8 = 127;

pub(crate) fn run(args: &ExecArgs) -> Result<u8, Failure> {
    let begun = Instant::now();
    let source = args.policy();
    let limits = args.limits.limits();
    let cache = kept::open_ahead(&args.python.cache);
    // Of a root that was built the uid is known only when it has been looked into.
    let early = match &args.root {
        Some(_) => Early::none(),
        None => Early::begin(args.tier, limits, args.net.network(), &cache),
    };
    let policy = input::policy_text(source)?;
    let filter = compiled(&policy, &cache)?;
    let env = input::variables(&args.env)?;
    let files = files::brought_in(&args.file, &limits)?;
    let text = Text::of(args)?;
    let Asked { program, root } = asked(args, text.as_ref(), &cache)?;
    let input = match (&args.stdin, text.as_ref().is_some_and(|text| text.from_stdin)) {
        (Some(path), _) => Input::File(Arc::new(input::open(path, "--stdin")?)),
        (None, true) => Input::Empty,
        (None, false) => Input::Ours,
    };
    let mut request = Run {
        look_for_lacks: true,
        add: input::absolute(&args.add, "--add")?,
        filtering: match (&args.learn, args.explain) {
            (Some(_), _) => Filtering::Learned,
            (None, true) => Filtering::Explained,
            (None, false) => Filtering::Enforced,
        },
        tier: args.tier,
        timeout: args.limits.timeout,
        limits,
        network: args.net.network(),
        env,
        io: if args.json { Io::Capture } else { Io::Inherit },
        input,
        files,
        timed_since: args.timings.then_some(begun),
        cache: Arc::clone(&cache),
        ..Run::new(program, root, filter)
    };
    match (args.lock, &request.program) {
        (Some(LockArg::Body), Program::Command { .. }) => {
            return Err(Failure::input(
                "--lock body is for scripts: of a command nobody tells where its own code begins",
            ));
        }
        (Some(LockArg::Body), _) => request.lock = Lock::Body,
        (Some(LockArg::Exec), _) => request.lock = Lock::Exec,
        (None, _) => {}
    }
    if let Some(file) = &args.learn {
        learned::check(file)?;
        learned::warn(args.policy());
    }
    // The last of what can be refused: it makes the directory.
    request.out = args.out.as_deref().map(files::destination).transpose()?;
    interrupt::install()?;
    let mut outcome = run_it(&request, early);
    if outcome.status == Status::SetupFailed && !cache.holds() {
        // What earlier runs found out has changed since, and nothing has run. It is looked at first now.
        let cache = kept::open(&args.python.cache);
        let Asked { program, root } = asked(args, text.as_ref(), &cache)?;
        request = Run {
            program,
            root,
            cache,
            ..request
        };
        outcome = run_it(&request, Early::none());
    }
    if outcome.violation.is_some() || outcome.refusals.is_some() {
        report::add_remedy(&mut outcome, &policy.parsed()?, source);
    }
    if args.net == NetArg::Host && args.policy.is_none() {
        outcome
            .notes
            .push(format!("the policy is {source}, as the network is the host's"));
    }
    let lost = outcome.out.as_ref().is_some_and(|out| out.error.is_some());
    let refused = outcome.violation.is_some() || outcome.refusals.as_ref().is_some_and(|all| !all.is_empty());
    let quiet = args.quiet && outcome.status == Status::Exited && !refused && !lost;
    if args.json {
        output::json(&outcome)?;
    } else if !quiet {
        report::print(&outcome);
        if let (Some(out), Some(dir)) = (&outcome.out, &args.out) {
            files::print(out, dir);
        }
    }
    if let (Some(timings), false) = (&outcome.timings, args.json) {
        report::timings(timings);
    }
    if let Some(file) = &args.learn {
        learned::write(file, &request, &outcome, args.policy())?;
    }
    if lost && outcome.exit_code == 0 {
        // Who asked for the files must not take it that they are there.
        return Ok(FILES_LOST);
    }
    Ok(u8::try_from(outcome.exit_code).unwrap_or(CANNOT))
}

/// Runs it, and ends it when we are asked to end.
fn run_it(request: &Run, early: Early) -> Outcome {
    let outcome = callgate_exec::run_early(request, early, |stopper| {
        interrupt::watch(stopper, Word::Interrupt as u32)
    });
    interrupt::unwatch();
    outcome
}
