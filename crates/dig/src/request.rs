//! What is to be recorded.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use callgate_python::interpreter::Interpreter;
use callgate_python::prelude::Bytecode;

/// The probe.
#[derive(Clone, Debug)]
pub enum Target {
    /// A Python script, run by the prelude so that its first line is seen.
    Script {
        /// What runs it.
        interpreter: Box<Interpreter>,
        /// The script's bytes.
        code: Vec<u8>,
        /// The name that it has in tracebacks and sites.
        name: String,
        /// What comes after the name in `sys.argv`.
        args: Vec<OsString>,
        /// The prelude, if this interpreter has compiled it already.
        prelude: Option<Bytecode>,
    },
    /// Any command.
    Command {
        /// The program's path, looked up already.
        program: PathBuf,
        /// Its arguments, first its own name.
        argv: Vec<OsString>,
    },
}

/// A recording to be made.
#[derive(Clone, Debug)]
pub struct Request {
    /// The probe.
    pub target: Target,
    /// Its environment. By default ours.
    pub env: Vec<(OsString, OsString)>,
    /// When to stop it.
    pub timeout: Option<Duration>,
    /// Stop on every call, so that counts and errors are exact.
    pub counts: bool,
    /// Send its standard output to standard error, because standard output is for the trace.
    pub stdout_to_stderr: bool,
    /// Keep the whole stacks of each sight, of Python and of native code, and not its line alone.
    pub stacks: bool,
    /// Keep every CPU busy meanwhile, and interrupt the threads every few ms: as after SIGSTOP and SIGCONT
    /// (signal(7)), but without a signal, calls that wait are restarted, and a few return EINTR.
    pub load: bool,
}

impl Request {
    /// A recording of this probe in our own environment, without a time limit.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            env: std::env::vars_os().collect(),
            timeout: None,
            counts: false,
            stdout_to_stderr: false,
            stacks: false,
            load: false,
        }
    }
}

/// The word that is left with a [`Stopper`](callgate_tracee::Stopper) when a recording is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Word {
    /// The time limit was reached.
    Timeout = 1,
    /// The user asked.
    Interrupt = 2,
}
