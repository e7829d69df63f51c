//! A policy from another tool's file.
//!
//! What a file says and a policy can't, what was decided for this host, and what was left out is told in
//! [`Imported::notes`]; what can't be decided is an error with its place and the mend.

mod capability;
mod detect;
mod dify;
mod k8s;
mod lists;
mod minijail;
mod moby;
mod order;
mod seccompiler;
pub mod yaml;

use callgate_abi::Arch;

pub use crate::oci::Kernel;
pub use capability::{DOCKER_CAPS, capability};
pub use detect::{Format, UnknownFormat};

use crate::{Policy, PolicyError, emit};

/// What to import, and the host that it is for.
pub struct Request<'a> {
    /// The file's format; `None`: as its text looks.
    pub format: Option<Format>,
    /// The architecture of the file's numbers and names, and the only one of the policy. `None`: formats
    /// that name every architecture keep all; the others are read as this machine's.
    pub arch: Option<Arch>,
    /// The kernel that `minKernel` is compared with.
    pub kernel: Kernel,
    /// The capabilities of the container, by full name.
    pub caps: &'a [String],
    /// The one part that is wanted of a file with several: a thread of seccompiler's, a profile's name.
    pub part: Option<&'a str>,
    /// Reads a file that is named by `@include`, relative to the file itself.
    pub include: &'a dyn Fn(&str) -> Result<String, String>,
}

/// A policy, and what should be known of how it came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The policy.
    pub policy: Policy,
    /// The format that was read.
    pub format: Format,
    /// What was resolved, dropped or assumed, one sentence each.
    pub notes: Vec<String>,
}

/// Why a file is no policy.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The text is of no known format, or of several.
    #[error(
        "the format can't be told from the text: name it with --format (oci, moby, k8s, dify, minijail, seccompiler, \
         names or numbers)"
    )]
    Unclear,
    /// It is longer than what is read as a policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Something in a line.
    #[error("{}line {line}: {what}", .file.as_ref().map(|file| format!("in {file}, ")).unwrap_or_default())]
    Line {
        /// The included file, if it is in one.
        file: Option<String>,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and the mend.
        what: String,
    },
    /// Something at a place in YAML or JSON.
    #[error("at {path}{}: {what}", .line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Place {
        /// The path: `spec.syscalls[3].names[7]`.
        path: String,
        /// The line, from 1, where it is known.
        line: Option<usize>,
        /// What is wrong, and the mend.
        what: String,
    },
    /// The file has several parts, or not the wanted one.
    #[error("{0}")]
    Part(String),
}

/// Makes a policy of another tool's file.
///
/// # Errors
/// [`ImportError`], with the place of the fault.
pub fn import(text: &str, request: &Request<'_>) -> Result<Imported, ImportError> {
    if text.len() > crate::MAX_BYTES {
        return Err(PolicyError::TooLong { bytes: text.len() }.into());
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let format = match request.format {
        Some(format) => format,
        None => detect::detect(text).ok_or(ImportError::Unclear)?,
    };
    let mut notes = Vec::new();
    let arch = request.arch.unwrap_or(Arch::NATIVE);
    let mut policy = match format {
        Format::Oci | Format::Moby => moby::read(text, request, &mut notes)?,
        Format::K8s => k8s::read(text, arch, request, &mut notes)?,
        Format::Dify => dify::read(text, arch, &mut notes)?,
        Format::Minijail => minijail::read(text, arch, request.include, &mut notes)?,
        Format::Seccompiler => seccompiler::read(text, arch, request.part, &mut notes)?,
        Format::Names => lists::names(text)?,
        Format::Numbers => lists::numbers(text, arch, &mut notes)?,
    };
    let bound = matches!(
        format,
        Format::Dify | Format::Minijail | Format::Seccompiler | Format::Numbers
    );
    match (request.arch, bound) {
        (None, true) => notes.push(format!(
            "read as {arch}'s, which is this machine; --arch names another"
        )),
        (Some(arch), false) => policy = emit::resolved(&policy, arch),
        _ => {}
    }
    if bound {
        policy.architectures = vec![arch.scmp_name().to_owned()];
    }
    Ok(Imported {
        policy,
        format,
        notes,
    })
}
