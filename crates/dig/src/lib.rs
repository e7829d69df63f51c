//! Records the system calls of a probe with ptrace.
//!
//! Terms: the *probe* is the program whose needs are asked, a Python script or any command; the
//! *startup* phase ends at the first line of a script (the prelude's marker) or at the exec boundary
//! of a command; a *site* is read at the first sight of a call only.
//!
//! ```
//! use callgate_dig::{Request, Target, record};
//!
//! let target = Target::Command { program: "/bin/true".into(), argv: vec!["true".into()] };
//! let trace = record(Request::new(target), |_| {})?;
//! assert!(trace.syscalls.iter().any(|call| call.name == "execve"));
//! # Ok::<(), callgate_dig::DigError>(())
//! ```
//!
//! Limits: every call is stopped on (plain ptrace stops), so counts are exact and runs are slow;
//! `fork` without a tracer (`CLONE_UNTRACED`) is not followed.

mod barrier;
mod births;
mod calls;
mod error;
mod fast;
mod files;
mod learned;
mod live;
mod passing;
mod paths;
mod prepare;
mod record;
mod recorder;
mod request;
mod sites;
mod status;
mod threads;
mod traits;
mod veil;

pub use error::DigError;
pub use record::record;
pub use request::{Request, Target, Word};
