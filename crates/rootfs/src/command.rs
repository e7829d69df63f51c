//! What belongs in a root for one program: it, the interpreters of its `#!` line, and the objects they load.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use callgate_cache::{Part, saw};

use crate::elf::{Parsed, parse};
use crate::error::PlanError;
use crate::identity::Identity;
use crate::plan::Plan;

/// How many `#!` lines the kernel follows (execve(2)), and how much of one it reads.
const MOST_SCRIPTS: usize = 5;
const LINE: u64 = 256;

impl Plan {
    /// A root in which `program` (an absolute path) runs.
    ///
    /// Holds the program with its symlinks, the interpreters its `#!` line asks for, all shared objects they need,
    /// and [`Plan::base`]. Files that it opens by itself are not known: those of `data`, files and directories
    /// with the shared objects that they need, are in it too, as far as the host has them. For Python use
    /// [`Plan::for_python`].
    ///
    /// # Errors
    /// [`PlanError::NotFound`], [`PlanError::NotAProgram`], [`PlanError::NoScriptInterpreter`], and those of
    /// [`Plan::add_host`].
    pub fn for_command(program: &Path, data: &[PathBuf], identity: &Identity) -> Result<Plan, PlanError> {
        let mut plan = Plan::base(*identity)?;
        plan.program = Some(program.to_owned());
        let programs = plan.add_program(program)?;
        for path in data {
            plan.add_host_if_there(path)?;
        }
        plan.complete(programs)?;
        Ok(plan)
    }

    /// Adds a program and the interpreters that its `#!` line asks for; returns those of them that a loader
    /// loads, by their paths without symlinks, the one that the kernel starts first.
    pub(crate) fn add_program(&mut self, program: &Path) -> Result<Vec<PathBuf>, PlanError> {
        let mut programs = Vec::new();
        let mut script = program.to_owned();
        for _ in 0..=MOST_SCRIPTS {
            let real = self.add_host(&script)?;
            match parse(&real) {
                Parsed::Elf(_) => {
                    programs.insert(0, real);
                    return Ok(programs);
                }
                Parsed::Bad(_) => return Err(PlanError::NotAProgram { path: script }),
                Parsed::NotElf => {
                    let line =
                        shebang(&real)?.ok_or_else(|| PlanError::NotAProgram { path: script.clone() })?;
                    let (interpreter, name) = line;
                    if let Some(name) = name {
                        // `env` starts what it finds on the PATH.
                        programs.push(self.add_host(&interpreter)?);
                        script = on_path(&script, &name)?;
                    } else {
                        script = interpreter;
                    }
                    self.note_python(&script);
                }
            }
        }
        Err(PlanError::ScriptLoop {
            script: program.to_owned(),
        })
    }

    fn note_python(&mut self, interpreter: &Path) {
        let name = interpreter
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.starts_with("python")) {
            self.notes.push(format!(
                "the script is run by {}, whose library is not in this root: give it as a Python script instead",
                interpreter.display()
            ));
        }
    }
}

/// The interpreter of a `#!` line; with env(1), also the name that it looks for.
fn shebang(script: &Path) -> Result<Option<(PathBuf, Option<String>)>, PlanError> {
    let mut start = Vec::new();
    File::open(script)
        .and_then(|file| file.take(LINE).read_to_end(&mut start))
        .map_err(PlanError::io("reading", script))?;
    let Some(line) = start
        .strip_prefix(b"#!")
        .and_then(|rest| rest.split(|byte| *byte == b'\n').next())
    else {
        return Ok(None);
    };
    let mut words = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(std::ffi::OsStr::from_bytes);
    let Some(interpreter) = words.next().map(PathBuf::from).filter(|path| path.is_absolute()) else {
        return Ok(None);
    };
    let name = (interpreter.file_name() == Some("env".as_ref()))
        .then(|| {
            words
                .map(|word| word.to_string_lossy())
                .find(|word| !word.starts_with('-') && !word.contains('='))
        })
        .flatten()
        .map(|word| word.into_owned());
    Ok(Some((interpreter, name)))
}

fn on_path(script: &Path, name: &str) -> Result<PathBuf, PlanError> {
    if name.starts_with('/') {
        return Ok(PathBuf::from(name));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|candidate| {
            saw(candidate, Part::Being);
            candidate.is_file()
        })
        .ok_or_else(|| PlanError::NoScriptInterpreter {
            script: script.to_owned(),
            name: name.to_owned(),
        })
}
