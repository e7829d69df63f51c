//! The standard streams of a run.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{OutputFlags, tcgetattr};
use nix::unistd::pipe2;

use super::program::Program;
use super::request::{Input, Io, Run, Stream};
use super::system;
use crate::capture::{Capture, Drained, Sink};
use crate::limits::Limits;
use crate::outcome::{Captured, Outcome, SetUpFailure};
use crate::setup::Streams;
use crate::sys;

/// The streams that go through our hands.
#[derive(Default)]
pub(crate) struct Captures(Vec<Capture>);

/// Opens them: what the code gets, and our ends of what is captured.
pub(crate) fn streams(run: &Run) -> Result<(Streams, Captures), SetUpFailure> {
    match &run.input {
        Input::Ours => no_directory("stdin", io::stdin().as_fd())?,
        Input::File(file) => no_directory("stdin", file.as_fd())?,
        Input::Empty => {}
    }
    if run.io == Io::Inherit {
        no_directory("stdout", io::stdout().as_fd())?;
        no_directory("stderr", io::stderr().as_fd())?;
    }
    let stdin = match &run.input {
        Input::Ours => None,
        Input::Empty => Some(File::open("/dev/null").map_err(system("open /dev/null"))?),
        Input::File(file) => Some(file.try_clone().map_err(system("dup of the input"))?),
    }
    .map(OwnedFd::from);
    let limit = match (run.io, run.limits.output) {
        (Io::Inherit, None) => {
            let mut streams = Streams {
                stdin,
                ..Streams::default()
            };
            let captures = match run.look_for_lacks {
                true => overhear(run, &mut streams).map_err(system("listening to the output"))?,
                false => Captures::default(),
            };
            return Ok((streams, captures));
        }
        (_, Some(limit)) => limit,
        (Io::Capture, None) => Limits::CAPTURED,
    };
    let pipe = || {
        let ends = pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
        ends.map_err(system("capturing the output"))
    };
    let ((out, stdout), (err, stderr)) = (pipe()?, pipe()?);
    let start = |ends| Capture::start(limit, ends).map_err(system("capturing the output"));
    let passed = |ours: BorrowedFd<'_>| {
        let ours = ours
            .try_clone_to_owned()
            .map_err(system("capturing the output"))?;
        Ok(Sink::Passed(ours.into()))
    };
    let kept = || Sink::Kept(run.listener.clone());
    let captures = match run.io {
        Io::Capture => vec![start(vec![
            (Stream::Stdout, out, kept()),
            (Stream::Stderr, err, kept()),
        ])?],
        // Who doesn't take the one holds up that one alone.
        Io::Inherit => vec![
            start(vec![(Stream::Stdout, out, passed(io::stdout().as_fd())?)])?,
            start(vec![(Stream::Stderr, err, passed(io::stderr().as_fd())?)])?,
        ],
    };
    Ok((
        Streams {
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
        },
        Captures(captures),
    ))
}

/// Fails if a stream is a directory: with one open the code could leave its root (chroot(2)).
fn no_directory(name: &str, stream: BorrowedFd<'_>) -> Result<(), SetUpFailure> {
    let file = stream.try_clone_to_owned().map(File::from);
    let data = file.and_then(|file| file.metadata()).map_err(system("fstat"))?;
    match data.is_dir() {
        true => Err(SetUpFailure {
            step: name.to_owned(),
            error: "it is a directory, by which the code could leave its root".to_owned(),
            advice: Some("give it a file, a pipe or /dev/null".to_owned()),
        }),
        false => Ok(()),
    }
}

/// Listens to what goes to our own standard error, so that it can be told what the code missed: it passes through
/// our hands, and the code sees what it would see without us. Not where that is uncertain.
fn overhear(run: &Run, streams: &mut Streams) -> io::Result<Captures> {
    let ours = io::stderr();
    let id = |file: &File| {
        file.metadata()
            .map(|meta| (meta.dev(), meta.ino(), meta.file_type()))
    };
    let Ok(to) = ours.as_fd().try_clone_to_owned().map(File::from) else {
        return Ok(Captures::default());
    };
    let err = id(&to)?;
    if to.is_terminal() {
        // A command may be one that asks its terminal for more than to show text.
        if matches!(run.program, Program::Command { .. }) {
            return Ok(Captures::default());
        }
        let (master, slave) = terminal_like(&to)?;
        streams.stderr = Some(slave);
        return through(master, to);
    }
    if err.2.is_char_device() {
        return Ok(Captures::default());
    }
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    let captures = through(reader, to)?;
    // Of two streams to one place the order stays, as both go through one pipe.
    let out = io::stdout().as_fd().try_clone_to_owned().map(File::from);
    if out.and_then(|out| id(&out)).is_ok_and(|out| out == err) {
        streams.stdout = Some(writer.try_clone()?);
    }
    streams.stderr = Some(writer);
    Ok(captures)
}

/// Standard error, all of which goes on to ours.
fn through(from: OwnedFd, to: File) -> io::Result<Captures> {
    let all = vec![(Stream::Stderr, from, Sink::Through(to))];
    Ok(Captures(vec![Capture::start(u64::MAX, all)?]))
}

/// A terminal of the code's own that looks like ours: our end, and the code's. Nothing is made of what is
/// written to it, as ours does that.
fn terminal_like(ours: &File) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut like = tcgetattr(ours)?;
    like.output_flags.remove(OutputFlags::OPOST);
    let OpenptyResult { master, slave } = openpty(sys::window_size(ours.as_fd()).as_ref(), &like)?;
    for end in [&master, &slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok((master, slave))
}

/// Puts what was captured into the outcome; returns the end of the standard error, if it is known.
pub(super) fn finish(captures: Captures, kept: bool, outcome: &mut Outcome) -> Option<Vec<u8>> {
    let (mut stdout, mut stderr) = (None, None);
    for (stream, drained) in captures.0.into_iter().flat_map(Capture::finish) {
        let (name, place) = match stream {
            Stream::Stdout => ("stdout", &mut stdout),
            Stream::Stderr => ("stderr", &mut stderr),
        };
        if drained.cut {
            outcome.truncated.push(name.to_owned());
        }
        *place = Some(drained);
    }
    let tail = stderr.as_ref().map(|stderr| stderr.tail.clone());
    if kept {
        let bytes = |drained: Option<Drained>| drained.map(|drained| drained.kept).unwrap_or_default();
        let captured = Captured {
            stdout: bytes(stdout),
            stderr: bytes(stderr),
        };
        let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
        outcome.stdout = text(&captured.stdout);
        outcome.stderr = text(&captured.stderr);
        outcome.captured = Some(captured);
    }
    tail
}
