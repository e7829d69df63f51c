//! The raw system calls of this crate.
#![allow(unsafe_code)]

use std::io;

/// Gives the calling thread, and only that, the user and group ids of someone else: real, effective
/// and saved. It is meant for a thread that ends soon; there is no way back for it.
///
/// libc's wrappers change all threads of the process (nptl(7)); the kernel's call changes one.
///
/// # Errors
/// EPERM without CAP_SETGID and CAP_SETUID.
pub(crate) fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    // The group first: afterwards the right to change it is gone.
    // SAFETY: the call takes three integers and touches no memory.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
