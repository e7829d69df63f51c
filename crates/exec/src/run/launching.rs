//! The command of a run, as it is launched.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use callgate_launch::{Launch, LaunchError};
use callgate_python::prelude;
use nix::errno::Errno;

use super::environment::variables;
use super::program::Program;
use super::request::Run;
use crate::node;
use crate::outcome::SetUpFailure;
use crate::setup::advice;

/// The command with its arguments and variables; `code` is the script's bytes, `home` its scratch directory
/// if that is not /tmp.
pub(super) fn launch(run: &Run, code: Option<&OwnedFd>, home: Option<&Path>) -> Result<Launch, SetUpFailure> {
    // Without its descriptor no code is run; there is one for every program that has code.
    match (&run.program, code) {
        (
            Program::Node {
                executable,
                name,
                args,
                ..
            },
            Some(fd),
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
            Some(fd),
        ) => {
            let argv = prelude::command(executable, fd.as_raw_fd(), name, args);
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
        LaunchError::Clone { source, .. } => *source,
        LaunchError::Pipe(errno) => *errno,
        LaunchError::Nul { .. } => Errno::EINVAL,
    };
    SetUpFailure {
        step: "clone".to_owned(),
        error: error.to_string(),
        advice: advice("clone", errno),
    }
}
