//! Why an environment could not be prepared.

use std::io;
use std::path::{Path, PathBuf};

use super::tool::Tool;
use crate::interpreter::{InterpreterError, Version};

/// Why an environment could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// There is nowhere to keep environments.
    #[error("no place for environments: set HOME or XDG_CACHE_HOME to an absolute directory")]
    NoCache,
    /// `requires-python` is not a version specifier.
    #[error("requires-python {specifier:?} is not a PEP 440 version specifier such as \">=3.11\"")]
    Specifier {
        /// The text.
        specifier: String,
        /// What the parser says.
        source: pep440_rs::VersionSpecifiersParseError,
    },
    /// The interpreter is not one that the script runs on.
    #[error(
        "the script requires Python {specifier}, but {} is {version}: name another with --python PATH",
        executable.display()
    )]
    RequiresPython {
        /// `requires-python`.
        specifier: String,
        /// The interpreter's version.
        version: Version,
        /// The interpreter.
        executable: PathBuf,
    },
    /// A file of the cache could not be used.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// What was tried: `create`, `open`, `lock`, `read`, `write`, `remove`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tool could not be started.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The tool could not create the environment.
    #[error("{tool} could not create {}{}; it said:\n{said}", path.display(), advice(said))]
    Create {
        /// The tool.
        tool: Tool,
        /// The environment's directory.
        path: PathBuf,
        /// The last lines that it wrote.
        said: String,
    },
    /// The tool could not install the dependencies.
    #[error("{tool} could not install {}: check the names, the versions and the network; it said:\n{said}", dependencies.join(", "))]
    Install {
        /// The tool.
        tool: Tool,
        /// The requirements.
        dependencies: Vec<String>,
        /// The last lines that it wrote.
        said: String,
    },
    /// The interpreter could not list what it can import.
    #[error("{} could not list its packages; it said:\n{said}", executable.display())]
    List {
        /// The interpreter.
        executable: PathBuf,
        /// The last lines that it wrote.
        said: String,
    },
    /// The environment's own interpreter does not work.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
}

/// What helps when `venv` fails, for the one cause that is known.
fn advice(said: &str) -> &'static str {
    if said.contains("ensurepip") {
        ": its Python comes without ensurepip; on Debian and Ubuntu: apt install python3-venv; or install uv"
    } else {
        ""
    }
}

/// Makes an I/O error name the operation and the path.
pub(super) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> EnvironmentError {
    let path = path.to_owned();
    move |source| EnvironmentError::File {
        operation,
        path,
        source,
    }
}
