//! What a template is for, and what it is given to run.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use callgate_abi::Filter;
use callgate_launch::Networks;
use callgate_python::template::Beginning;

use crate::limits::Limits;
use crate::run::{Input, Io, Listener, Network, Program, Root, Run};
use crate::tier::TierChoice;

/// What all runs of a template have in common.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The interpreter's path in the root.
    pub executable: PathBuf,
    /// Where.
    pub root: Root,
    /// The compiled policy.
    pub filter: Filter,
    /// Which layers it must have. Warm runs need tier full or container.
    pub tier: TierChoice,
    /// Which network each run has; the template has none.
    pub network: Network,
    /// Whose the network namespaces of runs at tier full have been that don't have the host's.
    pub networks: Networks,
    /// What each run may use.
    pub limits: Limits,
    /// Variables besides the few that every run has.
    pub env: Vec<(OsString, OsString)>,
    /// The modules that are imported ahead, in their order. Their code runs with the template's privileges (at tier
    /// container none is in effect) and without the policy: only what is trusted as the interpreter is.
    pub preimport: Vec<String>,
    /// What jobs begin with, if they do: ours, so that it may be compiled ahead.
    pub beginning: Option<Beginning>,
    /// How many runs there can be at once. In a root that is a directory there is one, as it has one uid.
    pub beds: usize,
    /// After how many runs the template is replaced by a fresh one.
    pub renew_after: u64,
    /// How long the imports may take.
    pub patience: Duration,
}

impl Spec {
    /// With the highest tier, default limits, nothing imported ahead, two beds for each CPU; renewed after
    /// 10,000 runs.
    pub fn new(executable: PathBuf, root: Root, filter: Filter) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            executable,
            root,
            filter,
            tier: TierChoice::Auto,
            network: Network::None,
            networks: Networks::default(),
            limits: Limits::default(),
            env: Vec::new(),
            preimport: Vec::new(),
            beginning: None,
            beds: 2 * cpus,
            renew_after: 10_000,
            patience: Duration::from_secs(60),
        }
    }

    /// A run as it would be asked for cold.
    pub(super) fn run(&self, job: Option<&Job>) -> Run {
        let program = Program::Script {
            executable: self.executable.clone(),
            code: Vec::new(),
            name: job.map_or_else(String::new, |job| job.name.clone()),
            args: Vec::new(),
        };
        let mut run = Run::new(program, self.root.clone(), self.filter.clone());
        run.tier = self.tier;
        run.network = self.network;
        run.limits = self.limits;
        run.env.clone_from(&self.env);
        if let Some(job) = job {
            run.timeout = job.timeout;
            run.io = job.io;
            run.input = job.input.clone();
            run.listener.clone_from(&job.listener);
        }
        run
    }
}

/// A script to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its bytes.
    pub code: Vec<u8>,
    /// The name that it has in tracebacks and sites.
    pub name: String,
    /// What comes after the name in `sys.argv`.
    pub args: Vec<OsString>,
    /// When it is stopped; counted from when it gets its program.
    pub timeout: Option<Duration>,
    /// Where its output goes.
    pub io: Io,
    /// Where its input comes from.
    pub input: Input,
    /// Who hears its output as it comes, if it is captured.
    pub listener: Option<Listener>,
}

impl Job {
    /// A script without arguments, input or a time limit, whose output is captured.
    pub fn new(code: Vec<u8>, name: String) -> Self {
        Self {
            code,
            name,
            args: Vec::new(),
            timeout: None,
            io: Io::Capture,
            input: Input::Empty,
            listener: None,
        }
    }
}
