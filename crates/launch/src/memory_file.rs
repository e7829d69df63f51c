//! Bytes as a descriptor that never touches a disk.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A memory file (memfd_create(2)) that holds `bytes`, positioned at its start, closed on exec.
///
/// # Errors
/// If the kernel refuses to make or fill it.
pub fn memory_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let fd = memfd_create(c"callgate-code", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_memory_file_reads_back_from_its_start() {
        let mut text = String::new();
        File::from(memory_file(b"print(1)\n").unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "print(1)\n");
    }
}
