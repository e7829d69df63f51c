//! What a run runs, and in what root.

use std::ffi::OsString;
use std::path::PathBuf;

use callgate_python::interpreter::Interpreter;

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
    /// Any command.
    Command {
        /// The program's path in the root.
        program: PathBuf,
        /// Its arguments, first its own name.
        argv: Vec<OsString>,
    },
}

/// What the code sees as `/`.
#[derive(Clone, Debug)]
pub enum Root {
    /// What this interpreter needs, found by itself.
    ForPython(Box<Interpreter>),
    /// What this program of the host needs, found by itself.
    ForCommand(PathBuf),
    /// A directory that `callgate root build` made.
    Directory(PathBuf),
}
