//! Runs a command in a root, under a filter and limits, at a tier, and says how it ended.
//!
//! Terms:
//! - a [`Tier`] is the set of isolation layers of a run: named, reported, never lowered silently
//!   (`unprivileged` has two forms, and the outcome names the one that it was); what each promises and what it does not, with the test that shows it, stands in `.github/SECURITY.md`;
//! - the *lock* is the moment from which the filter is in force: for a script before the first byte of
//!   it is compiled, for any other command at the exec boundary ([`Lock`]);
//! - a [`Violation`] is a call that the filter refused, read from outside before the process is gone;
//! - a [`Refusal`] is one that ended nobody: it got an errno ([`Filtering`] tells whether that is told);
//! - a *limit* ends the run or refuses what goes beyond it ([`Limits`]). Over all processes together it is
//!   kept by a cgroup, which is a layer of tier full and is used wherever it can be had; without one,
//!   memory and CPU time are limits of each process (setrlimit(2)), and the outcome says so.
//! - the *work directory* is where the code starts and may write: private, and gone with the run; [`Files`] are
//!   copied into it before, and what is left in it is brought out after ([`OutDirectory`]);
//! - an [`Outcome`] is how the run ended; when a set-up step fails, nothing ran.
//!
//! ```no_run
//! use callgate_exec::{Program, Root, Run, run};
//! use callgate_python::interpreter::Interpreter;
//! # let filter = callgate_abi::Filter::default();
//!
//! let interpreter = Interpreter::inspect(&Interpreter::find()?)?;
//! let program = Program::Script {
//!     executable: interpreter.executable.clone(),
//!     code: b"print(1)".to_vec(),
//!     name: "<code>".into(),
//!     args: vec![],
//! };
//! let outcome = run(&Run::new(program, Root::ForPython(Box::new(interpreter)), filter), |_| {});
//! println!("{}", serde_json::to_string_pretty(&outcome)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Limits: x86-64 and arm64, Linux 5.12 or newer for the mounted tiers.

mod attend;
mod bpf;
mod capture;
mod cgroup;
mod choose;
mod closed;
mod early;
mod facilities;
mod files;
mod filtering;
mod ground;
mod host;
mod inherited;
mod ipc;
mod kernel;
mod keyrings;
mod lacks;
mod landlock;
mod limits;
mod lock;
mod mounted;
mod near;
mod network;
mod node;
mod out;
mod outcome;
mod private;
mod run;
mod scratch;
mod seize;
mod setup;
mod slots;
mod supervise;
mod sys;
mod tier;
mod timings;
mod tried;
mod uid;
mod verdict;
mod violation;
mod warm;
pub mod workers;

pub use callgate_launch::Networks;
pub use early::Early;
pub use facilities::{Facility, survey};
pub use files::{FileError, Files};
pub use filtering::{Filtering, Refusal, Refuser};
pub use lacks::{Lack, LackKind};
pub use limits::Limits;
pub use lock::Lock;
pub use node::{Node, NodeError};
pub use out::{BroughtOut, OutDirectory, OutError, OutFile};
pub use outcome::{Captured, LimitHit, Outcome, Remedy, SCHEMA, SetUpFailure, Status, Usage, Violation};
pub use run::{Input, Io, Listener, Network, Program, Root, Run, Stream, Word, environment, run, run_early};
pub use tier::{Tier, TierChoice, UnknownTier};
pub use timings::Timings;
pub use warm::{Job, Spec, Template};
