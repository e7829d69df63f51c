//! Runs jobs in the sandbox: warm, or each in a new interpreter.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use callgate_cache::Cache;
use callgate_exec::{
    Filtering, Input, Io, Limits, Listener, Network, Node, Outcome, Program, Root, Run, SetUpFailure,
    Template, TierChoice, run,
};
use callgate_python::interpreter::{Interpreter, InterpreterError};
use callgate_tracee::Stopper;

use crate::job::{Job, Language};
use crate::rules::Rules;
use crate::script;
use crate::warm::{Warm, Warmth};

/// How code is run.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The Python interpreter's path.
    pub python: PathBuf,
    /// Paths of the host that the code sees besides what its interpreter needs.
    pub shown: Vec<PathBuf>,
    /// The policy.
    pub rules: Rules,
    /// What JavaScript has; none if there is no Node.js.
    pub node: Option<NodeJs>,
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
    /// How templates are made; none: each run has a new interpreter.
    pub warmth: Option<Warmth>,
}

/// What runs JavaScript: each run has a new Node.js, under its policy from the exec.
#[derive(Clone, Debug)]
pub struct NodeJs {
    /// The Node.js.
    pub node: Node,
    /// Its policy.
    pub rules: Rules,
    /// Its policy where the code may use the network.
    pub network_rules: Rules,
}

/// What is different for code that may use the network, which is the host's.
#[derive(Clone, Debug)]
pub struct Networked {
    /// Its policy.
    pub rules: Rules,
    /// Its variables besides those of every run: proxies.
    pub env: Vec<(OsString, OsString)>,
}

/// What runs jobs: templates where they are warm, else a new interpreter for each.
#[derive(Debug)]
pub(crate) struct Engine {
    sandbox: Sandbox,
    interpreter: RwLock<Arc<Interpreter>>,
    warm: Warm,
    /// How many runs there are at once.
    max_workers: usize,
}

/// Why the interpreter can't be looked at again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RenewError {
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    #[error("no warm interpreters: {0}")]
    Template(SetUpFailure),
}

impl Engine {
    /// Looks at the interpreter. Nothing is warm yet.
    pub(crate) fn new(sandbox: Sandbox, max_workers: usize) -> Result<Self, InterpreterError> {
        let interpreter = inspect(&sandbox)?;
        Ok(Self {
            sandbox,
            interpreter: RwLock::new(Arc::new(interpreter)),
            warm: Warm::default(),
            max_workers,
        })
    }

    /// The policy of a job.
    pub(crate) fn rules(&self, job: &Job) -> &Rules {
        let node = self
            .sandbox
            .node
            .as_ref()
            .filter(|_| job.language == Language::Nodejs);
        match (node, self.networked(job)) {
            (Some(node), Some(_)) => &node.network_rules,
            (Some(node), None) => &node.rules,
            (None, Some(networked)) => &networked.rules,
            (None, None) => &self.sandbox.rules,
        }
    }

    /// Whether code in this language can be run.
    pub(crate) fn speaks(&self, language: Language) -> bool {
        match language {
            Language::Python3 => true,
            Language::Nodejs => self.sandbox.node.is_some(),
        }
    }

    /// What a job has that may use the network. One that asks for a network that there is not is not let in; if it
    /// were, it would have none.
    fn networked(&self, job: &Job) -> Option<&Networked> {
        self.sandbox.network.as_ref().filter(|_| job.network)
    }

    /// Whether code can have a network.
    pub(crate) fn has_network(&self) -> bool {
        self.sandbox.network.is_some()
    }

    /// Makes the templates that are asked for.
    pub(crate) fn warm_up(&self) -> Result<(), SetUpFailure> {
        match &self.sandbox.warmth {
            Some(warmth) => self
                .warm
                .replace(&self.sandbox, warmth, &self.interpreter(), self.max_workers),
            None => Ok(()),
        }
    }

    /// Ends the templates.
    pub(crate) fn cool_down(&self) {
        self.warm.clear();
    }

    /// Whether templates are asked for.
    pub(crate) fn is_to_be_warm(&self) -> bool {
        self.sandbox.warmth.is_some()
    }

    /// How many warm runs could begin at once.
    pub(crate) fn beds(&self) -> usize {
        self.warm.ready()
    }

    /// Looks at the interpreter again: its packages may have changed. Templates are replaced.
    pub(crate) fn renew(&self) -> Result<(), RenewError> {
        let seen = Arc::new(inspect(&self.sandbox)?);
        *self.interpreter.write().unwrap_or_else(PoisonError::into_inner) = seen;
        // Where there were none, as the tier has no warm runs, there will be none.
        match self.warm.template(false) {
            Some(_) => self.warm_up().map_err(RenewError::Template),
            None => Ok(()),
        }
    }

    /// The interpreter as it was last looked at.
    fn interpreter(&self) -> Arc<Interpreter> {
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
        // Learning is for cold runs, whose filter is another one.
        let template = match (job.learn, job.language) {
            (false, Language::Python3) => self.warm.template(job.network),
            (true, _) | (_, Language::Nodejs) => None,
        };
        let mut outcome = match template {
            Some(template) => self.run_warm(&template, job, listener, started),
            None => self.run_cold(job, listener, started),
        };
        if let Some(violation) = &mut outcome.violation {
            violation.remedy = self.rules(job).remedy(violation);
        }
        outcome
    }

    fn run_warm(
        &self,
        template: &Template,
        job: &Job,
        listener: Option<Listener>,
        started: impl FnOnce(Stopper),
    ) -> Outcome {
        let code = script::python(job.preload.as_deref(), &job.code);
        let mut warm = callgate_exec::Job::new(code, script::NAME.to_owned());
        warm.timeout = Some(self.sandbox.timeout);
        warm.listener = listener;
        template.run(warm, started)
    }

    /// Runs it in an interpreter of its own.
    fn run_cold(&self, job: &Job, listener: Option<Listener>, started: impl FnOnce(Stopper)) -> Outcome {
        let (program, root) = match (&self.sandbox.node, job.language) {
            (Some(NodeJs { node, .. }), Language::Nodejs) => {
                let program = Program::Node {
                    executable: node.executable.clone(),
                    code: script::node(job.preload.as_deref(), &job.code),
                    name: script::NODE_NAME.to_owned(),
                    args: Vec::new(),
                };
                (program, Root::ForNode(node.clone()))
            }
            // A job for a Node.js that there is not is not let in.
            _ => {
                let interpreter = self.interpreter();
                let program = Program::Script {
                    executable: interpreter.executable.clone(),
                    code: script::python(job.preload.as_deref(), &job.code),
                    name: script::NAME.to_owned(),
                    args: Vec::new(),
                };
                (
                    program,
                    Root::ForPython(Box::new(Interpreter::clone(&interpreter))),
                )
            }
        };
        let (network, env) = match self.networked(job) {
            Some(networked) => (Network::Host, networked.env.clone()),
            None => (Network::None, Vec::new()),
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
            ..Run::new(program, root, self.rules(job).filter.clone())
        };
        run(&request, started)
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
