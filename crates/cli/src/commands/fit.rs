//! `callgate fit`: the operator's whole job in one command.

mod minimise;
mod result;

use std::path::{Path, PathBuf};

use callgate_abi::Arch;
use callgate_dig::Word as DigWord;
use callgate_exec::{Status, Word as ExecWord};
use callgate_fit::{Attempt, Fit, FitError, Progress};
use callgate_policy::{Observed, Policy};
use callgate_trace::Trace;
use callgate_tracee::Stopper;

use crate::args::FitArgs;
use crate::commands::{diff, dig, report};
use crate::failure::{BAD_INPUT, CANNOT, Failure};
use crate::terminal::{BOLD, DIM, GREEN, YELLOW, escape};
use crate::{input, interrupt, output};

pub(crate) fn run(args: &FitArgs) -> Result<u8, Failure> {
    let against = input::policy(&args.against)?;
    let files = Files::new(args)?;
    let script = input::script(&args.probe, &args.python)?;
    interrupt::install()?;
    let fit = Fit {
        args: args.args.clone(),
        tier: args.tier,
        timeout: args.timeout,
        attempts: args.attempts,
        no_input: args.minimise,
        cache: script.cache,
        ..Fit::new(script.interpreter, script.code, script.name)
    };
    let mut telling = Telling {
        against: &against,
        name: &args.against,
        files: &files,
        tables: !args.json,
        failed: None,
    };
    let fitted = fit.run(&mut telling);
    interrupt::unwatch();
    if let Some(failure) = telling.failed {
        return Err(failure);
    }
    let fitted = fitted.map_err(|error| match error {
        FitError::Dig(error) => dig::failure(&error),
        FitError::Compile(_) | FitError::Amend(_) => Failure::new(BAD_INPUT, error),
    })?;
    for note in &fitted.notes {
        say!("{YELLOW}note:{YELLOW:#} {}", escape(note));
    }
    let (policy, trace) = (files.policy.display(), files.trace.display());
    if fitted.fits {
        let runs = fitted.attempts.len();
        let again = if runs == 1 {
            String::new()
        } else {
            format!(" (after {runs} runs)")
        };
        say!(
            "{GREEN}fits{GREEN:#}: {} runs under {policy}{again}; what it did is in {trace}",
            files.stem
        );
        return match args.minimise {
            true => minimise::run(args, &fit, &fitted, &files),
            false if args.json => result::print(args, &fitted, &against, &files).map(|()| 0),
            false => Ok(0),
        };
    }
    if args.json && !args.minimise {
        result::print(args, &fitted, &against, &files)?;
    }
    if !fitted.trace.outcome.succeeded() {
        let ended = &fitted.trace.outcome;
        return Err(
            Failure::new(1, format!("the probe failed while it was traced: it {ended}")).with_advice(Some(
                format!("mend the probe and fit it again; what was seen is in {trace}"),
            )),
        );
    }
    let last = fitted.attempts.last().map(|attempt| &attempt.outcome);
    if last.is_some_and(|outcome| outcome.status == Status::SetupFailed) {
        return Err(Failure::new(CANNOT, "the probe could not be run: see above"));
    }
    Err(Failure::new(
        1,
        format!("the probe does not fit after {} runs", fitted.attempts.len()),
    )
    .with_advice(Some(format!(
        "the policy so far is in {policy}; --attempts allows more runs"
    ))))
}

/// Where the results go.
struct Files {
    stem: String,
    policy: PathBuf,
    trace: PathBuf,
}

impl Files {
    fn new(args: &FitArgs) -> Result<Self, Failure> {
        let stem = match args.probe.file_stem() {
            Some(stem) if args.probe != Path::new("-") => stem.to_string_lossy().into_owned(),
            _ => "stdin".to_owned(),
        };
        if !args.out_dir.is_dir() {
            return Err(Failure::input(format!(
                "--out-dir {}: no such directory",
                args.out_dir.display()
            )));
        }
        let file = |kind: &str| args.out_dir.join(format!("{stem}.{kind}.json"));
        Ok(Self {
            policy: file("policy"),
            trace: file("trace"),
            stem,
        })
    }
}

/// Tells the user what goes on and writes the files as soon as they are known.
struct Telling<'a> {
    against: &'a Policy,
    name: &'a str,
    files: &'a Files,
    /// Standard output is for tables.
    tables: bool,
    /// The first thing that could not be written.
    failed: Option<Failure>,
}

impl Telling<'_> {
    fn keep(&mut self, result: Result<(), Failure>) {
        if let (Err(failure), None) = (result, &self.failed) {
            self.failed = Some(failure);
        }
    }

    fn write(&mut self, path: &Path, text: Result<String, serde_json::Error>) {
        let result = text
            .map_err(|error| Failure::new(1, error))
            .and_then(|text| output::file(path, text.as_bytes()));
        self.keep(result);
    }
}

impl Progress for Telling<'_> {
    fn tracing(&mut self, stopper: Stopper) {
        say!("{DIM}tracing {} …{DIM:#}", self.files.stem);
        interrupt::watch(stopper, DigWord::Interrupt as u32);
    }

    fn traced(&mut self, trace: &Trace) {
        interrupt::unwatch();
        let path = self.files.trace.clone();
        self.write(&path, trace.to_json());
        if self.tables {
            let diffs = diff::compare(&Observed::from(trace), self.against, &Arch::ALL);
            self.keep(output::stdout(
                diff::render(&diffs, self.name, trace.arch).as_bytes(),
            ));
        }
        for note in &trace.notes {
            say!("{DIM}note: {}{DIM:#}", escape(note));
        }
    }

    fn policy(&mut self, policy: &Policy) {
        let path = self.files.policy.clone();
        self.write(&path, policy.to_json());
    }

    fn running(&mut self, attempt: usize, stopper: Stopper) {
        say!(
            "{DIM}run {attempt} under {} …{DIM:#}",
            self.files.policy.display()
        );
        interrupt::watch(stopper, ExecWord::Interrupt as u32);
    }

    fn ran(&mut self, attempt: &Attempt) {
        interrupt::unwatch();
        let outcome = &attempt.outcome;
        for text in [&outcome.stdout, &outcome.stderr]
            .into_iter()
            .flatten()
            .filter(|text| !text.is_empty())
        {
            say!("{}", escape(text.trim_end()));
        }
        report::print(outcome);
        if let Some(amendment) = &attempt.amendment {
            let site = amendment
                .site
                .as_ref()
                .map(|site| format!(" (at {site})"))
                .unwrap_or_default();
            say!(
                "{BOLD}added{BOLD:#} {}: found at enforcement{}",
                amendment.call,
                escape(&site)
            );
        }
    }
}
