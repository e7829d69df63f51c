//! Reads what the code writes, up to a limit, without ever holding it up.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

/// One captured stream.
pub(crate) struct Capture {
    reader: JoinHandle<(Vec<u8>, bool)>,
}

impl Capture {
    /// A pipe whose reading end is read to its end: all of it, but only the first `limit` bytes are
    /// kept. Returns the writing end.
    pub(crate) fn start(limit: usize) -> io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        let reader = std::thread::Builder::new().spawn(move || drain(File::from(read), limit))?;
        Ok((Self { reader }, write))
    }

    /// The text, and whether it was cut. Returns when nobody holds the writing end any more.
    pub(crate) fn finish(self) -> (String, bool) {
        // A reader that panicked has lost its bytes: that counts as cut.
        let (bytes, cut) = self.reader.join().unwrap_or((Vec::new(), true));
        (String::from_utf8_lossy(&bytes).into_owned(), cut)
    }
}

fn drain(mut from: File, limit: usize) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    let mut cut = false;
    let mut chunk = [0; 64 << 10];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return (kept, cut),
            Ok(read) => {
                let room = read.min(limit - kept.len());
                kept.extend_from_slice(&chunk[..room]);
                cut |= room < read;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return (kept, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_flood_is_cut_and_flagged_and_never_blocks() {
        let (capture, write) = Capture::start(1000).unwrap();
        let mut write = File::from(write);
        for _ in 0..100 {
            write.write_all(&[b'x'; 10_000]).unwrap();
        }
        drop(write);
        let (text, cut) = capture.finish();
        assert_eq!(text.len(), 1000);
        assert!(cut);
    }
}
