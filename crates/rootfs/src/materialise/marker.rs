//! The file by which a built root is known: what was built, and whether to the end.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::plan::Plan;
use crate::python::PythonInside;
use crate::traced::TracedFrom;

/// The marker's name, in the root's top directory. Only its owner can read it, as it speaks of the host.
pub const MARKER: &str = ".callgate-root.json";
/// The marker's schema.
pub const ROOT_SCHEMA: &str = "callgate.root/1";

/// The content of the marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marker {
    pub(crate) schema: String,
    /// False while it is being built, and for ever if that was interrupted.
    pub(crate) complete: bool,
    /// SHA-256 over everything the root holds by path, kind, size and time.
    pub(crate) key: String,
    pub(crate) python: Option<PythonInside>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// The trace whose files it holds, if it was built from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traced_from: Option<TracedFrom>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// The plan's entries: kind and path, in sentences for people.
    pub(crate) entries: Vec<String>,
    pub(crate) notes: Vec<String>,
}

/// Why a directory can't be used as a root that callgate built.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no marker in it.
    #[error("{dir:?} is not a root that callgate built: make one with `callgate root build`")]
    NotOurs {
        /// The directory.
        dir: PathBuf,
    },
    /// The marker says that building didn't come to its end.
    #[error("building the root {dir:?} was interrupted or is under way: run `callgate root build` again")]
    Incomplete {
        /// The directory.
        dir: PathBuf,
    },
    /// The marker is of another version, or damaged.
    #[error(
        "the root {dir:?} has a marker that isn't {ROOT_SCHEMA} ({why}): build it again in an empty directory"
    )]
    Marker {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It can't be read.
    #[error("opening the root {dir:?} failed: {source}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Marker {
    pub(crate) fn of(plan: &Plan, key: String, files: u64, bytes: u64) -> Self {
        Marker {
            schema: ROOT_SCHEMA.to_owned(),
            complete: false,
            key,
            python: plan.python().cloned(),
            program: plan.program().map(Path::to_owned),
            uid: plan.identity().map(|identity| identity.uid),
            gid: plan.identity().map(|identity| identity.gid),
            traced_from: plan.traced_from().cloned(),
            files,
            bytes,
            entries: plan
                .iter()
                .map(|(path, entry)| format!("{} {}", entry.kind(), path.display()))
                .collect(),
            notes: plan.notes().to_vec(),
        }
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, OpenError> {
        let dir = dir.to_owned();
        let bytes = match fs::read(dir.join(MARKER)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_dir() => {
                return Err(OpenError::NotOurs { dir });
            }
            Err(source) => return Err(OpenError::Io { dir, source }),
        };
        let marker: Marker = match serde_json::from_slice(&bytes) {
            Ok(marker) => marker,
            Err(error) => {
                return Err(OpenError::Marker {
                    dir,
                    why: error.to_string(),
                });
            }
        };
        if marker.schema != ROOT_SCHEMA {
            return Err(OpenError::Marker {
                dir,
                why: marker.schema,
            });
        }
        Ok(marker)
    }

    /// Written whole: never half a marker, and never a marker before what it promises.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(MARKER).tempfile_in(dir)?;
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o600))?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.flush()?;
        file.persist(dir.join(MARKER))?;
        Ok(())
    }

    /// The program that the root is for.
    pub(crate) fn main(&self) -> Option<&Path> {
        self.python
            .as_ref()
            .map(|python| python.executable.as_path())
            .or(self.program.as_deref())
    }
}

/// A root that callgate built, to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltRoot {
    /// The directory on the host.
    pub dir: PathBuf,
    /// The Python in it.
    pub python: Option<PythonInside>,
    /// The program it was built for, when that isn't Python.
    pub program: Option<PathBuf>,
    /// Whose name its `/etc/passwd` holds.
    pub identity: Option<Identity>,
    /// Changes when anything in it does.
    pub key: String,
    /// What was left out when it was built.
    pub notes: Vec<String>,
}

/// Opens a directory that [`materialise`](crate::materialise) built.
///
/// # Errors
/// [`OpenError`]: not one of ours, not complete, not readable.
pub fn open(dir: &Path) -> Result<BuiltRoot, OpenError> {
    let marker = Marker::read(dir)?;
    if !marker.complete {
        return Err(OpenError::Incomplete { dir: dir.to_owned() });
    }
    let identity = marker.uid.zip(marker.gid).map(|(uid, gid)| Identity { uid, gid });
    let dir = dir.canonicalize().map_err(|source| OpenError::Io {
        dir: dir.to_owned(),
        source,
    })?;
    let Marker {
        python,
        program,
        key,
        notes,
        ..
    } = marker;
    Ok(BuiltRoot {
        dir,
        python,
        program,
        identity,
        key,
        notes,
    })
}
