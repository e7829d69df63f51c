//! Many calls in a row, made by a stopped tracee in our place.

use nix::errno::Errno;

use crate::error::TraceeError;
use crate::inject::Injector;

impl Injector {
    /// Maps fresh memory, readable and writable, and returns its address.
    ///
    /// # Errors
    /// [`TraceeError`] if the tracee is gone or the call fails.
    pub fn map(&mut self, len: u64) -> Result<u64, TraceeError> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let kind = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        self.step("mmap", libc::SYS_mmap, [0, len, protection, kind, u64::MAX, 0])
    }

    /// Unmaps it.
    ///
    /// # Errors
    /// [`TraceeError`] if the tracee is gone or the call fails.
    pub fn unmap(&mut self, at: u64, len: u64) -> Result<(), TraceeError> {
        self.step("munmap", libc::SYS_munmap, [at, len, 0, 0, 0, 0])
            .map(drop)
    }

    /// Performs the calls in their order, up to the first that fails: its place and errno are the inner error.
    ///
    /// # Errors
    /// The outer error if the tracee is gone or does something else.
    pub fn run(&mut self, calls: &[(i64, [u64; 6])]) -> Result<Result<(), (usize, Errno)>, TraceeError> {
        for (place, (nr, args)) in calls.iter().enumerate() {
            if let Err(errno) = self.call(*nr, *args)? {
                return Ok(Err((place, errno)));
            }
        }
        Ok(Ok(()))
    }
}
