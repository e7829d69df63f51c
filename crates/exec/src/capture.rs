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

/// Output streams of the code that one thread reads.
pub(crate) struct Capture {
    reader: Task<Vec<(Stream, Drained)>>,
    streams: Vec<Stream>,
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
    Kept(Option<Listener>),
    /// To this stream of ours.
    Passed(File),
    /// All to this stream of ours, as if the code held it: when nobody reads it any more, the code is told.
    Through(File),
}

impl Capture {
    /// Reads these to their ends: all of them, but only the first `limit` bytes of each go on. Where a sink holds the
    /// thread up, all that it reads waits.
    pub(crate) fn start(limit: u64, ends: Vec<(Stream, OwnedFd, Sink)>) -> io::Result<Self> {
        let (over, running) = pipe2(OFlag::O_CLOEXEC)?;
        let streams = ends.iter().map(|(stream, ..)| *stream).collect();
        let drains: Vec<Drain> = ends
            .into_iter()
            .map(|(stream, from, sink)| Drain::new(stream, from.into(), limit, sink))
            .collect();
        let reader = workers::spawn(move || run(drains, &over))?;
        Ok(Self {
            reader,
            streams,
            running,
        })
    }

    /// What came of them. For a run that is over: what is in the pipes is read, and nobody is waited for who holds a
    /// writing end still.
    pub(crate) fn finish(self) -> Vec<(Stream, Drained)> {
        drop(self.running);
        // A reader that panicked has lost its bytes: that counts as cut.
        let lost = |stream| {
            let drained = Drained {
                cut: true,
                ..Drained::default()
            };
            (stream, drained)
        };
        let drained = self.reader.join();
        drained.unwrap_or_else(|| self.streams.into_iter().map(lost).collect())
    }
}

/// Reads all to their ends, or to what is in them when the run is over.
fn run(mut drains: Vec<Drain>, over: &OwnedFd) -> Vec<(Stream, Drained)> {
    // A quarter of what a pipe holds by default: it is cleared for each run, and most say little.
    let mut chunk = [0; 16 << 10];
    while drains.iter().any(|drain| !drain.ended) {
        if wait(&mut drains, over) {
            for drain in &mut drains {
                drain.rest(&mut chunk);
            }
            break;
        }
        for drain in drains.iter_mut().filter(|drain| drain.ready && !drain.ended) {
            drain.read(&mut chunk);
        }
    }
    drains
        .into_iter()
        .map(|drain| (drain.stream, drain.drained))
        .collect()
}

/// Waits until something can be read, or the run is over, which it returns.
fn wait(drains: &mut [Drain], over: &OwnedFd) -> bool {
    loop {
        let reading = drains.iter().filter(|drain| !drain.ended);
        let mut all = vec![PollFd::new(over.as_fd(), PollFlags::POLLIN)];
        all.extend(reading.map(|drain| PollFd::new(drain.from.as_fd(), PollFlags::POLLIN)));
        match poll(&mut all, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            Err(_) => return true,
            Ok(_) => {
                let mut told: Vec<bool> = all.iter().map(|fd| fd.any() != Some(false)).collect();
                let is_over = told.remove(0);
                for (drain, ready) in drains.iter_mut().filter(|drain| !drain.ended).zip(told) {
                    drain.ready = ready;
                }
                return is_over;
            }
        }
    }
}

/// One stream that is read.
struct Drain {
    stream: Stream,
    from: File,
    sink: Sink,
    /// How much of it goes on still.
    left: u64,
    /// Something can be read, or it has come to its end.
    ready: bool,
    /// There is nothing more to be read.
    ended: bool,
    drained: Drained,
}

impl Drain {
    fn new(stream: Stream, from: File, limit: u64, sink: Sink) -> Self {
        Self {
            stream,
            from,
            sink,
            left: limit,
            ready: false,
            ended: false,
            drained: Drained::default(),
        }
    }

    /// Reads what is in it, and waits for nobody.
    fn rest(&mut self, chunk: &mut [u8]) {
        // A pipe that the code has enlarged holds 1 MiB (pipe(7)): more than that was not written by it.
        let mut rest: usize = 1 << 20;
        if fcntl(&self.from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
            self.lose();
        }
        while !self.ended {
            let read = self.read(chunk);
            if read >= rest {
                self.lose();
            }
            rest -= read.min(rest);
        }
    }

    /// It ends here, and something may be lost.
    fn lose(&mut self) {
        self.drained.cut = true;
        self.ended = true;
    }

    /// Reads once; returns how much.
    fn read(&mut self, chunk: &mut [u8]) -> usize {
        match (&self.from).read(chunk) {
            Ok(0) => self.ended = true,
            Ok(read) => {
                self.take(chunk.get(..read).unwrap_or_default());
                return read;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Asked for only when the run is over.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.ended = true,
            // A terminal whose other end nobody holds any more.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => self.ended = true,
            Err(_) => self.lose(),
        }
        0
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= room as u64;
        self.drained.cut |= room < bytes.len();
        self.drained.end_with(bytes);
        let first = bytes.get(..room).unwrap_or_default();
        match &self.sink {
            Sink::Kept(listener) => {
                self.drained.kept.extend_from_slice(first);
                if let (Some(listener), false) = (listener, first.is_empty()) {
                    listener.tell(self.stream, first);
                }
            }
            // A reader that has gone away has seen enough.
            Sink::Passed(to) => drop((&*to).write_all(first)),
            // With our end closed its next write fails, as it would have.
            Sink::Through(to) => {
                if pass(to, first).is_err() {
                    self.ended = true;
                }
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

    /// The writing end of a pipe, and who reads the other.
    fn one(limit: u64, sink: Sink) -> (Capture, File) {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let capture = Capture::start(limit, vec![(Stream::Stdout, read, sink)]).unwrap();
        (capture, write.into())
    }

    fn only(mut drained: Vec<(Stream, Drained)>) -> Drained {
        assert_eq!(drained.len(), 1);
        drained.remove(0).1
    }

    #[test]
    fn a_flood_is_cut_and_flagged_and_never_blocks() {
        let (capture, mut write) = one(1000, Sink::Kept(None));
        for _ in 0..100 {
            write.write_all(&[b'x'; 10_000]).unwrap();
        }
        drop(write);
        let Drained { kept, cut, tail } = only(capture.finish());
        assert_eq!(kept.len(), 1000);
        assert!(cut && tail.len() >= TAIL);
    }

    #[test]
    fn who_listens_hears_what_is_kept_and_no_more() {
        use std::sync::{Arc, Mutex};
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        let listener = Listener::new(move |stream, bytes: &[u8]| {
            assert_eq!(stream, Stream::Stdout);
            all.lock().unwrap().extend_from_slice(bytes);
        });
        let (capture, mut write) = one(5, Sink::Kept(Some(listener)));
        write.write_all(b"said and cut").unwrap();
        let Drained { kept, cut, .. } = only(capture.finish());
        assert_eq!((kept.as_slice(), cut), (&b"said "[..], true));
        assert_eq!(*heard.lock().unwrap(), b"said ");
    }

    #[test]
    fn who_holds_the_pipe_when_the_run_is_over_is_not_waited_for() {
        let (capture, mut write) = one(1000, Sink::Kept(None));
        write.write_all(b"said").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        let told = std::thread::spawn(move || capture.finish());
        let Drained { kept, cut, tail } = only(told.join().unwrap());
        assert_eq!(
            (kept.as_slice(), cut, tail.as_slice()),
            (&b"said"[..], false, &b"said"[..])
        );
        drop(write);
    }

    #[test]
    fn a_stream_is_passed_on_up_to_its_limit() {
        let (to, passed) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (capture, mut write) = one(7, Sink::Passed(passed.into()));
        write.write_all(b"one two three").unwrap();
        let Drained { kept, cut, tail } = only(capture.finish());
        assert_eq!(
            (kept.as_slice(), cut, tail.as_slice()),
            (&b""[..], true, &b"one two three"[..])
        );
        let mut text = String::new();
        File::from(to).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one two");
    }

    #[test]
    fn two_streams_are_read_by_one_thread_and_neither_waits_for_the_other() {
        let ends = || pipe2(OFlag::O_CLOEXEC).unwrap();
        let ((out, to_out), (err, to_err)) = (ends(), ends());
        let (mut to_out, mut to_err) = (File::from(to_out), File::from(to_err));
        let kept = || Sink::Kept(None);
        let capture = Capture::start(
            1 << 20,
            vec![(Stream::Stdout, out, kept()), (Stream::Stderr, err, kept())],
        )
        .unwrap();
        // More than a pipe holds, of the one and then of the other, while nothing comes of the first.
        to_err.write_all(&[b'e'; 200_000]).unwrap();
        to_out.write_all(&[b'o'; 200_000]).unwrap();
        drop(to_err);
        to_out.write_all(b"end").unwrap();
        // Its writing end stays open: the run is over all the same.
        let drained = capture.finish();
        let lengths = drained
            .iter()
            .map(|(stream, drained)| (*stream, drained.kept.len(), drained.cut));
        assert_eq!(
            lengths.collect::<Vec<_>>(),
            [(Stream::Stdout, 200_003, false), (Stream::Stderr, 200_000, false)]
        );
    }
}
