//! Reads what the code writes, up to a limit, without ever holding it up.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::run::{Listener, Stream};

/// One output stream of the code.
pub(crate) struct Capture {
    reader: JoinHandle<(Vec<u8>, bool)>,
    /// Closed when the run is over.
    running: OwnedFd,
}

/// Where the first bytes go.
pub(crate) enum Sink {
    /// They are kept, and told to who listens.
    Kept(Option<(Stream, Listener)>),
    /// To this stream of ours.
    Passed(File),
}

impl Capture {
    /// A pipe whose reading end is read to its end: all of it, but only the first `limit` bytes go on.
    /// Returns the writing end.
    pub(crate) fn start(limit: u64, sink: Sink) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        let (over, running) = pipe2(OFlag::O_CLOEXEC)?;
        let drain = Drain {
            from: File::from(read),
            over,
            limit,
            sink,
        };
        let reader = std::thread::Builder::new().spawn(move || drain.run())?;
        Ok((Self { reader, running }, write))
    }

    /// The bytes that were kept, and whether the stream was cut. For a run that is over: what is in the pipe
    /// is read, and nobody is waited for who holds its writing end still.
    pub(crate) fn finish(self) -> (Vec<u8>, bool) {
        drop(self.running);
        // A reader that panicked has lost its bytes: that counts as cut.
        self.reader.join().unwrap_or((Vec::new(), true))
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
    fn run(mut self) -> (Vec<u8>, bool) {
        let mut kept = Vec::new();
        let mut cut = false;
        let mut chunk = [0; 64 << 10];
        let mut left = self.limit;
        // A pipe that the code has enlarged holds 1 MiB (pipe(7)): more than that was not written by it.
        let mut rest = 1 << 20;
        let mut over = false;
        loop {
            if !over && self.is_over() {
                over = true;
                if fcntl(&self.from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
                    return (kept, true);
                }
            }
            match self.from.read(&mut chunk) {
                Ok(0) => return (kept, cut),
                Ok(read) => {
                    let room = read.min(usize::try_from(left).unwrap_or(usize::MAX));
                    left -= room as u64;
                    cut |= room < read;
                    let first = chunk.get(..room).unwrap_or_default();
                    match &self.sink {
                        Sink::Kept(heard) => {
                            kept.extend_from_slice(first);
                            if let (Some((stream, listener)), false) = (heard, first.is_empty()) {
                                listener.tell(*stream, first);
                            }
                        }
                        // A reader that has gone away has seen enough.
                        Sink::Passed(to) => drop((&*to).write_all(first)),
                    }
                    if over {
                        if read >= rest {
                            return (kept, true);
                        }
                        rest -= read;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if over && error.kind() == io::ErrorKind::WouldBlock => return (kept, cut),
                Err(_) => return (kept, true),
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
        let (bytes, cut) = capture.finish();
        assert_eq!(bytes.len(), 1000);
        assert!(cut);
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
        assert_eq!(capture.finish(), (b"said ".to_vec(), true));
        assert_eq!(*heard.lock().unwrap(), b"said ");
    }

    #[test]
    fn who_holds_the_pipe_when_the_run_is_over_is_not_waited_for() {
        let (capture, write) = Capture::start(1000, Sink::Kept(None)).unwrap();
        let mut write = File::from(write);
        write.write_all(b"said").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let told = std::thread::spawn(move || capture.finish());
        assert_eq!(told.join().unwrap(), (b"said".to_vec(), false));
        drop(write);
    }

    #[test]
    fn a_stream_is_passed_on_up_to_its_limit() {
        let (to, passed) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (capture, write) = Capture::start(7, Sink::Passed(passed.into())).unwrap();
        File::from(write).write_all(b"one two three").unwrap();
        assert_eq!(capture.finish(), (Vec::new(), true));
        let mut text = String::new();
        File::from(to).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }
}
