//! Why a plan can't be made.

use std::io;
use std::path::PathBuf;

use callgate_abi::Arch;

/// Why a plan can't be made. Each names the path and, where there is one, the mend.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A path inside a root is absolute and has no `.`, `..` or NUL.
    #[error("planning the root: {path:?} is not an absolute, normalised path")]
    NotNormal {
        /// The path as given.
        path: PathBuf,
    },
    /// Two things want the same path, or one stands where another needs a directory.
    #[error("planning the root: {path:?} is a {have} already and can't be a {new} as well")]
    Conflict {
        /// The path inside the root.
        path: PathBuf,
        /// What stands there.
        have: &'static str,
        /// What was to be put there.
        new: &'static str,
    },
    /// An entry would be put behind a symlink: it belongs at the link's target.
    #[error("planning the root: {path:?} lies behind the symlink {link:?}: add it under the link's target")]
    ThroughSymlink {
        /// The path inside the root.
        path: PathBuf,
        /// The link.
        link: PathBuf,
    },
    /// A read-only tree has nothing at this path, so nothing can be mounted over it.
    #[error("planning the root: {path:?} does not exist in the read-only tree {tree:?} that covers it")]
    NotInTree {
        /// The path inside the root.
        path: PathBuf,
        /// The tree's path inside the root.
        tree: PathBuf,
    },
    /// The host doesn't have it.
    #[error("planning the root: {path:?} does not exist on this host")]
    NotFound {
        /// The path on the host.
        path: PathBuf,
    },
    /// More links than the kernel follows (40, path_resolution(7)).
    #[error("planning the root: too many symbolic links on the way to {path:?}")]
    Loop {
        /// The path on the host.
        path: PathBuf,
    },
    /// A directory that would show much more of the host than the code needs.
    #[error(
        "planning the root: the directory {path:?} would show {shows:?} to the sandboxed code: \
         move what is needed into a directory of its own (a virtual environment) or take it off sys.path"
    )]
    TooWide {
        /// The directory on the host.
        path: PathBuf,
        /// What of the host it would show.
        shows: PathBuf,
    },
    /// A socket, a fifo, a device, or a link that was expected to be a file.
    #[error(
        "planning the root: {path:?} is neither a regular file nor a directory, and only these can be in \
         a root"
    )]
    NotRegular {
        /// The path on the host.
        path: PathBuf,
    },
    /// The program isn't something the kernel can start.
    #[error(
        "planning the root: {path:?} is not an ELF program for this machine and has no #! line: \
         name a program that this machine can run"
    )]
    NotAProgram {
        /// The program.
        path: PathBuf,
    },
    /// A `#!` line names an interpreter that isn't there.
    #[error(
        "planning the root: the #! line of {script:?} asks for {name:?}, which is not on PATH: \
         install it, or correct that line"
    )]
    NoScriptInterpreter {
        /// The script.
        script: PathBuf,
        /// The interpreter's name.
        name: String,
    },
    /// The kernel follows five `#!` lines at most (execve(2)).
    #[error(
        "planning the root: from {script:?} on, #! lines name scripts and no program, and the kernel follows five of \
         them: let one name a program"
    )]
    ScriptLoop {
        /// The script.
        script: PathBuf,
    },
    /// A trace without files: imported, or of a probe that used none.
    #[error(
        "planning the root: the trace lists no files: record the probe with `callgate dig -o TRACE` or `callgate fit`"
    )]
    NoFiles,
    /// A trace of a machine with another architecture: its files are not this host's.
    #[error("planning the root: the trace is of {arch}, and this machine is not: record the probe here")]
    OtherMachine {
        /// The architecture in the trace.
        arch: Arch,
    },
    /// A system call failed.
    #[error("planning the root: {operation} {path:?} failed")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl PlanError {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| PlanError::Io {
            operation,
            path,
            source,
        }
    }
}
