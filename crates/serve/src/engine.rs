//! Runs jobs in the sandbox: each in a new interpreter.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use callgate_exec::{Input, Io, Limits, Outcome, Program, Root, Run, TierChoice, run};
use callgate_python::interpreter::{Interpreter, InterpreterError};
use callgate_tracee::Stopper;

use crate::job::{Job, Language};
use crate::rules::Rules;
use crate::script;

/// How code is run.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The Python interpreter's path.
    pub python: PathBuf,
    /// The policy.
    pub rules: Rules,
    /// Which layers every run must have.
    pub tier: TierChoice,
    /// What a run may use.
    pub limits: Limits,
    /// When it is stopped.
    pub timeout: Duration,
}

/// What runs jobs.
#[derive(Debug)]
pub(crate) struct Engine {
    sandbox: Sandbox,
    interpreter: RwLock<Arc<Interpreter>>,
}

impl Engine {
    /// Looks at the interpreter.
    pub(crate) fn new(sandbox: Sandbox) -> Result<Self, InterpreterError> {
        let interpreter = Interpreter::inspect(&sandbox.python)?;
        Ok(Self {
            sandbox,
            interpreter: RwLock::new(Arc::new(interpreter)),
        })
    }

    /// Looks at the interpreter again: its packages may have changed.
    pub(crate) fn renew(&self) -> Result<(), InterpreterError> {
        let seen = Arc::new(Interpreter::inspect(&self.sandbox.python)?);
        *self.interpreter.write().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    /// The interpreter as it was last looked at.
    pub(crate) fn interpreter(&self) -> Arc<Interpreter> {
        Arc::clone(&self.interpreter.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a job to its end, in the calling thread: a tracer is bound to its thread, which must have no
    /// other children. `started` gets the handle by which another thread can end the run.
    pub(crate) fn run(&self, job: &Job, started: impl FnOnce(Stopper)) -> Outcome {
        let interpreter = self.interpreter();
        let program = match job.language {
            Language::Python3 | Language::Nodejs => Program::Script {
                executable: interpreter.executable.clone(),
                code: script::python(job.preload.as_deref(), &job.code),
                name: script::NAME.to_owned(),
                args: Vec::new(),
            },
        };
        let root = Root::ForPython(Box::new(Interpreter::clone(&interpreter)));
        let request = Run {
            tier: self.sandbox.tier,
            timeout: Some(self.sandbox.timeout),
            limits: self.sandbox.limits,
            io: Io::Capture,
            input: Input::Empty,
            ..Run::new(program, root, self.sandbox.rules.filter.clone())
        };
        let mut outcome = run(&request, started);
        if let Some(violation) = &mut outcome.violation {
            violation.remedy = self.sandbox.rules.remedy(violation);
        }
        outcome
    }
}
