//! Starts a command from a small single-threaded child that is set up step by step.
//!
//! Between the clone and the exec nothing allocates and nothing is looked up: every [`Step`] is one
//! system call (or two) whose arguments were made beforehand. The first step that fails ends the
//! child before the command runs and is reported over a pipe with its place in the list and its
//! errno: set-up fails closed.
//!
//! Terms:
//! - the *child* runs the steps and becomes the command;
//! - the *init* is an optional process between us and the child: it is made inside new namespaces,
//!   runs steps of its own (mounts), forks the child, reaps whatever the command leaves behind, kills
//!   the rest when the command ends, and reports what all of it used;
//! - a *resident* is an init without a child: others come into its namespaces, set up by the same steps
//!   as plain calls ([`Step::calls`]); a *nursery* makes one after another;
//! - *go*: the first process waits for a word from the supervisor, who attaches to it before.
//!
//! ```
//! use callgate_launch::{Launch, Step};
//!
//! let mut started = Launch::new("/bin/true", ["true"], ["PATH=/bin"])?.step(Step::NoNewPrivs).start()?;
//! started.go()?;
//! let status = nix::sys::wait::waitpid(started.pid(), None)?;
//! assert_eq!(status, nix::sys::wait::WaitStatus::Exited(started.pid(), 0));
//! assert!(started.reports()?.failure.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: the steps run in the order given; which order is right is the caller's knowledge.

mod calls;
mod launch;
mod memory_file;
mod nursery;
mod report;
mod step;
mod sys;

pub use calls::{Call, Memory};
pub use launch::{Init, Launch, LaunchError, Started, clones_into_cgroups};
pub use memory_file::memory_file;
pub use nursery::{Networks, Nursery};
pub use report::{Failure, Reports, Usage};
pub use step::{IpcKind, Step};
