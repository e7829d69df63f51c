//! A policy in the words of other tools.
//!
//! What a format can't say is never left out in silence: it is an error, or stands in
//! [`Emitted::lost`]. Where a text has comments, its first lines say what it is for, which policy it was
//! made from and what was lost. The same policy always gives the same text.

mod c;
mod dify;
mod k8s;
mod kafel;
mod lists;
mod lost;
mod minijail;
mod moby;
mod oci;
mod seccompiler;
mod systemd;
mod text;

pub use c::{bpf, c};
pub use dify::{dify, dify_env, dify_go};
pub use k8s::k8s;
pub use kafel::kafel;
pub use lists::{list_names, list_numbers, numbers};
pub use minijail::minijail;
pub use moby::moby;
pub use oci::oci;
pub(crate) use oci::resolved;
pub use seccompiler::seccompiler;
pub use systemd::systemd;

use crate::CompileError;

/// Why a policy can't be emitted.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// It has no filter.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It can't be written as JSON.
    #[error("writing JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// A text for another tool, and what it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The text.
    pub text: String,
    /// What the policy says and the text can't, one sentence each.
    pub lost: Vec<String>,
}
