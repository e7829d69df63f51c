//! Standard output and files: written whole or not at all, and quiet when the reader has gone.

use std::io::{self, Write};
use std::path::Path;

use crate::failure::Failure;

/// Writes to standard output. A reader that has gone away (`| head`) is no failure.
pub(crate) fn stdout(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(1, format!("writing to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a file whole: a temporary file beside it, then a rename. `-` is standard output.
pub(crate) fn file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path == Path::new("-") {
        return stdout(bytes);
    }
    let failed = |error: io::Error| Failure::input(format!("can't write {}: {error}", path.display()));
    // Devices and pipes (`-o /dev/null`) can't be replaced, and needn't be.
    if path.exists() && !path.is_file() {
        return std::fs::write(path, bytes).map_err(failed);
    }
    let dir = parent(path);
    let mut new = tempfile::Builder::new()
        .prefix(".callgate-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)) // less the umask
        .tempfile_in(dir)
        .map_err(failed)?;
    new.write_all(bytes).map_err(failed)?;
    new.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Refuses a file that can't be written later: what takes long must not be done in vain.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    if path == Path::new("-") || (path.exists() && !path.is_dir()) {
        return Ok(());
    }
    let why = match parent(path) {
        _ if path.is_dir() => "it is a directory".to_owned(),
        dir if dir.is_dir() => return Ok(()),
        dir => format!("there is no directory {}", dir.display()),
    };
    Err(Failure::input(format!("can't write {}: {why}", path.display())))
}

/// The directory that a file is in.
fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| Failure::new(1, error))?;
    text.push(b'\n');
    stdout(&text)
}
