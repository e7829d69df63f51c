//! The raw calls of the tests: what a child does between fork and exec.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the command's process hand itself to its parent's ptrace, and keep a descriptor open.
pub fn traced(command: &mut Command, keep: RawFd) {
    // SAFETY: between fork and exec only two raw system calls are made; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::ptrace::traceme()?;
            keep_open(keep)
        });
    }
}

/// Keeps a descriptor open across the command's exec.
pub fn keeping(command: &mut Command, keep: RawFd) {
    // SAFETY: as above.
    unsafe {
        command.pre_exec(move || keep_open(keep));
    }
}

fn keep_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes an integer and touches no memory.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The number and arguments of the call that a tracee is about to make.
pub fn entered(info: &libc::ptrace_syscall_info) -> Option<(u64, [u64; 6])> {
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: `op` says that the kernel filled in this member of the union.
    Some(unsafe { (info.u.entry.nr, info.u.entry.args) })
}
