//! What a run runs, and in what root.

use std::ffi::OsString;
use std::path::PathBuf;

use callgate_python::interpreter::Interpreter;

use crate::lock::{Lock, Sign};
use crate::node::Node;

/// What is to be run.
#[derive(Clone, Debug)]
pub enum Program {
    /// A Python script; its bytes reach the interpreter by descriptor and are never on a disk.
    Script {
        /// The interpreter's path in the root.
        executable: PathBuf,
        /// The script's bytes.
        code: Vec<u8>,
        /// The name that it has in tracebacks and sites.
        name: String,
        /// What comes after the name in `sys.argv`.
        args: Vec<OsString>,
    },
    /// JavaScript for Node.js; its bytes reach it by descriptor and are never on a disk. It is locked at its
    /// exec unless [`Lock::Body`] is asked for.
    Node {
        /// Node's path in the root.
        executable: PathBuf,
        /// The script's bytes.
        code: Vec<u8>,
        /// The name that it has, as a file in the work directory; one that ends in `.mjs` is a module.
        name: String,
        /// What comes after the name in `process.argv`.
        args: Vec<OsString>,
    },
    /// Any command.
    Command {
        /// The program's path in the root.
        program: PathBuf,
        /// Its arguments, first its own name.
        argv: Vec<OsString>,
    },
}

impl Program {
    /// The bytes that the interpreter gets by descriptor.
    pub(crate) fn code(&self) -> Option<&[u8]> {
        match self {
            Self::Script { code, .. } | Self::Node { code, .. } => Some(code),
            Self::Command { .. } => None,
        }
    }

    /// By what is told that the interpreter has started and waits, if it is. Node.js needs not be asked to wait where
    /// it is locked at its exec.
    pub(crate) fn sign(&self, lock: Lock) -> Option<Sign> {
        match (self, lock) {
            (Self::Script { .. }, _) => Some(Sign::PYTHON),
            (Self::Node { .. }, Lock::Body) => Some(Sign::NODE),
            (Self::Node { .. }, Lock::Exec) | (Self::Command { .. }, _) => None,
        }
    }
}

/// What the code sees as `/`.
#[derive(Clone, Debug)]
pub enum Root {
    /// What this interpreter needs, found by itself.
    ForPython(Box<Interpreter>),
    /// What this Node.js needs, found by itself.
    ForNode(Node),
    /// What this program of the host needs, found by itself.
    ForCommand(PathBuf),
    /// A directory that `callgate root build` made.
    Directory(PathBuf),
}
