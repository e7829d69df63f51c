//! A Python interpreter: where it is, what it is, where its library and its data are.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::child;

/// How long an interpreter may take to describe itself. A cold start from a slow disk takes seconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// The oldest version whose stacks can be read and whose prelude is tested.
const OLDEST: Version = Version {
    major: 3,
    minor: 9,
    micro: 0,
};

/// The program that describes its interpreter. It must compile under any Python 3.
const SELF_PORTRAIT: &str = include_str!("interpreter/describe.py");

/// The version of an interpreter: `3.11.7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// 3.
    pub major: u32,
    /// The feature release.
    pub minor: u32,
    /// The bug-fix release.
    pub micro: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// An interpreter as it describes itself under `-I -B`, with `site` processed.
///
/// Paths are absolute; `None` or an empty list where the interpreter has no such thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// `sys.executable`: the path to start it with. In a virtual environment this is the link in it,
    /// which must not be resolved, since Python finds the environment by it.
    pub executable: PathBuf,
    /// The executable with every link resolved.
    pub real_executable: PathBuf,
    /// `sys._base_executable`: outside a virtual environment the same as `executable`.
    pub base_executable: PathBuf,
    /// Its version.
    pub version: Version,
    /// `sys.implementation.name`; stacks can be read of `cpython` only.
    pub implementation: String,
    /// `sys.prefix`: the virtual environment, or the installation.
    pub prefix: PathBuf,
    /// `sys.base_prefix`: the installation.
    pub base_prefix: PathBuf,
    /// `sys.exec_prefix`.
    pub exec_prefix: PathBuf,
    /// `sys.base_exec_prefix`.
    pub base_exec_prefix: PathBuf,
    /// The directory of the standard library.
    pub stdlib: PathBuf,
    /// The directory of the standard library's platform-specific part.
    pub platstdlib: PathBuf,
    /// `sys.path`: the absolute entries that exist.
    pub sys_path: Vec<PathBuf>,
    /// The suffix of extension modules, such as `.cpython-311-x86_64-linux-gnu.so`.
    pub extension_suffix: String,
    /// Where its `ssl` looks for certificates: the files and directories that exist.
    pub ssl_paths: Vec<PathBuf>,
    /// Where its `zoneinfo` looks for time zones: the directories that exist.
    pub tz_paths: Vec<PathBuf>,
}

/// Why a path could not be used as a Python interpreter.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// Neither `python3` nor `python` is on the PATH.
    #[error(
        "no python3 or python on the PATH: install Python {OLDEST} or later, or name one with --python PATH"
    )]
    NoneOnPath(#[source] which::Error),
    /// It could not be started at all.
    #[error("cannot run {}: {source}: name an existing, executable Python interpreter", path.display())]
    Run {
        /// The path that was tried.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ran, but did not answer in time.
    #[error("{} did not describe itself within {} s: is it a Python interpreter?", path.display(), PATIENCE.as_secs())]
    TimedOut {
        /// The path that was tried.
        path: PathBuf,
    },
    /// It ran, and is not Python, or a broken one.
    #[error("{} does not answer as a Python 3 interpreter ({status}): {said:?}", path.display())]
    NotPython {
        /// The path that was tried.
        path: PathBuf,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines that it wrote.
        said: String,
    },
    /// It is too old.
    #[error("{} is Python {version}: callgate needs {OLDEST} or later", path.display())]
    TooOld {
        /// The path that was tried.
        path: PathBuf,
        /// Its version.
        version: Version,
    },
}

impl Interpreter {
    /// Asks the interpreter at `path` to describe itself: `path -I -B -c …`.
    ///
    /// A `path` without a slash is looked for on the PATH. The interpreter runs without `PYTHON*`
    /// variables, and is killed if it takes longer than 10 s.
    ///
    /// # Errors
    /// [`InterpreterError`] if it can't be started, hangs, isn't Python 3, or is older than 3.9.
    pub fn inspect(path: &Path) -> Result<Self, InterpreterError> {
        let path = path.to_owned();
        let finished = match child::run_within(
            Command::new(&path).args(["-I", "-B", "-c", SELF_PORTRAIT]),
            PATIENCE,
        ) {
            Ok(finished) => finished,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(InterpreterError::TimedOut { path });
            }
            Err(source) => return Err(InterpreterError::Run { path, source }),
        };
        let not_python = |said| InterpreterError::NotPython {
            path: path.clone(),
            status: finished.status,
            said,
        };
        if !finished.status.success() {
            return Err(not_python(finished.tail()));
        }
        // Only the last line: a .pth file or sitecustomize may have written before.
        let stdout = String::from_utf8_lossy(&finished.stdout);
        let portrait = stdout.lines().last().unwrap_or_default();
        // The version alone first: an old interpreter may lack what the rest is made of.
        #[derive(Deserialize)]
        struct Age {
            version: Version,
        }
        let age: Age = serde_json::from_str(portrait).map_err(|_| not_python(finished.tail()))?;
        if age.version < OLDEST {
            return Err(InterpreterError::TooOld {
                path,
                version: age.version,
            });
        }
        serde_json::from_str(portrait).map_err(|error| not_python(error.to_string()))
    }

    /// The interpreter that a user gets by typing `python3`, else `python`.
    ///
    /// The path is as found on the PATH, links kept.
    ///
    /// # Errors
    /// [`InterpreterError::NoneOnPath`].
    pub fn find() -> Result<PathBuf, InterpreterError> {
        which::which("python3")
            .or_else(|_| which::which("python"))
            .map_err(InterpreterError::NoneOnPath)
    }

    /// Whether this is an interpreter whose stacks [`Stacks`](crate::stacks::Stacks) can read.
    pub fn is_cpython(&self) -> bool {
        self.implementation == "cpython"
    }
}
