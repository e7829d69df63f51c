//! Trace, derive, enforce, amend.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use callgate_abi::{Arch, Site, Syscall};
use callgate_cache::Cache;
use callgate_dig::{DigError, Request, Target};
use callgate_exec::{Input, Io, Outcome, Program, Root, Run, Status, TierChoice, Violation};
use callgate_policy::{AmendError, CompileError, Derived, Policy};
use callgate_python::interpreter::Interpreter;
use callgate_python::prelude::Bytecode;
use callgate_trace::Trace;
use callgate_tracee::Stopper;

/// How often a probe is run under its policy at the most: the loop adds one call per run.
pub const MOST_ATTEMPTS: usize = 10;

/// The provenance of a rule that this loop adds.
const PROVENANCE: &str = "found at enforcement";

/// A probe that is to be fitted.
#[derive(Clone, Debug)]
pub struct Fit {
    /// What runs it.
    pub interpreter: Interpreter,
    /// Its bytes.
    pub code: Vec<u8>,
    /// The name that it has in tracebacks and sites.
    pub name: String,
    /// What comes after the name in `sys.argv`.
    pub args: Vec<OsString>,
    /// Which layers the runs must have.
    pub tier: TierChoice,
    /// How long the trace and each run may take.
    pub timeout: Option<Duration>,
    /// How often it is run at the most.
    pub attempts: usize,
    /// Its runs have an empty input instead of ours, so that one can be compared with another and several
    /// can be made at the same time.
    pub no_input: bool,
    /// What earlier runs found out about roots.
    pub cache: Arc<Cache>,
}

/// What is told while it goes on. Every method has an empty default.
pub trait Progress {
    /// The probe is being traced; the handle ends that.
    fn tracing(&mut self, _stopper: Stopper) {}
    /// The probe was traced.
    fn traced(&mut self, _trace: &Trace) {}
    /// A policy was made of the trace (or amended): this is what the next run is under.
    fn policy(&mut self, _policy: &Policy) {}
    /// The probe is being run; the handle ends that.
    fn running(&mut self, _attempt: usize, _stopper: Stopper) {}
    /// A run has ended.
    fn ran(&mut self, _attempt: &Attempt) {}
}

/// Says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {}

/// A rule that was added because the kernel refused a call that the trace did not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amendment {
    /// The refused call.
    pub call: Syscall,
    /// Where it was made.
    pub site: Option<Site>,
}

/// One run under the policy.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// How it ended.
    pub outcome: Outcome,
    /// What was added to the policy after it.
    pub amendment: Option<Amendment>,
}

/// The result.
#[derive(Clone, Debug)]
pub struct Fitted {
    /// What the probe did while it was traced.
    pub trace: Trace,
    /// The policy that the last run was under.
    pub policy: Policy,
    /// What could not be put into the policy.
    pub notes: Vec<String>,
    /// The runs, in order. None if the probe failed already while it was traced.
    pub attempts: Vec<Attempt>,
    /// Whether the last run ended as the trace did: with exit code 0.
    pub fits: bool,
}

/// Why there is no result at all.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The probe could not be traced.
    #[error(transparent)]
    Dig(#[from] DigError),
    /// The policy can't be compiled.
    #[error("the policy can't be compiled: {0}")]
    Compile(#[from] CompileError),
    /// A refused call can't be allowed by any policy.
    #[error("the probe needs a call that no policy can allow: {0}")]
    Amend(#[from] AmendError),
}

impl Fit {
    /// A probe with this code and name, to be run by this interpreter.
    pub fn new(interpreter: Interpreter, code: Vec<u8>, name: impl Into<String>) -> Self {
        Self {
            interpreter,
            code,
            name: name.into(),
            args: Vec::new(),
            tier: TierChoice::Auto,
            timeout: None,
            attempts: MOST_ATTEMPTS,
            no_input: false,
            cache: Arc::default(),
        }
    }

    /// Traces the probe, makes a policy of what it did, and runs it under that policy until it fits.
    ///
    /// # Errors
    /// [`FitError`] if it could not be traced or its needs can't be written as a policy. A probe that
    /// fails is no error: [`Fitted::fits`] is false then.
    pub fn run(&self, progress: &mut dyn Progress) -> Result<Fitted, FitError> {
        let trace = self.trace(progress)?;
        progress.traced(&trace);
        let Derived { mut policy, notes } = callgate_policy::from_traces(std::slice::from_ref(&trace), None);
        policy.comment = Some(format!("made by callgate fit for {}", self.name));
        progress.policy(&policy);
        let mut attempts = Vec::new();
        let mut fits = false;
        while trace.outcome.succeeded() && !fits && attempts.len() < self.attempts {
            let outcome = self.enforce(&policy, attempts.len() + 1, progress)?;
            fits = outcome.status == Status::Exited && outcome.exit_code == 0 && outcome.violation.is_none();
            let amendment = match &outcome.violation {
                Some(violation) => Self::amend(&mut policy, violation)?,
                None => None,
            };
            if amendment.is_some() {
                progress.policy(&policy);
            }
            let attempt = Attempt { outcome, amendment };
            progress.ran(&attempt);
            let stuck = attempt.amendment.is_none();
            attempts.push(attempt);
            if stuck {
                break;
            }
        }
        Ok(Fitted {
            trace,
            policy,
            notes,
            attempts,
            fits,
        })
    }

    fn trace(&self, progress: &mut dyn Progress) -> Result<Trace, FitError> {
        let target = Target::Script {
            interpreter: Box::new(self.interpreter.clone()),
            code: self.code.clone(),
            name: self.name.clone(),
            args: self.args.clone(),
            prelude: Bytecode::recall(&self.interpreter, &self.cache),
        };
        let request = Request {
            // The environment of a run, so that the probe does here what it will do there.
            env: callgate_exec::environment(&[]),
            timeout: self.timeout,
            stdout_to_stderr: true,
            ..Request::new(target)
        };
        Ok(callgate_dig::record(request, |stopper| {
            progress.tracing(stopper)
        })?)
    }

    fn enforce(
        &self,
        policy: &Policy,
        attempt: usize,
        progress: &mut dyn Progress,
    ) -> Result<Outcome, FitError> {
        let run = self.request(policy)?;
        Ok(callgate_exec::run(&run, |stopper| {
            progress.running(attempt, stopper)
        }))
    }

    /// The run of the probe under a policy, its output captured.
    pub(crate) fn request(&self, policy: &Policy) -> Result<Run, CompileError> {
        let filter = callgate_policy::compile(policy, Arch::NATIVE)?.link()?;
        let program = Program::Script {
            executable: self.interpreter.executable.clone(),
            code: self.code.clone(),
            name: self.name.clone(),
            args: self.args.clone(),
        };
        let root = Root::ForPython(Box::new(self.interpreter.clone()));
        Ok(Run {
            tier: self.tier,
            timeout: self.timeout,
            io: Io::Capture,
            input: if self.no_input { Input::Empty } else { Input::Ours },
            cache: self.cache.clone(),
            ..Run::new(program, root, filter)
        })
    }

    /// Allows a refused call; `None` if that changed nothing.
    fn amend(policy: &mut Policy, violation: &Violation) -> Result<Option<Amendment>, FitError> {
        let call = Syscall::new(violation.arch, violation.nr);
        let provenance = match &violation.site {
            Some(site) => format!("{PROVENANCE}: {site}"),
            None => PROVENANCE.to_owned(),
        };
        let added = policy.allow(call, &provenance)?;
        Ok((!added.is_empty()).then(|| Amendment {
            call,
            site: violation.site.clone(),
        }))
    }
}
