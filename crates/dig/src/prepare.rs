//! Turns a request into a launch: the command as it is, or the interpreter with the prelude.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use callgate_launch::{Launch, Step, memory_file};
use callgate_python::prelude;
use callgate_trace::Python;

use crate::error::DigError;
use crate::request::{Request, Target};

/// What is known of a probe that is ready to start.
pub(crate) struct Prepared {
    pub(crate) command: Vec<String>,
    pub(crate) python: Option<Python>,
    pub(crate) script: bool,
    /// The files that the command line names.
    pub(crate) named: Vec<PathBuf>,
    /// The descriptor that the code comes by; the child has its own copy once it runs.
    pub(crate) code: Option<OwnedFd>,
}

/// The program and the arguments that are files, absolute: a script that an interpreter runs is one of them.
fn named(program: &Path, argv: &[OsString]) -> Vec<PathBuf> {
    let arguments = argv.iter().skip(1).map(Path::new);
    std::iter::once(program)
        .chain(arguments)
        .filter(|path| path.is_file())
        .filter_map(|path| std::path::absolute(path).ok())
        .collect()
}

/// Makes the launch that a request asks for.
pub(crate) fn prepare(request: &Request) -> Result<(Launch, Prepared), DigError> {
    let env = request.env.iter().map(|(name, value)| {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        variable
    });
    let text = |s: &OsString| s.to_string_lossy().into_owned();
    let to_stderr = request.stdout_to_stderr.then_some(Step::Dup { from: 2, to: 1 });
    match &request.target {
        Target::Command { program, argv } => {
            let launch = Launch::new(program, argv, env)?.steps(to_stderr).step(Step::Halt);
            Ok((
                launch,
                Prepared {
                    command: argv.iter().map(text).collect(),
                    python: None,
                    script: false,
                    named: named(program, argv),
                    code: None,
                },
            ))
        }
        Target::Script {
            interpreter,
            code,
            name,
            args,
            prelude: compiled,
        } => {
            let fd = match compiled {
                Some(compiled) => memory_file(&compiled.and(code)),
                None => memory_file(code),
            };
            let fd = fd.map_err(DigError::Code)?;
            let number = fd.as_raw_fd();
            let argv = prelude::command(&interpreter.executable, compiled.as_ref(), number, name, args);
            let launch = Launch::new(&interpreter.executable, &argv, env)?
                .steps(to_stderr)
                .step(Step::Dup {
                    from: number,
                    to: number,
                })
                .step(Step::Halt);
            let mut command = vec![interpreter.executable.display().to_string(), name.clone()];
            command.extend(args.iter().map(text));
            let python = Python {
                executable: interpreter.executable.display().to_string(),
                version: interpreter.version.to_string(),
                prefix: interpreter.prefix.display().to_string(),
            };
            Ok((
                launch,
                Prepared {
                    command,
                    python: Some(python),
                    script: true,
                    named: Vec::new(),
                    code: Some(fd),
                },
            ))
        }
    }
}
