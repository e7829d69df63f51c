//! What a probe was seen to do: the trace and its file format, `callgate.trace/1`.
//!
//! `dig` writes traces and `policy` reads them; neither knows the other, both know this.
//!
//! Terms:
//! - a [`Call`] is one system call (a number under an ABI) with how often it was made, how it failed,
//!   in which [`Phase`]s, and the [`Site`](callgate_abi::Site) that made it first;
//! - a [`Sight`] is the moment at which a call, or an argument of it, was new: who made it, and when;
//! - a [`FileUse`] is one path with how it was used and whether it was there;
//! - a [`Merged`] is the union of several traces, and knows which calls were not in every run;
//! - an [`import`](import::Import) makes a trace of another tool's recording;
//! - an [`Ending`] says how the probe ended: a trace of a probe that failed is a trace all the same.
//!
//! A trace is a lower bound: what it does not list was not observed, which is not "not needed".

mod ending;
mod file;
mod files;
pub mod import;
mod merge;
mod model;
mod sight;

pub use ending::{Ending, EndingKind};
pub use file::{SCHEMA, TraceError};
pub use files::{FileUse, How};
pub use merge::{MergeError, Merged};
pub use model::{Call, Counts, Phase, Python, Trace};
pub use sight::{Object, Sight, Thread};
