//! A run as it is asked for.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callgate_abi::Filter;
use callgate_cache::Cache;
use serde::{Deserialize, Serialize};

use super::program::{Program, Root};
use crate::files::Files;
use crate::filtering::Filtering;
use crate::limits::Limits;
use crate::lock::Lock;
use crate::out::OutDirectory;
use crate::tier::TierChoice;

/// Where the code's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// To our own streams.
    Inherit,
    /// It is captured into the outcome.
    Capture,
}

/// Where the code's input comes from.
#[derive(Clone, Debug)]
pub enum Input {
    /// From our own standard input.
    Ours,
    /// There is none; ours has been read already, for its code.
    Empty,
    /// From this file.
    File(Arc<File>),
}

/// Which network the code has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// None, not even the host's loopback.
    #[default]
    None,
    /// The host's own, with all that listens on it: its loopback, abstract sockets, its neighbours, the metadata
    /// services of clouds.
    Host,
}

/// One of the streams that are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Who hears what is captured as it comes, piece by piece. It is called by the thread that reads both streams, which
/// waits for it; of what a limit cuts it hears nothing.
#[derive(Clone)]
pub struct Listener(Arc<Hears>);

type Hears = dyn Fn(Stream, &[u8]) + Send + Sync;

impl Listener {
    /// One that is told by a call of this.
    pub fn new(hears: impl Fn(Stream, &[u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hears))
    }

    pub(crate) fn tell(&self, stream: Stream, bytes: &[u8]) {
        (self.0)(stream, bytes);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// A run that is asked for.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is run.
    pub program: Program,
    /// Where.
    pub root: Root,
    /// Files and directories of the host that a root which is found by itself has besides, under their own paths.
    pub add: Vec<PathBuf>,
    /// The compiled policy.
    pub filter: Filter,
    /// What is known, and done, of the calls that the filter refuses.
    pub filtering: Filtering,
    /// Which layers it must have.
    pub tier: TierChoice,
    /// When the filter comes into force.
    pub lock: Lock,
    /// When it is stopped.
    pub timeout: Option<Duration>,
    /// What it may use.
    pub limits: Limits,
    /// Which network it has. The policy decides all the same whether it may make sockets.
    pub network: Network,
    /// Variables besides the few that every run has.
    pub env: Vec<(OsString, OsString)>,
    /// Where its output goes.
    pub io: Io,
    /// Who hears its output as it comes, if it is captured.
    pub listener: Option<Listener>,
    /// Where its input comes from.
    pub input: Input,
    /// Whether it is looked for on the host what the code says that it misses, if it fails: for who runs it, as
    /// the answers tell what the host has.
    pub look_for_lacks: bool,
    /// Files that are copied into its work directory.
    pub files: Files,
    /// Where the files are brought that it leaves in its work directory.
    pub out: Option<Arc<OutDirectory>>,
    /// Since when its stages are timed, if they are: the caller's own beginning.
    pub timed_since: Option<Instant>,
    /// What earlier runs found out about roots.
    pub cache: Arc<Cache>,
}

/// The word that is left with a [`Stopper`](callgate_tracee::Stopper) when a run is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Word {
    /// The time limit was reached.
    Timeout = 1,
    /// The user asked.
    Interrupt = 2,
    /// The limit of CPU time was reached.
    Cpu = 3,
}

impl Run {
    /// A run with the highest tier that works, default limits, no time limit, inherited streams; a
    /// script is locked from its first line, a command from its exec.
    pub fn new(program: Program, root: Root, filter: Filter) -> Self {
        let lock = match program {
            Program::Script { .. } => Lock::Body,
            Program::Node { .. } | Program::Command { .. } => Lock::Exec,
        };
        Self {
            program,
            root,
            add: Vec::new(),
            filter,
            filtering: Filtering::Enforced,
            tier: TierChoice::Auto,
            lock,
            timeout: None,
            limits: Limits::default(),
            network: Network::None,
            env: Vec::new(),
            io: Io::Inherit,
            listener: None,
            input: Input::Ours,
            look_for_lacks: false,
            files: Files::default(),
            out: None,
            timed_since: None,
            cache: Arc::default(),
        }
    }
}
