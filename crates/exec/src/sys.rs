//! The raw kernel calls of this crate.
#![allow(unsafe_code)]

use std::ptr;

use nix::errno::Errno;

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
