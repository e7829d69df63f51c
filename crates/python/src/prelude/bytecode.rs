//! The prelude compiled ahead: to take the text from its arguments and to compile it costs an interpreter an eighth of
//! its whole start.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};
use callgate_cache::{Cache, saw_way};
use serde::{Deserialize, Serialize};

use super::SOURCE;
use crate::child;
use crate::interpreter::Interpreter;

/// The program that compiles it.
const COMPILER: &str = include_str!("compile.py");

/// How long an interpreter may take to compile it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The prelude as one interpreter has compiled it; of use to that one alone (marshal, in Python's library).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytecode(Vec<u8>);

/// As it is kept: read in each run, and two thirds as long as in hexadecimal digits.
impl From<Bytecode> for String {
    fn from(Bytecode(bytes): Bytecode) -> Self {
        STANDARD.encode(bytes)
    }
}

impl TryFrom<String> for Bytecode {
    type Error = DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        STANDARD.decode(text).map(Self)
    }
}

impl fmt::Debug for Bytecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytecode({} bytes)", self.0.len())
    }
}

/// What the compiler prints; everything in hexadecimal digits.
#[derive(Deserialize)]
struct Compiled {
    bytecode: String,
    rests_on: Vec<String>,
}

impl Bytecode {
    /// The prelude as this interpreter compiles it, from the cache while neither the interpreter nor its shared
    /// objects have changed. No file of the environment takes part (`-S`). `None` where nothing is kept, as it
    /// would have to be compiled anew then, or where it does not work: the text always does.
    pub fn recall(interpreter: &Interpreter, cache: &Cache) -> Option<Self> {
        if !cache.keeps() || interpreter.implementation != "cpython" {
            return None;
        }
        let key = (&interpreter.executable, interpreter.version, SOURCE);
        let found: Result<Self, ()> = cache.recall("prelude", &key, || {
            let compiled = compile(&interpreter.executable).ok_or(())?;
            saw_way(&interpreter.executable);
            saw_way(&interpreter.real_executable);
            for path in &compiled.rests_on {
                saw_way(&path_of(path).ok_or(())?);
            }
            bytes(&compiled.bytecode).map(Self).ok_or(())
        });
        found.ok()
    }

    /// What the descriptor holds from which the interpreter reads: the bytecode, and behind it the program's bytes.
    pub fn and(&self, program: &[u8]) -> Vec<u8> {
        [&self.0, program].concat()
    }

    /// The program that reads it and runs it, for `python -c`. Not an argument itself: an interpreter copies and
    /// converts those several times.
    pub(super) fn program(&self, fd: RawFd) -> OsString {
        let length = self.0.len();
        format!("exec(__import__(\"marshal\").loads(__import__(\"posix\").read({fd}, {length})))").into()
    }
}

fn compile(executable: &Path) -> Option<Compiled> {
    let mut text = tempfile::tempfile().ok()?;
    text.write_all(SOURCE.as_bytes()).ok()?;
    let mut command = Command::new(executable);
    command.args(["-I", "-S", "-B", "-c", COMPILER]).env_clear();
    let finished = child::run_within_on(&mut command, from_start(text)?, PATIENCE).ok()?;
    match finished.status.success() {
        true => serde_json::from_slice(&finished.stdout).ok(),
        false => None,
    }
}

/// A file to be read from its start.
fn from_start(mut file: std::fs::File) -> Option<Stdio> {
    use std::io::Seek;
    file.rewind().ok()?;
    Some(file.into())
}

fn path_of(digits: &str) -> Option<PathBuf> {
    Some(PathBuf::from(OsStr::from_bytes(&bytes(digits)?)))
}

/// What hexadecimal digits stand for; `None` for anything else.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| match *pair {
            [high, low] => Some((value(high)? << 4) | value(low)?),
            _ => None,
        })
        .collect()
}
