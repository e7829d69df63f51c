//! The standard streams of a run.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::request::{Input, Io, Run, Stream};
use super::system;
use crate::capture::{Capture, Sink};
use crate::limits::Limits;
use crate::outcome::{Captured, Outcome, SetUpFailure};
use crate::setup::Streams;

/// The two streams that go through our hands.
pub(crate) type Captures = (Capture, Capture);

/// Opens them: what the code gets, and our ends of what is captured.
pub(crate) fn streams(run: &Run) -> Result<(Streams, Option<Captures>), SetUpFailure> {
    let stdin = match &run.input {
        Input::Ours => None,
        Input::Empty => Some(File::open("/dev/null").map_err(system("open /dev/null"))?),
        Input::File(file) => Some(file.try_clone().map_err(system("dup of the input"))?),
    }
    .map(OwnedFd::from);
    let limit = match (run.io, run.limits.output) {
        (Io::Inherit, None) => {
            return Ok((
                Streams {
                    stdin,
                    ..Streams::default()
                },
                None,
            ));
        }
        (_, Some(limit)) => limit,
        (Io::Capture, None) => Limits::CAPTURED,
    };
    let start = |stream: Stream, ours: BorrowedFd<'_>| {
        let sink = match run.io {
            Io::Capture => Sink::Kept(run.listener.clone().map(|listener| (stream, listener))),
            Io::Inherit => Sink::Passed(ours.try_clone_to_owned()?.into()),
        };
        Capture::start(limit, sink)
    };
    let (out, stdout) =
        start(Stream::Stdout, io::stdout().as_fd()).map_err(system("capturing the output"))?;
    let (err, stderr) =
        start(Stream::Stderr, io::stderr().as_fd()).map_err(system("capturing the output"))?;
    Ok((
        Streams {
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
        },
        Some((out, err)),
    ))
}

/// Puts what was captured into the outcome.
pub(super) fn finish(captures: Captures, kept: bool, outcome: &mut Outcome) {
    let (stdout, stderr) = captures;
    let mut whole = |name: &str, capture: Capture| {
        let (bytes, cut) = capture.finish();
        if cut {
            outcome.truncated.push(name.to_owned());
        }
        bytes
    };
    let captured = Captured {
        stdout: whole("stdout", stdout),
        stderr: whole("stderr", stderr),
    };
    if kept {
        let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
        outcome.stdout = text(&captured.stdout);
        outcome.stderr = text(&captured.stderr);
        outcome.captured = Some(captured);
    }
}
