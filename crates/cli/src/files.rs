//! The files that go into a run and come out of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use callgate_exec::{BroughtOut, Files, Limits, OutDirectory, OutError};

use crate::failure::{CANNOT, Failure};
use crate::terminal::{BOLD_RED, GREEN, escape};

/// So many files are named to people; all of them are in the JSON.
const NAMED: usize = 10;

/// `NAME=PATH` pairs, opened and checked.
pub(crate) fn brought_in(given: &[OsString], limits: &Limits) -> Result<Files, Failure> {
    let mut files = Files::default();
    for pair in given {
        let said = || format!("--file {}", pair.to_string_lossy());
        let bytes = pair.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=');
        let Some((name, path)) = at.map(|at| (&bytes[..at], Path::new(OsStr::from_bytes(&bytes[at + 1..]))))
        else {
            return Err(Failure::input(format!("{}: expected NAME=PATH", said())));
        };
        let added = files.open(OsStr::from_bytes(name), path);
        added.map_err(|error| Failure::input(format!("{}: {error}", said())))?;
    }
    files
        .fit(limits)
        .map_err(|error| Failure::input(format!("--file: {error}")))?;
    Ok(files)
}

/// The directory that files are brought to; it is made if there is none.
pub(crate) fn destination(path: &Path) -> Result<Arc<OutDirectory>, Failure> {
    match OutDirectory::open(path) {
        Ok(directory) => Ok(Arc::new(directory)),
        Err(error) => {
            let message = format!("--out {}: {error}", path.display());
            Err(match &error {
                OutError::NotEmpty => Failure::input(message).with_advice(Some(
                    "name a new directory, so that nothing of yours is replaced".to_owned(),
                )),
                OutError::Io(_) => Failure::input(message),
                OutError::OpenAt2(_) => Failure::new(CANNOT, message),
            })
        }
    }
}

/// Says what was brought out, and if something could not be.
pub(crate) fn print(out: &BroughtOut, to: &Path) {
    let all = out.files.len();
    let bytes: u64 = out.files.iter().map(|file| file.bytes).sum();
    let files = if all == 1 { "file" } else { "files" };
    say!(
        "{GREEN}brought out{GREEN:#} {all} {files} of {bytes} bytes to {}",
        escape(&to.display().to_string())
    );
    for file in out.files.iter().take(NAMED) {
        // As one line, whatever the name is.
        say!("  {:?} ({} bytes)", file.name, file.bytes);
    }
    if let Some(more) = all.checked_sub(NAMED).filter(|more| *more > 0) {
        say!("  and {more} more");
    }
    if let Some(error) = &out.error {
        say!(
            "{BOLD_RED}not all files could be written:{BOLD_RED:#} {}",
            escape(error)
        );
    }
}
