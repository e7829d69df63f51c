//! The raw calls of the kernel test: a forked child that loads a filter and makes a call.
#![allow(unsafe_code)]

use std::ffi::c_long;

use callgate_abi::Filter;

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The call returned; 0, or the errno.
    Returned(i32),
    /// A signal killed the child.
    Killed(i32),
    /// The filter could not be loaded.
    NotLoaded,
}

/// A way to make a call.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// By libc's `syscall`.
    Native(c_long, [c_long; 3]),
    /// By `int 0x80`: i386's numbers.
    #[cfg(target_arch = "x86_64")]
    Int80(c_long),
}

/// Exit code of a child that could not load its filter.
const NOT_LOADED: i32 = 255;

/// Forks, loads the filter in the child, makes the call there and says how that ended.
pub fn under(filter: &Filter, entry: Entry) -> End {
    let instructions: Vec<libc::sock_filter> = filter
        .0
        .iter()
        .map(|i| libc::sock_filter {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        })
        .collect();
    let program = libc::sock_fprog {
        len: instructions.len() as u16,
        filter: instructions.as_ptr().cast_mut(),
    };
    // SAFETY: the child makes async-signal-safe calls only and ends with _exit; what it reads was built
    // before the fork.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain calls; `program` and what it points to outlive them.
            let loaded = unsafe {
                libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                    && libc::syscall(
                        libc::SYS_seccomp,
                        libc::SECCOMP_SET_MODE_FILTER,
                        0,
                        &raw const program,
                    ) == 0
            };
            let code = if loaded { made(entry) } else { NOT_LOADED };
            // SAFETY: ends the child; exit_group is allowed by the tests' filters.
            unsafe { libc::_exit(code) }
        }
        child => {
            assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
            let mut status = 0;
            // SAFETY: waits for our own child and writes to our own integer.
            let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!(waited, child, "waitpid: {}", std::io::Error::last_os_error());
            match (libc::WIFSIGNALED(status), libc::WEXITSTATUS(status)) {
                (true, _) => End::Killed(libc::WTERMSIG(status)),
                (false, NOT_LOADED) => End::NotLoaded,
                (false, code) => End::Returned(code),
            }
        }
    }
}

/// 0 if the call succeeded, else its errno.
fn made(entry: Entry) -> i32 {
    match entry {
        Entry::Native(nr, [a, b, c]) => {
            // SAFETY: the tests make calls that touch no memory.
            match unsafe { libc::syscall(nr, a, b, c) } {
                // SAFETY: errno is the calling thread's own.
                -1 => unsafe { *libc::__errno_location() },
                _ => 0,
            }
        }
        #[cfg(target_arch = "x86_64")]
        Entry::Int80(nr) => {
            let mut result = nr;
            // SAFETY: an i386 call without arguments; only rax and the flags change.
            unsafe {
                std::arch::asm!("int 0x80", inout("rax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _)
            };
            i32::from(result < 0)
        }
    }
}
