//! The raw kernel calls of this crate.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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

/// Tries to load a filter that allows everything, with a listener, into the calling thread alone, which can't
/// be undone: false if there is a listener already (`SECCOMP_FILTER_FLAG_NEW_LISTENER`, seccomp(2)).
pub(crate) fn listen() -> nix::Result<bool> {
    let allow = libc::sock_filter {
        code: 0x06, // BPF_RET | BPF_K
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_ALLOW,
    };
    let mut program = [allow];
    let header = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: plain numbers.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the header and the program that it points to live until the call returns.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const header,
        )
    };
    match Errno::result(fd) {
        Ok(fd) => {
            // SAFETY: the descriptor is new and ours alone.
            drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
            Ok(true)
        }
        Err(Errno::EBUSY) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Changes the calling thread's real uid and gid, and leaves the effective and the saved ones: whoever may trace is
/// told by the real ones (ptrace(2), PTRACE_MODE_ATTACH_REALCREDS). The raw calls: libc's would change all threads.
pub(crate) fn set_real_ids(uid: u32, gid: u32) -> nix::Result<()> {
    let (uid, gid) = (libc::c_long::from(uid), libc::c_long::from(gid));
    // SAFETY: plain numbers; -1 leaves an id as it is.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, gid, -1_i64, -1_i64) })?;
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, uid, -1_i64, -1_i64) })?;
    Ok(())
}

/// Allows these rights beneath a path that is open (`landlock_add_rule`, `LANDLOCK_RULE_PATH_BENEATH`).
pub(crate) fn landlock_allow(
    ruleset: BorrowedFd<'_>,
    beneath: BorrowedFd<'_>,
    access: u64,
) -> nix::Result<()> {
    /// `struct landlock_path_beneath_attr` (linux/landlock.h), which is packed.
    #[repr(C, packed)]
    struct PathBeneath {
        access: u64,
        parent: i32,
    }
    const LANDLOCK_RULE_PATH_BENEATH: libc::c_long = 1;
    let rule = PathBeneath {
        access,
        parent: beneath.as_raw_fd(),
    };
    // SAFETY: the kernel reads the live local; both descriptors are open while the call lasts.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            libc::c_long::from(ruleset.as_raw_fd()),
            LANDLOCK_RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    Errno::result(added).map(drop)
}

/// The size of a terminal (`TIOCGWINSZ`, ioctl_tty(2)).
pub(crate) fn window_size(terminal: BorrowedFd<'_>) -> Option<libc::winsize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel writes one winsize into a live local.
    let done = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0).then_some(size)
}
