//! Runs a short-lived helper program to its end, within a time, and keeps what it said.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a helper program left behind.
pub(crate) struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Finished {
    /// The last lines that it wrote, standard error first: what a person needs to see why it failed.
    pub fn tail(&self) -> String {
        let text = [&self.stderr, &self.stdout]
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
            .join("\n");
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

/// Runs `command` with empty standard input, in a process group of its own, for at most `limit`.
///
/// # Errors
/// As [`Command::spawn`]; `TimedOut` after `limit`, when the whole group has been killed.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    run_within_on(command, Stdio::null(), limit)
}

/// The same with this standard input.
///
/// # Errors
/// As for [`run_within`].
pub(crate) fn run_within_on(command: &mut Command, stdin: Stdio, limit: Duration) -> io::Result<Finished> {
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(stdin)
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let streams = Streams::of(&mut child);
    let finished = streams.collect(Some(deadline)).and_then(|(stdout, stderr)| {
        Ok(Finished {
            status: wait(&mut child, deadline)?,
            stdout,
            stderr,
        })
    });
    if finished.is_err() {
        // Not reaped yet, so the group's number is still its own; ESRCH can only mean that it is gone.
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        child.wait()?;
    }
    finished
}

/// Runs `command` to its end, however long it takes, in this process's group, so that Ctrl-C ends both.
///
/// # Errors
/// As [`Command::spawn`].
pub(crate) fn run(command: &mut Command, stdin: Stdio) -> io::Result<Finished> {
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = Streams::of(&mut child).collect(None)?;
    Ok(Finished {
        status: child.wait()?,
        stdout,
        stderr,
    })
}

/// A program that has closed its streams ends at once, or is a hanging one.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

type Stream = mpsc::Receiver<io::Result<Vec<u8>>>;

/// The two output streams of a program, each read on a thread of its own.
struct Streams {
    stdout: Stream,
    stderr: Stream,
}

impl Streams {
    fn of(child: &mut Child) -> Self {
        Self {
            stdout: collect(child.stdout.take()),
            stderr: collect(child.stderr.take()),
        }
    }

    fn collect(&self, deadline: Option<Instant>) -> io::Result<(Vec<u8>, Vec<u8>)> {
        Ok((receive(&self.stdout, deadline)?, receive(&self.stderr, deadline)?))
    }
}

/// Reads a stream to its end on a thread of its own: the two pipes would block each other otherwise.
fn collect(stream: Option<impl Read + Send + 'static>) -> Stream {
    let (sender, receiver) = mpsc::channel();
    // Without a thread the stream is told as one that can't be read: its sender is gone.
    let _ = thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        let result = stream.map_or(Ok(0), |mut stream| stream.read_to_end(&mut bytes));
        // Nobody listens any more after a timeout.
        let _ = sender.send(result.map(|_| bytes));
    });
    receiver
}

fn receive(stream: &Stream, deadline: Option<Instant>) -> io::Result<Vec<u8>> {
    let received = match deadline {
        Some(deadline) => stream.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        None => stream.recv().map_err(mpsc::RecvTimeoutError::from),
    };
    match received {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("the reader of its output ended")),
    }
}
