//! What is known of Node.js: how its executable is asked about itself, and how it is started with code that came
//! by a descriptor.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use callgate_cache::{Cache, saw_way};
use serde::{Deserialize, Serialize};

use crate::lock::Lock;

/// Prints what [`Node`] holds.
const DESCRIBE: &str = include_str!("node/describe.js");
/// Starts the code.
const START: &str = include_str!("node/start.js");

/// A Node.js of the host, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its executable, without symlinks.
    pub executable: PathBuf,
    /// Its version, such as `20.19.2`.
    pub version: String,
    /// What it reads besides: its own modules and data that the distribution keeps in files of their own, and the
    /// directories in which modules are looked for at last.
    pub data: Vec<PathBuf>,
}

/// Why a Node.js can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// It can't be started.
    #[error("{path}: {source}")]
    Start {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It failed, or is something else.
    #[error("{path} does not answer as Node.js does: {said}")]
    Answer {
        /// Its path.
        path: PathBuf,
        /// What it said.
        said: String,
    },
}

/// What it says of itself, and of what that depends on.
#[derive(Deserialize)]
struct Portrait {
    #[serde(flatten)]
    node: Node,
    rests_on: Vec<PathBuf>,
}

impl Node {
    /// Starts it, to ask it about itself. No variable of ours reaches it, so that none can load code into it.
    ///
    /// # Errors
    /// [`NodeError`]
    pub fn inspect(path: &Path) -> Result<Self, NodeError> {
        Ok(Self::describe(path)?.node)
    }

    /// As [`Node::inspect`]; not asked again while nothing has changed that its description rests on: itself and its
    /// shared objects, and what is at the places where its data may be. What starts another program, as the shims of
    /// version managers do, is asked each time, for nobody knows what it goes by.
    ///
    /// # Errors
    /// As for [`Node::inspect`].
    pub fn recall(path: &Path, cache: &Cache) -> Result<Self, NodeError> {
        let start = |source| NodeError::Start {
            path: path.to_owned(),
            source,
        };
        let program = std::path::absolute(path).map_err(start)?;
        let real = program.canonicalize().map_err(start)?;
        let looked = cache.recall("node", &program, || {
            let Portrait { node, rests_on } = Self::describe(&program).map_err(Err)?;
            if node.executable != real {
                return Err(Ok(node));
            }
            saw_way(&program);
            rests_on.iter().for_each(|path| saw_way(path));
            Ok(node)
        });
        // What is not to be kept is an answer all the same.
        looked.or_else(|not_kept: Result<Self, NodeError>| not_kept)
    }

    fn describe(path: &Path) -> Result<Portrait, NodeError> {
        let output = Command::new(path)
            .args(["-e", DESCRIBE])
            .env_clear()
            // Its own directories of modules lie below the home.
            .env("HOME", "/nonexistent")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| NodeError::Start {
                path: path.to_owned(),
                source,
            })?;
        serde_json::from_slice(&output.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rfind(|line| !line.trim().is_empty());
            NodeError::Answer {
                path: path.to_owned(),
                said: last.map_or_else(|| error.to_string(), str::to_owned),
            }
        })
    }
}

/// The command that starts the code behind this descriptor as a file of this name in the work directory; it waits for
/// the lock before, if that is at the body.
pub(crate) fn command(
    executable: &Path,
    code: RawFd,
    lock: Lock,
    name: &str,
    args: &[OsString],
) -> Vec<OsString> {
    let start = ["-e", START, "--"].map(OsString::from);
    let mut argv = vec![executable.into()];
    argv.extend(start);
    let lock = match lock {
        Lock::Body => "body",
        Lock::Exec => "exec",
    };
    argv.extend([code.to_string().into(), lock.into(), name.into()]);
    argv.extend_from_slice(args);
    argv
}
