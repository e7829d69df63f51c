//! The raw calls: a forked child that loads a filter and makes a call again and again.
#![allow(unsafe_code)]

use std::ffi::c_long;
use std::io;
use std::time::Instant;

use callgate_abi::Filter;

/// A call with its first three arguments.
#[derive(Clone, Copy)]
pub struct Call {
    pub nr: u32,
    pub args: [u64; 3],
}

/// ns per call, measured in a child of its own; the clock is read through the vDSO.
pub fn time(filter: Option<&Filter>, call: Call, count: u32) -> io::Result<f64> {
    let instructions: Vec<libc::sock_filter> = filter
        .iter()
        .flat_map(|filter| &filter.0)
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
    // SAFETY: an anonymous page of our own, shared with the child that is forked below.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<f64>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let result: *mut f64 = page.cast();
    // SAFETY: this process has one thread; the child loads the filter, makes calls that touch no memory of
    // ours, writes one number into the shared page and ends with _exit.
    let status = unsafe {
        match libc::fork() {
            0 => {
                let loaded = filter.is_none()
                    || libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                        && libc::syscall(
                            libc::SYS_seccomp,
                            libc::SECCOMP_SET_MODE_FILTER,
                            0,
                            &raw const program,
                        ) == 0;
                if !loaded {
                    libc::_exit(1);
                }
                let [a, b, c] = call.args;
                let begun = Instant::now();
                for _ in 0..count {
                    libc::syscall(c_long::from(call.nr as i32), a, b, c);
                }
                *result = begun.elapsed().as_nanos() as f64 / f64::from(count);
                libc::_exit(0)
            }
            child => {
                let mut status = 0;
                libc::waitpid(child, &raw mut status, 0);
                status
            }
        }
    };
    // SAFETY: the child has ended; the page is ours alone and is not used after this.
    let ns = unsafe {
        let ns = *result;
        libc::munmap(page, size_of::<f64>());
        ns
    };
    match status {
        0 => Ok(ns),
        _ => Err(io::Error::other(format!(
            "the child ended with status {status:#x}"
        ))),
    }
}
