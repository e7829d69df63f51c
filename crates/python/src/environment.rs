//! Cached environments: an interpreter that has what a script's PEP 723 block asks for.
//!
//! An environment lies at `CACHE/envs/NAME`, where it stays: installers write absolute paths into
//! scripts and bytecode, so building elsewhere and renaming would leave wrong ones in tracebacks.
//! Instead `NAME.lock` beside it is held while it is built, and `callgate-environment.json` in it is
//! written last. A directory without that file was interrupted, and is built anew.

mod error;
mod record;
mod tool;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use callgate_cache::Cache;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;

pub use self::error::EnvironmentError;
use self::record::Record;
pub use self::tool::Tool;
use crate::interpreter::Interpreter;
use crate::metadata::ScriptMetadata;

/// What an environment is wanted for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The interpreter to build on, or to use as it is.
    pub base: &'a Interpreter,
    /// The script's block, if it has one.
    pub metadata: Option<&'a ScriptMetadata>,
    /// callgate's cache directory; [`cache_dir`] gives the usual one.
    pub cache: &'a Path,
    /// What earlier runs found out about interpreters.
    pub found: &'a Cache,
}

/// An interpreter that has what the script asks for.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The interpreter to run the script with.
    pub interpreter: Interpreter,
    /// Whether it was built just now, rather than found in the cache or used as it is.
    pub built: bool,
    /// The tool that built it; `None` if the base interpreter is used as it is.
    pub tool: Option<Tool>,
    /// The distributions that it can import, `name==version`, sorted.
    pub packages: Vec<String>,
}

/// A stage of the preparation that takes long enough to tell the user about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Another process is building the same environment.
    Waiting {
        /// The environment's directory.
        path: &'a Path,
    },
    /// The environment is being created.
    Creating {
        /// The environment's directory.
        path: &'a Path,
        /// The tool at work.
        tool: Tool,
    },
    /// The dependencies are being installed.
    Installing {
        /// The requirements as the script has them.
        dependencies: &'a [String],
        /// The tool at work.
        tool: Tool,
    },
}

/// callgate's cache directory: `$XDG_CACHE_HOME/callgate`, or `~/.cache/callgate`, or for a superuser without either
/// (a service) `/var/cache/callgate`.
///
/// As the XDG base directory specification says, a relative `XDG_CACHE_HOME` is ignored.
///
/// # Errors
/// [`EnvironmentError::NoCache`] for anybody else if neither variable names an absolute directory.
pub fn cache_dir() -> Result<PathBuf, EnvironmentError> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .or_else(|| geteuid().is_root().then(|| PathBuf::from("/var/cache")))
        .map(|cache| cache.join("callgate"))
        .ok_or(EnvironmentError::NoCache)
}

/// Finds or builds the environment that a script asks for.
///
/// A script without dependencies gets the base interpreter itself. The same dependencies on the same
/// interpreter get the same environment, whatever their order; newer releases of a dependency are
/// looked for only when it is built. `uv` builds if it is on the PATH, else `python -m venv` and pip;
/// both are left to their own configuration (indexes, proxies). Concurrent calls wait for each other.
///
/// # Errors
/// [`EnvironmentError`]; nothing half-built is ever returned.
pub fn prepare(
    request: &Request<'_>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Environment, EnvironmentError> {
    let base = request.base;
    let metadata = request.metadata.cloned().unwrap_or_default();
    if let Some(specifier) = &metadata.requires_python {
        check_version(specifier, base)?;
    }
    if metadata.dependencies.is_empty() {
        let packages = tool::packages(base)?;
        return Ok(Environment {
            interpreter: base.clone(),
            built: false,
            tool: None,
            packages,
        });
    }

    let tool = Tool::detect();
    let wanted = Record::wanted(&metadata, base, tool.kind());
    let envs = request.cache.join("envs");
    let path = envs.join(wanted.directory_name());
    fs::create_dir_all(&envs).map_err(error::file("create", &envs))?;
    let lock = lock(&path, progress)?;

    let found = Record::read(&path)?.filter(|record| record.same_request(&wanted));
    if let Some(record) = found {
        // If its interpreter no longer runs (the base was removed), it has to be built again.
        if let Ok(interpreter) = Interpreter::recall(&python_of(&path), request.found) {
            let packages = record.packages;
            return Ok(Environment {
                interpreter,
                built: false,
                tool: Some(tool.kind()),
                packages,
            });
        }
    }
    match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error::file("remove", &path)(error));
        }
        _ => {}
    }
    progress(Step::Creating {
        path: &path,
        tool: tool.kind(),
    });
    tool.create(base, &path, &lock)?;
    progress(Step::Installing {
        dependencies: &metadata.dependencies,
        tool: tool.kind(),
    });
    tool.install(&python_of(&path), &wanted.dependencies, &path, &lock)?;
    let interpreter = Interpreter::recall(&python_of(&path), request.found)?;
    let packages = tool::packages(&interpreter)?;
    wanted.complete(&packages, &path)?;
    Ok(Environment {
        interpreter,
        built: true,
        tool: Some(tool.kind()),
        packages,
    })
}

/// The interpreter's place in an environment, by the layout of `venv`.
fn python_of(environment: &Path) -> PathBuf {
    environment.join("bin/python")
}

/// Checks PEP 440's `requires-python` against the base interpreter.
fn check_version(specifier: &str, base: &Interpreter) -> Result<(), EnvironmentError> {
    let parsed: pep440_rs::VersionSpecifiers =
        specifier.parse().map_err(|source| EnvironmentError::Specifier {
            specifier: specifier.to_owned(),
            source,
        })?;
    let version = base.version;
    let parts = [version.major, version.minor, version.micro].map(u64::from);
    if parsed.contains(&pep440_rs::Version::new(parts)) {
        return Ok(());
    }
    Err(EnvironmentError::RequiresPython {
        specifier: specifier.to_owned(),
        version,
        executable: base.executable.clone(),
    })
}

/// Takes the lock of an environment, and tells if that means waiting for another process.
fn lock(path: &Path, progress: &mut dyn FnMut(Step<'_>)) -> Result<Flock<File>, EnvironmentError> {
    let lock_path = path.with_extension("lock");
    let failed = |errno: Errno| error::file("lock", &lock_path)(errno.into());
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&lock_path)
        .map_err(error::file("open", &lock_path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((file, Errno::EWOULDBLOCK)) => {
            progress(Step::Waiting { path });
            Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno))
        }
        Err((_, errno)) => Err(failed(errno)),
    }
}
