//! Reads what the code writes, up to a limit, without ever holding it up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::run::{Listener, Stream};
use crate::workers::{self, Task};

/// One output stream of the code.
pub(crate) struct Capture {
    reader: Task<Drained>,
    /// Closed when the run is over.
    running: OwnedFd,
}

/// What came of a stream.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// The bytes that were kept.
    pub(crate) kept: Vec<u8>,
    /// Whether it was longer than its limit.
    pub(crate) cut: bool,
    /// Its last bytes, whatever the limit.
    pub(crate) tail: Vec<u8>,
}

/// How much of a stream's end is known.
const TAIL: usize = 64 << 10;

impl Drained {
    fn end_with(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL {
            self.tail.drain(..self.tail.len() - TAIL);
        }
    }
}

/// Where the first bytes go.
pub(crate) enum Sink {
    /// They are kept, and told to who listens.
    Kept(Option<(Stream, Listener)>),
    /// To this stream of ours.
    Passed(File),
    /// All to this stream of ours, as if the code held it: when nobody reads it any more, the code is told.
    Through(File),
}

impl Capture {
    /// A pipe whose reading end is read to its end: all of it, but only the first `limit` bytes go on.
    /// Returns the writing end.
    pub(crate) fn start(limit: u64, sink: Sink) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        Ok((Self::of(read, limit, sink)?, write))
    }

    /// The same of a stream whose writing end is there.
    pub(crate) fn of(read: OwnedFd, limit: u64, sink: Sink) -> io::Result<Self> {
        let (over, running) = pipe2(OFlag::O_CLOEXEC)?;
        let drain = Drain {
            from: File::from(read),
            over,
            limit,
            sink,
        };
        let reader = workers::spawn(move || drain.run())?;
        Ok(Self { reader, running })
    }

    /// What came of it. For a run that is over: what is in the pipe
    /// is read, and nobody is waited for who holds its writing end still.
    pub(crate) fn finish(self) -> Drained {
        drop(self.running);
        // A reader that panicked has lost its bytes: that counts as cut.
        self.reader.join().unwrap_or(Drained {
            cut: true,
            ..Drained::default()
        })
    }
}

struct Drain {
    from: File,
    /// Ends when the run is over.
    over: OwnedFd,
    limit: u64,
    sink: Sink,
}

impl Drain {
    fn run(self) -> Drained {
        let mut drained = Drained::default();
        let lost = self.drain(&mut drained);
        drained.cut |= lost;
        drained
    }

    /// Reads to the end; returns whether something may be lost.
    fn drain(mut self, drained: &mut Drained) -> bool {
        // A quarter of what a pipe holds by default: it is cleared for each stream, and most say little.
        let mut chunk = [0; 16 << 10];
        let mut left = self.limit;
        // A pipe that the code has enlarged holds 1 MiB (pipe(7)): more than that was not written by it.
        let mut rest = 1 << 20;
        let mut over = false;
        loop {
            if !over && self.is_over() {
                over = true;
                if fcntl(&self.from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
                    return true;
                }
            }
            match self.from.read(&mut chunk) {
                Ok(0) => return false,
                Ok(read) => {
                    let room = read.min(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= room as u64;
                    drained.cut |= room < read;
                    drained.end_with(chunk.get(..read).unwrap_or_default());
                    let first = chunk.get(..room).unwrap_or_default();
                    match &self.sink {
                        Sink::Kept(heard) => {
                            drained.kept.extend_from_slice(first);
                            if let (Some((stream, listener)), false) = (heard, first.is_empty()) {
                                listener.tell(*stream, first);
                            }
                        }
                        // A reader that has gone away has seen enough.
                        Sink::Passed(to) => drop((&*to).write_all(first)),
                        // With our end closed its next write fails, as it would have.
                        Sink::Through(to) => {
                            if pass(to, first).is_err() {
                                return false;
                            }
                        }
                    }
                    if over {
                        if read >= rest {
                            return true;
                        }
                        rest -= read;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if over && error.kind() == io::ErrorKind::WouldBlock => return false,
                // A terminal whose other end nobody holds any more.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Waits for bytes or for the end of the run.
    fn is_over(&self) -> bool {
        loop {
            let mut both = [
                PollFd::new(self.over.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.from.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut both, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(_) => return true,
                Ok(_) => return both.first().is_some_and(|over| over.any() != Some(false)),
            }
        }
    }
}

/// Writes all, also to a stream that somebody has made non-blocking.
fn pass(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut ready, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_flagged_and_never_blocks() {
        let (capture, write) = Capture::start(1000, Sink::Kept(None)).unwrap();
        let mut write = File::from(write);
        for _ in 0..100 {
            write.write_all(&[b'x'; 10_000]).unwrap();
        }
        drop(write);
        let Drained { kept, cut, tail } = capture.finish();
        assert_eq!(kept.len(), 1000);
        assert!(cut && tail.len() >= TAIL);
    }

    #[test]
    fn who_listens_hears_what_is_kept_and_no_more() {
        use std::sync::{Arc, Mutex};
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        let listener = Listener::new(move |stream, bytes: &[u8]| {
            assert_eq!(stream, Stream::Stderr);
            all.lock().unwrap().extend_from_slice(bytes);
        });
        let (capture, write) = Capture::start(5, Sink::Kept(Some((Stream::Stderr, listener)))).unwrap();
        File::from(write).write_all(b"said and cut").unwrap();
        let Drained { kept, cut, .. } = capture.finish();
        assert_eq!((kept.as_slice(), cut), (&b"said "[..], true));
        assert_eq!(*heard.lock().unwrap(), b"said ");
    }

    #[test]
    fn who_holds_the_pipe_when_the_run_is_over_is_not_waited_for() {
        let (capture, write) = Capture::start(1000, Sink::Kept(None)).unwrap();
        let mut write = File::from(write);
        write.write_all(b"said").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let told = std::thread::spawn(move || capture.finish());
        let Drained { kept, cut, tail } = told.join().unwrap();
        assert_eq!(
            (kept.as_slice(), cut, tail.as_slice()),
            (&b"said"[..], false, &b"said"[..])
        );
        drop(write);
    }

    #[test]
    fn a_stream_is_passed_on_up_to_its_limit() {
        let (to, passed) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (capture, write) = Capture::start(7, Sink::Passed(passed.into())).unwrap();
        File::from(write).write_all(b"one two three").unwrap();
        let Drained { kept, cut, tail } = capture.finish();
        assert_eq!(
            (kept.as_slice(), cut, tail.as_slice()),
            (&b""[..], true, &b"one two three"[..])
        );
        let mut text = String::new();
        File::from(to).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }
}
