//! Runs jobs in the sandbox: each in a new interpreter.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use callgate_cache::Cache;
use callgate_exec::{
    Filtering, Input, Io, Limits, Listener, Network, Outcome, Program, Root, Run, TierChoice, run,
};
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
    /// Paths of the host that the code sees besides what its interpreter needs.
    pub shown: Vec<PathBuf>,
    /// The policy.
    pub rules: Rules,
    /// What code has that may use the network; none if no code may.
    pub network: Option<Networked>,
    /// Which layers every run must have.
    pub tier: TierChoice,
    /// What a run may use.
    pub limits: Limits,
    /// When it is stopped.
    pub timeout: Duration,
    /// What earlier runs found out about interpreters and roots.
    pub cache: Arc<Cache>,
}

/// What is different for code that may use the network, which is the host's.
#[derive(Clone, Debug)]
pub struct Networked {
    /// Its policy.
    pub rules: Rules,
    /// Its variables besides those of every run: proxies.
    pub env: Vec<(OsString, OsString)>,
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
        let interpreter = inspect(&sandbox)?;
        Ok(Self {
            sandbox,
            interpreter: RwLock::new(Arc::new(interpreter)),
        })
    }

    /// The policy of a job.
    pub(crate) fn rules(&self, job: &Job) -> &Rules {
        match (&self.sandbox.network, job.network) {
            (Some(networked), true) => &networked.rules,
            _ => &self.sandbox.rules,
        }
    }

    /// Whether code can have a network.
    pub(crate) fn has_network(&self) -> bool {
        self.sandbox.network.is_some()
    }

    /// Looks at the interpreter again: its packages may have changed.
    pub(crate) fn renew(&self) -> Result<(), InterpreterError> {
        let seen = Arc::new(inspect(&self.sandbox)?);
        *self.interpreter.write().unwrap_or_else(PoisonError::into_inner) = seen;
        Ok(())
    }

    /// The interpreter as it was last looked at.
    pub(crate) fn interpreter(&self) -> Arc<Interpreter> {
        Arc::clone(&self.interpreter.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a job to its end, in the calling thread: a tracer is bound to its thread, which must have no
    /// other children. `started` gets the handle by which another thread can end the run.
    pub(crate) fn run(
        &self,
        job: &Job,
        listener: Option<Listener>,
        started: impl FnOnce(Stopper),
    ) -> Outcome {
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
        let rules = self.rules(job);
        let (network, env) = match (&self.sandbox.network, job.network) {
            (Some(networked), true) => (Network::Host, networked.env.clone()),
            // A job that may use a network that there is not is not let in; if it were, it has none.
            _ => (Network::None, Vec::new()),
        };
        let request = Run {
            filtering: match job.learn {
                true => Filtering::Learned,
                false => Filtering::Enforced,
            },
            network,
            env,
            tier: self.sandbox.tier,
            timeout: Some(self.sandbox.timeout),
            limits: self.sandbox.limits,
            io: Io::Capture,
            listener,
            input: Input::Empty,
            cache: Arc::clone(&self.sandbox.cache),
            ..Run::new(program, root, rules.filter.clone())
        };
        let mut outcome = run(&request, started);
        if let Some(violation) = &mut outcome.violation {
            violation.remedy = rules.remedy(violation);
        }
        outcome
    }
}

/// The interpreter, and with it what else is to be seen.
fn inspect(sandbox: &Sandbox) -> Result<Interpreter, InterpreterError> {
    let mut interpreter = Interpreter::recall(&sandbox.python, &sandbox.cache)?;
    // A root has what this names, with the shared objects that are needed there; the interpreter makes its own
    // sys.path when it starts.
    interpreter.sys_path.extend(sandbox.shown.iter().cloned());
    Ok(interpreter)
}
