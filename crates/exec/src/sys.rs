//! The raw kernel calls of this crate.
#![allow(unsafe_code)]

use std::ptr;

use nix::errno::Errno;

use crate::ipc::Kind;

/// `landlock_create_ruleset` with `LANDLOCK_CREATE_RULESET_VERSION`: the kernel's Landlock version.
pub(crate) fn landlock_version() -> nix::Result<i32> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the attribute must be null and its size 0; a number comes back.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    Errno::result(version).map(|version| version as i32)
}

/// Whether the kernel knows a seccomp action (`SECCOMP_GET_ACTION_AVAIL`, Linux 4.14).
pub(crate) fn seccomp_action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 from a live local.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        ) == 0
    }
}

/// Makes the calling thread, and no other, another user (setresuid(2), the raw call).
pub(crate) fn become_uid(uid: u32) -> nix::Result<()> {
    let uid = libc::c_long::from(uid);
    // SAFETY: plain numbers; libc's wrapper would change every thread of ours.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}

/// Removes a System V IPC object (`IPC_RMID`).
pub(crate) fn remove_ipc(kind: Kind, id: i32) -> nix::Result<()> {
    // SAFETY: for IPC_RMID no argument is looked at besides the id.
    let result = unsafe {
        match kind {
            Kind::Memory => libc::shmctl(id, libc::IPC_RMID, ptr::null_mut()),
            Kind::Semaphores => libc::semctl(id, 0, libc::IPC_RMID),
            Kind::Messages => libc::msgctl(id, libc::IPC_RMID, ptr::null_mut()),
        }
    };
    Errno::result(result).map(drop)
}
