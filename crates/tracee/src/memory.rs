//! Reading and writing a stopped tracee's memory.

use std::io::{IoSlice, IoSliceMut};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};

use crate::error::TraceeError;
use crate::stopped::Stopped;

const PAGE: u64 = 4096;

impl Stopped {
    /// Reads memory; returns how many bytes could be read (fewer at the end of a mapping).
    ///
    /// # Errors
    /// [`TraceeError`] if nothing can be read there.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<usize, TraceeError> {
        let len = into.len();
        let remote = [RemoteIoVec {
            base: address as usize,
            len,
        }];
        match process_vm_readv(self.pid(), &mut [IoSliceMut::new(into)], &remote) {
            Ok(read) => Ok(read),
            // Without CAP_SYS_PTRACE, another uid's memory is open to ptrace only.
            Err(Errno::EPERM) => self.peek(address, into),
            Err(errno) => Err(self.error("process_vm_readv")(errno)),
        }
    }

    fn peek(&self, address: u64, into: &mut [u8]) -> Result<usize, TraceeError> {
        const WORD: usize = size_of::<libc::c_long>();
        let mut done = 0;
        for chunk in into.chunks_mut(WORD) {
            let at = (address + done as u64) as ptrace::AddressType;
            match ptrace::read(self.pid(), at) {
                Ok(word) => chunk.copy_from_slice(&word.to_ne_bytes()[..chunk.len()]),
                Err(_) if done > 0 => break,
                Err(errno) => return Err(self.error("PTRACE_PEEKDATA")(errno)),
            }
            done += chunk.len();
        }
        Ok(done)
    }

    /// Reads a NUL-terminated string of at most `max` bytes, without its NUL. A string that is longer
    /// is cut.
    ///
    /// # Errors
    /// [`TraceeError`] if it can't be read.
    pub fn read_string(&self, address: u64, max: usize) -> Result<Vec<u8>, TraceeError> {
        let mut out = Vec::new();
        let mut at = address;
        while out.len() < max {
            // Never across a page border: the next page may not be there, and the string may end here.
            let room = (PAGE - at % PAGE).min((max - out.len()) as u64).min(256) as usize;
            let mut chunk = [0; 256];
            let read = match self.read(at, &mut chunk[..room]) {
                Ok(read) if read > 0 => read,
                Ok(_) => break,
                Err(error) => return Err(error),
            };
            if let Some(end) = chunk[..read].iter().position(|b| *b == 0) {
                out.extend_from_slice(&chunk[..end]);
                break;
            }
            out.extend_from_slice(&chunk[..read]);
            at += read as u64;
        }
        Ok(out)
    }

    /// Writes memory that the tracee itself may write.
    ///
    /// # Errors
    /// [`TraceeError`] if not all of it can be written.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), TraceeError> {
        let remote = [RemoteIoVec {
            base: address as usize,
            len: bytes.len(),
        }];
        match process_vm_writev(self.pid(), &[IoSlice::new(bytes)], &remote) {
            Ok(written) if written == bytes.len() => Ok(()),
            Ok(_) | Err(Errno::EPERM) => self.poke(address, bytes),
            Err(errno) => Err(self.error("process_vm_writev")(errno)),
        }
    }

    /// Writes memory whatever its protection (text pages get a private copy). Words at the borders
    /// keep their other bytes.
    ///
    /// # Errors
    /// [`TraceeError`] if the kernel refuses.
    pub fn poke(&self, address: u64, bytes: &[u8]) -> Result<(), TraceeError> {
        const WORD: usize = size_of::<libc::c_long>();
        for (i, chunk) in bytes.chunks(WORD).enumerate() {
            let at = (address + (i * WORD) as u64) as ptrace::AddressType;
            let mut word = [0; WORD];
            if chunk.len() < WORD {
                word = ptrace::read(self.pid(), at)
                    .map_err(self.error("PTRACE_PEEKDATA"))?
                    .to_ne_bytes();
            }
            word[..chunk.len()].copy_from_slice(chunk);
            ptrace::write(self.pid(), at, libc::c_long::from_ne_bytes(word))
                .map_err(self.error("PTRACE_POKEDATA"))?;
        }
        Ok(())
    }
}
