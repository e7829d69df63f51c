//! The tools that build an environment: `uv`, or Python's own `venv` and pip.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::error::EnvironmentError;
use crate::child::{self, Finished};
use crate::interpreter::Interpreter;

/// The tool that builds an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tool {
    /// `uv venv` and `uv pip install`.
    Uv,
    /// `python -m venv` and its pip.
    Venv,
}

impl Tool {
    /// The word used in reports: `uv` or `venv`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uv => "uv",
            Self::Venv => "venv",
        }
    }

    /// The better one that is there.
    pub(super) fn detect() -> Builder {
        which::which("uv").map_or(Builder::Venv, Builder::Uv)
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A [`Tool`] with what it takes to run it.
pub(super) enum Builder {
    /// The path of `uv`.
    Uv(PathBuf),
    /// The base interpreter brings it.
    Venv,
}

impl Builder {
    pub fn kind(&self) -> Tool {
        match self {
            Self::Uv(_) => Tool::Uv,
            Self::Venv => Tool::Venv,
        }
    }

    /// Creates an empty environment at `path`.
    pub fn create(&self, base: &Interpreter, path: &Path, lock: &File) -> Result<(), EnvironmentError> {
        let mut command = match self {
            Self::Uv(uv) => {
                let mut command = Command::new(uv);
                command
                    .args(["venv", "--quiet", "--no-project", "--python"])
                    .arg(&base.executable);
                command
            }
            Self::Venv => {
                let mut command = Command::new(&base.executable);
                command.args(["-I", "-m", "venv"]);
                command
            }
        };
        let finished = run(command.arg(path), lock)?;
        if finished.status.success() {
            return Ok(());
        }
        Err(EnvironmentError::Create {
            tool: self.kind(),
            path: path.to_owned(),
            said: finished.tail(),
        })
    }

    /// Installs the requirements, compiled to bytecode, since a run may not write any.
    pub fn install(
        &self,
        python: &Path,
        dependencies: &[String],
        directory: &Path,
        lock: &File,
    ) -> Result<(), EnvironmentError> {
        let mut command = match self {
            Self::Uv(uv) => {
                let mut command = Command::new(uv);
                // Copies: hard links into uv's cache would let a run's write reach other environments.
                command
                    .args([
                        "pip",
                        "install",
                        "--quiet",
                        "--compile-bytecode",
                        "--link-mode=copy",
                        "--python",
                    ])
                    .arg(python);
                command
            }
            Self::Venv => {
                let mut command = Command::new(python);
                command.args(["-I", "-m", "pip", "install", "--quiet", "--no-input", "--compile"]);
                command.arg("--disable-pip-version-check");
                // They would install elsewhere than into the environment.
                for variable in ["PIP_PREFIX", "PIP_ROOT", "PIP_TARGET", "PIP_USER"] {
                    command.env_remove(variable);
                }
                command
            }
        };
        // In the environment's directory, so that a relative path in a requirement means nothing else.
        let finished = run(command.arg("--").args(dependencies).current_dir(directory), lock)?;
        if finished.status.success() {
            return Ok(());
        }
        let dependencies = dependencies.to_owned();
        Err(EnvironmentError::Install {
            tool: self.kind(),
            dependencies,
            said: finished.tail(),
        })
    }
}

/// What an interpreter can import, as `name==version`, sorted by name without regard to case.
pub(super) fn packages(interpreter: &Interpreter) -> Result<Vec<String>, EnvironmentError> {
    const LIST: &str = "from importlib.metadata import distributions
import json
names = {'%s==%s' % (d.metadata['Name'], d.version) for d in distributions() if d.metadata['Name']}
print(json.dumps(sorted(names, key=lambda name: (name.lower(), name))))";
    let executable = &interpreter.executable;
    let finished = child::run(
        Command::new(executable).args(["-I", "-B", "-c", LIST]),
        Stdio::null(),
    )
    .map_err(|source| EnvironmentError::Run {
        program: executable.clone(),
        source,
    })?;
    let stdout = String::from_utf8_lossy(&finished.stdout);
    match serde_json::from_str(stdout.lines().last().unwrap_or_default()) {
        Ok(packages) if finished.status.success() => Ok(packages),
        _ => Err(EnvironmentError::List {
            executable: executable.clone(),
            said: finished.tail(),
        }),
    }
}

/// Runs a tool with the lock's file as its standard input: it is empty, and while the tool lives, the
/// lock is held, even if this process is killed.
fn run(command: &mut Command, lock: &File) -> Result<Finished, EnvironmentError> {
    for variable in ["PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"] {
        command.env_remove(variable);
    }
    lock.try_clone()
        .and_then(|lock| child::run(command, lock.into()))
        .map_err(|source| EnvironmentError::Run {
            program: PathBuf::from(command.get_program()),
            source,
        })
}
