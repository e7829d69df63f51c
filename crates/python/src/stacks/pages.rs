//! The memory of a process that holds still, each page of it read once.
//!
//! What a stack is made of lies close together: read word by word, it takes ten times as many calls of the kernel.

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

const SIZE: u64 = 4096;
const BYTES: usize = SIZE as usize;

/// What was read so far. For one look: a process that goes on writes to it.
pub(super) struct Pages {
    pid: Pid,
    read: Vec<(u64, Box<[u8; BYTES]>)>,
}

impl Pages {
    pub fn new(pid: i32) -> Self {
        Self {
            pid: Pid::from_raw(pid),
            read: Vec::new(),
        }
    }

    /// Copies memory.
    ///
    /// # Errors
    /// EFAULT if it is not all there, EPERM and ESRCH.
    pub fn copy(&mut self, address: u64, into: &mut [u8]) -> Result<(), Errno> {
        let mut at = address;
        let mut rest = into;
        while !rest.is_empty() {
            let within = (at % SIZE) as usize;
            let len = rest.len().min(BYTES - within);
            let (piece, next) = rest.split_at_mut(len);
            let page = self.page(at - at % SIZE)?;
            piece.copy_from_slice(&page[within..within + len]);
            at = at.checked_add(len as u64).ok_or(Errno::EFAULT)?;
            rest = next;
        }
        Ok(())
    }

    /// A machine word; most of what CPython's objects are made of.
    pub fn word(&mut self, address: u64) -> Result<u64, Errno> {
        let mut bytes = [0; 8];
        self.copy(address, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// A C int.
    pub fn int(&mut self, address: u64) -> Result<i32, Errno> {
        let mut bytes = [0; 4];
        self.copy(address, &mut bytes)?;
        Ok(i32::from_ne_bytes(bytes))
    }

    fn page(&mut self, start: u64) -> Result<&[u8; BYTES], Errno> {
        // What was read last is asked for most.
        if let Some(index) = self.read.iter().rposition(|(known, _)| *known == start) {
            return Ok(&self.read[index].1);
        }
        let mut page = Box::new([0; BYTES]);
        let remote = [RemoteIoVec {
            base: start as usize,
            len: BYTES,
        }];
        match process_vm_readv(self.pid, &mut [IoSliceMut::new(page.as_mut_slice())], &remote)? {
            BYTES => self.read.push((start, page)),
            _ => return Err(Errno::EFAULT),
        }
        self.read.last().map(|(_, page)| &**page).ok_or(Errno::EFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_on_several_pages_is_put_together_and_what_is_not_there_is_an_error() {
        let bytes: Vec<u8> = (0..3 * BYTES).map(|index| (index / 7) as u8).collect();
        let mut pages = Pages::new(std::process::id() as i32);
        let mut copy = vec![0; 2 * BYTES];
        pages.copy(bytes[100..].as_ptr() as u64, &mut copy).unwrap();
        assert_eq!(copy, bytes[100..100 + copy.len()]);
        assert_eq!(pages.copy(8, &mut copy), Err(Errno::EFAULT));
        assert_eq!(pages.copy(u64::MAX - 8, &mut copy), Err(Errno::EFAULT));
    }
}
