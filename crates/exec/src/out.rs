//! Brings out what the code leaves in its work directory, when nothing of the run is alive any more.
//!
//! The names, kinds and sizes are the code's choice, so nothing of them is trusted: every path is resolved below
//! its directory without following links (openat2(2)), and only regular files are read.

mod collect;
mod destination;
mod work;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use serde::{Deserialize, Serialize};

pub(crate) use self::collect::collect;
pub use self::destination::{OutDirectory, OutError};
pub(crate) use self::work::WorkDirectory;

/// What was brought out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroughtOut {
    /// Every file, in the order of their names.
    pub files: Vec<OutFile>,
    /// How many entries were left where they were; the notes name them and say why.
    pub skipped: u64,
    /// Why the rest could not be written on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One file that was brought out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutFile {
    /// Its path below the work directory, and below the directory that it was brought to. Bytes that are not
    /// UTF-8 are replaced.
    pub name: String,
    /// The path's bytes in hexadecimal, if they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_hex: Option<String>,
    /// Its size.
    pub bytes: u64,
}

impl OutFile {
    fn new(name: &OsStr, bytes: u64) -> Self {
        let hex = |name: &OsStr| {
            name.as_bytes().iter().fold(String::new(), |mut hex, byte| {
                // Writing to a string can't fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        };
        Self {
            name: name.to_string_lossy().into_owned(),
            name_hex: name.to_str().is_none().then(|| hex(name)),
            bytes,
        }
    }
}

/// Opens what is below a directory, on the same file system, and by no link (openat2(2), Linux 5.6).
fn beneath(directory: impl AsFd, at: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let mut flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // No pipe is waited for, and no terminal becomes ours. A mere handle takes neither flag.
    if !flags.contains(OFlag::O_PATH) {
        flags |= OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    }
    let how = OpenHow::new().flags(flags).resolve(
        ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS
            | ResolveFlag::RESOLVE_NO_XDEV,
    );
    openat2(directory, at, how)
}
