//! Steps that set capabilities, mostly to give them up.

use std::ffi::{c_int, c_long};

use super::steps::checked;

/// `struct __user_cap_header_struct` and `__user_cap_data_struct` (linux/capability.h), version 3.
#[repr(C)]
pub(super) struct CapHeader {
    pub(super) version: u32,
    pub(super) pid: c_int,
}

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h).
pub(super) const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Sets the three sets of the calling thread (capset(2)).
pub(super) fn set_capabilities(effective: u64, permitted: u64, inheritable: u64) -> Result<(), i32> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let sets = [
        effective as u32,
        permitted as u32,
        inheritable as u32,
        (effective >> 32) as u32,
        (permitted >> 32) as u32,
        (inheritable >> 32) as u32,
    ];
    // SAFETY: the kernel reads a header and two structures of three numbers, and keeps neither.
    checked(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) })?;
    Ok(())
}

/// Empties the ambient set, and the bounding set but for these.
pub(super) fn bound_capabilities(kept: u64) -> Result<(), i32> {
    // SAFETY: prctl with plain numbers.
    unsafe {
        for capability in 0..64 {
            // Until the kernel says that there is no such capability; the first is always there.
            match checked(c_long::from(libc::prctl(
                libc::PR_CAPBSET_READ,
                capability,
                0,
                0,
                0,
            ))) {
                Err(libc::EINVAL) if capability > 0 => break,
                Err(errno) => return Err(errno),
                Ok(_) if kept & (1 << capability) != 0 => continue,
                Ok(_) => {}
            }
            checked(c_long::from(libc::prctl(
                libc::PR_CAPBSET_DROP,
                capability,
                0,
                0,
                0,
            )))?;
        }
        checked(c_long::from(libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0,
        )))?;
    }
    Ok(())
}
