//! Everything that knows Python: interpreters, PEP 723 environments, the prelude, stacks.
//!
//! Terms:
//! - an [`Interpreter`](interpreter::Interpreter) is a Python executable that has described itself:
//!   version, library, search path;
//! - [`ScriptMetadata`](metadata::ScriptMetadata) is what a script asks for in its `# /// script` block
//!   (PEP 723);
//! - an [`Environment`](environment::Environment) is an interpreter that has it, cached on disk;
//! - the [`prelude`] is the program that Python is started with. It marks, by a system call that a
//!   supervisor answers, where *startup* ends and the *body*, the user's own code, begins;
//! - a [`template`] is an interpreter that is forked for each program;
//! - [`Stacks`](stacks::Stacks) are the Python frames of a stopped process, read from its memory.
//!
//! ```
//! use callgate_python::{interpreter::Interpreter, metadata::ScriptMetadata};
//!
//! let script = b"# /// script\n# dependencies = [\"numpy\"]\n# ///\nimport numpy\n";
//! let metadata = ScriptMetadata::read(script)?.unwrap_or_default();
//! assert_eq!(metadata.dependencies, ["numpy"]);
//!
//! let python = Interpreter::inspect(&Interpreter::find()?)?;
//! assert!(python.version.major == 3 && python.stdlib.is_dir());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: CPython 3.9 to 3.15 is read and tested, but for builds without a global lock (free-threaded); these, other
//! versions and other implementations can be inspected and started, but have no stacks. Environments are built by `uv`
//! or by `venv` and pip, which are not part of this.

mod child;
pub mod environment;
pub mod interpreter;
pub mod metadata;
pub mod prelude;
pub mod stacks;
mod sys;
pub mod template;
