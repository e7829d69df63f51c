//! A Python interpreter: where it is, what it is, where its library and its data are.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use callgate_cache::{Cache, saw_way};
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

/// What an interpreter sees of our variables when it describes itself: where it is looked for, where its shared
/// objects and its certificates are, and its language.
const VARIABLES: &[&str] = &[
    "HOME",
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
];

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

/// What the interpreter says of itself, and of what that depends on.
#[derive(Deserialize)]
struct Portrait {
    #[serde(flatten)]
    interpreter: Interpreter,
    rests_on: Vec<PathBuf>,
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
        Self::recall(path, &Cache::none())
    }

    /// As [`Interpreter::inspect`]; not asked again while nothing has changed that its description rests on: itself
    /// and its shared objects, `pyvenv.cfg`, the modules that it loads, the directories on its path, the `.pth`
    /// files in them and what these name. A script that starts an interpreter (as those of pyenv do) is
    /// asked each time, for nobody knows what it goes by.
    ///
    /// # Errors
    /// As for [`Interpreter::inspect`].
    pub fn recall(path: &Path, cache: &Cache) -> Result<Self, InterpreterError> {
        let run = |source| InterpreterError::Run {
            path: path.to_owned(),
            source,
        };
        let named = path.components().count() > 1 || path.is_absolute();
        let program = match named {
            true => std::path::absolute(path).map_err(run)?,
            false => match which::which(path) {
                Ok(found) => found,
                Err(_) => return Err(run(io::ErrorKind::NotFound.into())),
            },
        };
        if !is_elf(&program).map_err(run)? {
            return Ok(Self::describe(&program, None)?.interpreter);
        }
        let variables: Vec<(&str, OsString)> = VARIABLES
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?)))
            .collect();
        let key: Vec<_> = variables
            .iter()
            .map(|(name, value)| (name, value.to_string_lossy()))
            .collect();
        cache.recall("interpreter", &(&program, key), || {
            let portrait = Self::describe(&program, Some(&variables))?;
            saw_way(&program);
            portrait.rests_on.iter().for_each(|path| saw_way(path));
            Ok(portrait.interpreter)
        })
    }

    /// Runs the program that describes its interpreter, with these variables or all of ours.
    fn describe(path: &Path, variables: Option<&[(&str, OsString)]>) -> Result<Portrait, InterpreterError> {
        let path = path.to_owned();
        let mut command = Command::new(&path);
        command.args(["-I", "-B", "-c", SELF_PORTRAIT]);
        if let Some(variables) = variables {
            command
                .env_clear()
                .envs(variables.iter().map(|(name, value)| (name, value)));
        }
        let finished = match child::run_within(&mut command, PATIENCE) {
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
}

/// Whether a program is one itself, and not a script that may start another one each time.
fn is_elf(program: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(program)?.take(4).read_to_end(&mut start)?;
    Ok(start == b"\x7fELF")
}
