//! The command of a run, as it is launched.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use callgate_launch::{Launch, LaunchError, memory_file};
use callgate_python::prelude::{Bytecode, command};
use nix::errno::Errno;

use super::environment::variables;
use super::program::{Program, Root};
use super::request::Run;
use super::system;
use crate::node;
use crate::outcome::SetUpFailure;
use crate::setup::advice;

/// What the interpreter reads by descriptor.
pub(super) struct Code {
    /// The descriptor.
    pub(super) fd: OwnedFd,
    /// What stands before the script's bytes, if the prelude is compiled already.
    prelude: Option<Bytecode>,
}

impl Code {
    /// That of a run whose program has any.
    pub(super) fn of(run: &Run) -> Result<Option<Self>, SetUpFailure> {
        let Some(code) = run.program.code() else {
            return Ok(None);
        };
        let prelude = match (&run.program, &run.root) {
            (Program::Script { executable, .. }, Root::ForPython(interpreter))
                if interpreter.executable == *executable =>
            {
                Bytecode::recall(interpreter, &run.cache)
            }
            _ => None,
        };
        let fd = match &prelude {
            Some(prelude) => memory_file(&prelude.and(code)),
            None => memory_file(code),
        };
        Ok(Some(Self {
            fd: fd.map_err(not_in_memory)?,
            prelude,
        }))
    }
}

/// Why the code could not be put into a file in memory.
fn not_in_memory(error: io::Error) -> SetUpFailure {
    let limited = error.raw_os_error() == Some(libc::EFBIG);
    SetUpFailure {
        advice: limited.then(|| {
            "files may not become so long here (ulimit -f), not even in memory: raise the limit; that of the code is --file-size"
                .to_owned()
        }),
        ..system("memfd_create")(error)
    }
}

/// The command with its arguments and variables; `home` is its scratch directory if that is not /tmp.
pub(super) fn launch(run: &Run, code: Option<&Code>, home: Option<&Path>) -> Result<Launch, SetUpFailure> {
    // Without its descriptor no code is run; there is one for every program that has code.
    match (&run.program, code) {
        (
            Program::Node {
                executable,
                name,
                args,
                ..
            },
            Some(Code { fd, .. }),
        ) => {
            let argv = node::command(executable, fd.as_raw_fd(), run.lock, name, args);
            Launch::new(executable, argv, variables(&run.env, home))
        }
        (
            Program::Script {
                executable,
                name,
                args,
                ..
            },
            Some(Code { fd, prelude }),
        ) => {
            let argv = command(executable, prelude.as_ref(), fd.as_raw_fd(), name, args);
            Launch::new(executable, argv, variables(&run.env, home))
        }
        (
            Program::Script {
                executable: program, ..
            }
            | Program::Node {
                executable: program, ..
            },
            None,
        ) => Launch::new(program, [program], variables(&run.env, home)),
        (Program::Command { program, argv }, _) => Launch::new(program, argv, variables(&run.env, home)),
    }
    .map_err(launch_failed)
}

/// Why nothing could be started.
pub(crate) fn launch_failed(error: LaunchError) -> SetUpFailure {
    let errno = match &error {
        LaunchError::Clone { source, .. } | LaunchError::Socket { source } => *source,
        LaunchError::Pipe(errno) => *errno,
        LaunchError::Nul { .. } => Errno::EINVAL,
    };
    SetUpFailure {
        step: "clone".to_owned(),
        error: error.to_string(),
        advice: advice("clone", errno),
    }
}
