//! What the commands read: probes with their interpreter, policies, traces.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use callgate_cache::Cache;
use callgate_policy::{MAX_BYTES, Policy, shipped};
use callgate_python::environment;
use callgate_python::interpreter::Interpreter;
use callgate_python::metadata::ScriptMetadata;
use callgate_trace::Trace;

use crate::args::PythonArgs;
use crate::failure::Failure;
use crate::{kept, progress};

/// A Python script with what runs it.
pub(crate) struct Script {
    pub(crate) code: Vec<u8>,
    /// The name that it has in tracebacks.
    pub(crate) name: String,
    pub(crate) interpreter: Interpreter,
    /// What earlier runs found out about that and more.
    pub(crate) cache: Arc<Cache>,
}

/// Reads a script and prepares the environment that it asks for.
pub(crate) fn script(path: &Path, python: &PythonArgs) -> Result<Script, Failure> {
    let (code, name) = bytes(path)?;
    let cache = kept::open(&python.cache);
    let interpreter = interpreter(Some((&code, &name)), python.python.as_deref(), &cache)?;
    Ok(Script {
        code,
        name,
        interpreter,
        cache,
    })
}

/// A file that is given to the code as it is; `flag` is named if it can't be opened.
pub(crate) fn open(path: &Path, flag: &str) -> Result<File, Failure> {
    let refuse = |error: &str| Failure::input(format!("{flag} {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| refuse(&error.to_string()))?;
    if file.metadata().is_ok_and(|meta| meta.is_dir()) {
        return Err(refuse("it is a directory"));
    }
    Ok(file)
}

/// Paths of the host as seen from everywhere; `flag` is named if one is not there.
pub(crate) fn absolute(paths: &[PathBuf], flag: &str) -> Result<Vec<PathBuf>, Failure> {
    let refuse = |path: &PathBuf, error| Failure::input(format!("{flag} {}: {error}", path.display()));
    paths
        .iter()
        .map(|path| {
            std::fs::metadata(path).map_err(|error| refuse(path, error))?;
            // A path with `..` is not one that a root can have.
            let dotted = path
                .components()
                .any(|part| part == std::path::Component::ParentDir);
            let whole = if dotted {
                path.canonicalize()
            } else {
                std::path::absolute(path)
            };
            whole.map_err(|error| refuse(path, error))
        })
        .collect()
}

/// The interpreter for a script: the given one as it is, or one with the script's dependencies.
pub(crate) fn interpreter(
    script: Option<(&[u8], &str)>,
    python: Option<&Path>,
    found: &Cache,
) -> Result<Interpreter, Failure> {
    if let Some(path) = python {
        return Interpreter::recall(path, found).map_err(Failure::input);
    }
    let metadata = match script {
        Some((code, name)) => {
            ScriptMetadata::read(code).map_err(|error| Failure::input(format!("{name}: {error}")))?
        }
        None => None,
    };
    let path = Interpreter::find().map_err(Failure::input)?;
    let base = Interpreter::recall(&path, found).map_err(Failure::input)?;
    let Some(metadata) = metadata else { return Ok(base) };
    let cache = environment::cache_dir().map_err(Failure::input)?;
    let request = environment::Request {
        base: &base,
        metadata: Some(&metadata),
        cache: &cache,
        found,
    };
    let spinner = progress::Spinner::new();
    let prepared = environment::prepare(&request, &mut |step| {
        spinner.say(&progress::environment_step(&step))
    });
    spinner.end();
    Ok(prepared.map_err(Failure::input)?.interpreter)
}

/// The most that is read of any input: half a gigabyte. What is longer, or has no end, is the wrong file.
const MOST: u64 = 512 << 20;

/// The bytes of a file (or of standard input, for `-`) and the name they go by.
pub(crate) fn bytes(path: &Path) -> Result<(Vec<u8>, String), Failure> {
    at_most(path, MOST)
}

/// The same, for inputs that are never longer than this; nothing is read of a file that is.
fn at_most(path: &Path, most: u64) -> Result<(Vec<u8>, String), Failure> {
    let long = |name: &str, length: String| {
        Failure::input(format!(
            "{name}: {length} bytes are too many (at most {most}): is this the right file?"
        ))
    };
    // One byte more than is allowed shows that there is more.
    let all = |reader: &mut dyn Read, name: &str| {
        let mut code = Vec::new();
        reader
            .take(most + 1)
            .read_to_end(&mut code)
            .map_err(|error| unreadable(name, &error))?;
        match code.len() as u64 > most {
            true => Err(long(name, format!("more than {most}"))),
            false => Ok(code),
        }
    };
    if path == Path::new("-") {
        let code = all(&mut std::io::stdin().lock(), "standard input")?;
        return Ok((code, "<stdin>".to_owned()));
    }
    let name = path.display().to_string();
    let mut file = std::fs::File::open(path).map_err(|error| unreadable(&name, &error))?;
    match file.metadata() {
        Ok(meta) if meta.is_file() && meta.len() > most => Err(long(&name, meta.len().to_string())),
        _ => Ok((all(&mut file, &name)?, name)),
    }
}

fn unreadable(name: &str, error: &std::io::Error) -> Failure {
    let advice = match error.kind() {
        std::io::ErrorKind::NotFound => Some("check the path; - reads standard input".to_owned()),
        std::io::ErrorKind::IsADirectory => Some("name a file in it".to_owned()),
        _ => None,
    };
    Failure::input(format!("can't read {name}: {error}")).with_advice(advice)
}

/// The text of a file or of standard input.
pub(crate) fn text(path: &Path) -> Result<(String, String), Failure> {
    decoded(bytes(path)?)
}

fn decoded((bytes, name): (Vec<u8>, String)) -> Result<(String, String), Failure> {
    let text =
        String::from_utf8(bytes).map_err(|error| Failure::input(format!("{name} is not text: {error}")))?;
    Ok((text, name))
}

/// A trace.
pub(crate) fn trace(path: &Path) -> Result<Trace, Failure> {
    let (text, name) = text(path)?;
    Trace::from_json(&text).map_err(|error| Failure::input(format!("{name}: {error}")))
}

/// A policy as it was given.
pub(crate) struct PolicyText {
    pub(crate) text: String,
    /// What it is called in errors.
    pub(crate) name: String,
}

impl PolicyText {
    /// What it says.
    pub(crate) fn parsed(&self) -> Result<Policy, Failure> {
        Policy::parse(&self.text).map_err(|error| Failure::input(format!("{}: {error}", self.name)))
    }
}

/// A policy: the name of a shipped one, or a file (`-` for standard input).
pub(crate) fn policy(source: &str) -> Result<Policy, Failure> {
    policy_text(source)?.parsed()
}

/// A policy, and the text that it was read from.
pub(crate) fn policy_and_text(source: &str) -> Result<(Policy, String), Failure> {
    let policy = policy_text(source)?;
    Ok((policy.parsed()?, policy.text))
}

/// The text of a policy.
pub(crate) fn policy_text(source: &str) -> Result<PolicyText, Failure> {
    let (text, name) = match shipped::get(source) {
        Some(text) => (text.to_owned(), source.to_owned()),
        None if source != "-" && !Path::new(source).exists() => {
            let names = shipped::names().join(", ");
            let advice = format!("name a file, or one of the shipped policies: {names}");
            return Err(Failure::input(format!("no policy {source:?}")).with_advice(Some(advice)));
        }
        None => decoded(at_most(Path::new(source), MAX_BYTES as u64)?)?,
    };
    Ok(PolicyText { text, name })
}

/// A command's program: looked up on the PATH unless it has a slash. Exit code 127 if it is not there.
pub(crate) fn program(name: &OsStr, not_found: u8) -> Result<PathBuf, Failure> {
    let given = Path::new(name);
    let found = if given.components().count() > 1 || name.as_encoded_bytes().contains(&b'/') {
        given
            .canonicalize()
            .ok()
            .map(|_| std::path::absolute(given).unwrap_or(given.to_owned()))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|dir| dir.join(given))
            .find(|path| is_executable(path))
    };
    found.ok_or_else(|| {
        Failure::new(not_found, format!("command not found: {}", given.display()))
            .with_advice(Some("name it with its path, or check the PATH".to_owned()))
    })
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// `NAME=VALUE` pairs.
pub(crate) fn variables(given: &[OsString]) -> Result<Vec<(OsString, OsString)>, Failure> {
    use std::os::unix::ffi::OsStrExt;
    let pair = |variable: &OsString| {
        let bytes = variable.as_bytes();
        let at = bytes
            .iter()
            .position(|b| *b == b'=')
            .filter(|at| *at > 0)
            .ok_or_else(|| {
                Failure::input(format!(
                    "--env {}: expected NAME=VALUE",
                    variable.to_string_lossy()
                ))
            })?;
        Ok((
            OsStr::from_bytes(&bytes[..at]).to_owned(),
            OsStr::from_bytes(&bytes[at + 1..]).to_owned(),
        ))
    };
    given.iter().map(pair).collect()
}
