//! A policy in the words of other tools.
//!
//! What a format can't say is never left out in silence: it is an error, or stands in
//! [`Emitted::lost`].

mod dify;
mod lists;
mod oci;
mod seccompiler;

use callgate_abi::{Action, Arch};

pub use dify::dify;
pub use lists::{list_names, list_numbers, numbers};
pub use oci::oci;
pub use seccompiler::seccompiler;

use crate::{CompileError, Policy, compile};

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

/// What a format loses that has one answer for all numbers it does not name, known or not.
fn unknown_lost(policy: &Policy, there: Action) -> Option<String> {
    let here = policy.unknown.action(there);
    (here != there).then(|| format!("numbers above the newest known call get {here}; there {there}"))
}

/// The program as bytes, as `bwrap --seccomp FD` reads it: 8 per instruction, little-endian.
///
/// # Errors
/// [`EmitError::Compile`] if the policy has no filter that the kernel would take.
pub fn bpf(policy: &Policy, arch: Arch) -> Result<Vec<u8>, EmitError> {
    Ok(compile(policy, arch)?.link()?.to_bytes())
}
