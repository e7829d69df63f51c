//! How the C library's allocator is set for a program that runs for long.
//!
//! glibc keeps freed memory for the thread that freed it, in each thread by sizes, and has an arena for each few threads.
//! What one thread of a server takes another gives back, and so these caches fill up for tens of thousands of requests.
//! Neither is a setting that a running program can change: the loader reads them from a variable (ld.so(8),
//! `GLIBC_TUNABLES`), so the program is executed once more with it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What the loader reads.
const VARIABLE: &str = "GLIBC_TUNABLES";

/// What is set in it.
const TUNABLES: [(&str, &str); 2] = [
    ("glibc.malloc.tcache_count", "0"),
    ("glibc.malloc.arena_max", "1"),
];

/// Says that this is the second time: for a program with capabilities of its own the loader takes the variable away.
const DONE: &str = "CALLGATE_ALLOCATOR_SET";

/// Executes this program again with an allocator that keeps little for itself; returns if that has been done or is not to
/// be done: where the C library is another.
///
/// # Errors
/// If the program can't be executed. It can run as it is then.
pub(crate) fn keep_little() -> io::Result<()> {
    if !cfg!(target_env = "gnu") || std::env::var_os(DONE).is_some() {
        return Ok(());
    }
    let mut words = std::env::args_os();
    let mut again = Command::new(std::env::current_exe()?);
    if let Some(name) = words.next() {
        again.arg0(name);
    }
    let tunables = with(std::env::var_os(VARIABLE).unwrap_or_default());
    Err(again.args(words).env(VARIABLE, tunables).env(DONE, "1").exec())
}

/// These tunables, and ours where they say nothing of it: `name=value`, parted by colons.
fn with(given: OsString) -> OsString {
    let mut all = given.clone();
    for (name, value) in TUNABLES {
        let is_set = |part: &[u8]| {
            part.strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"="))
        };
        if given.as_bytes().split(|byte| *byte == b':').any(is_set) {
            continue;
        }
        if !all.is_empty() {
            all.push(":");
        }
        all.push(OsStr::new(&format!("{name}={value}")));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_already_stays() {
        let ours = "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1";
        assert_eq!(with("".into()), ours);
        assert_eq!(
            with("glibc.cpu.x86_ibt=off".into()),
            *format!("glibc.cpu.x86_ibt=off:{ours}")
        );
        assert_eq!(
            with("glibc.malloc.arena_max=4".into()),
            *"glibc.malloc.arena_max=4:glibc.malloc.tcache_count=0"
        );
        assert_eq!(with(ours.into()), ours);
    }
}
