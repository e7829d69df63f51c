//! Puts the filter into a process, where that changes nothing that the program can notice.

use callgate_abi::{Filter, Syscall};
use callgate_tracee::{Injector, Load, Place, Stopped, TraceeError};

use crate::passing::Fstat;
use crate::status::{CAP_SYS_ADMIN, CAP_SYS_PTRACE, Status, threads};
use crate::threads::Thread;

/// How an attempt ended.
pub(crate) enum Attempt {
    /// The filter is in force for these threads. Whether `no_new_privs` had to be set for it.
    Injected { threads: Vec<i32>, no_new_privs: bool },
    /// It can't be had: why not. `no_new_privs` may have been set already.
    Refused { why: String, no_new_privs: bool },
}

/// Whether `no_new_privs` must be set to load a filter into a process, or why none may be loaded.
///
/// Without CAP_SYS_ADMIN the kernel wants it (seccomp(2)). It takes the privileges from set-user-ID programs
/// and file capabilities, which ptrace does too where the tracer has no CAP_SYS_PTRACE (execve(2),
/// `cap_bprm_creds_from_file` in security/commoncap.c): then nothing changes. Where the tracer has it, the
/// program would change.
fn no_new_privs(process: &Status, own: &Status) -> Result<bool, &'static str> {
    if process.seccomp != 0 {
        return Err("it was under a seccomp filter already, whose refusals would go unseen");
    }
    if process.has(CAP_SYS_ADMIN) || process.no_new_privs {
        return Ok(false);
    }
    if own.has(CAP_SYS_PTRACE) {
        return Err("it has less privileges than callgate, and set-user-ID programs would lose theirs");
    }
    Ok(true)
}

/// Loads the filter into the whole process of a tracee that [can be injected
/// into](Stopped::can_inject).
pub(crate) fn inject(tracee: Stopped, filter: &Filter) -> Result<(Stopped, Attempt), TraceeError> {
    let refused = |why: &str| Attempt::Refused {
        why: why.to_owned(),
        no_new_privs: false,
    };
    let (Some(status), Some(own)) = (Status::of(tracee.tid()), Status::own()) else {
        return Ok((tracee, refused("/proc/PID/status can't be read")));
    };
    let others = threads(status.process);
    let alien = others
        .iter()
        .filter_map(|tid| Status::of(*tid))
        .find(|other| other.seccomp != 0);
    let no_new_privs = match no_new_privs(alien.as_ref().unwrap_or(&status), &own) {
        Ok(needed) => needed,
        Err(why) => return Ok((tracee, refused(why))),
    };
    let mut injector = Injector::new(tracee, false)?;
    let load = Load {
        no_new_privs,
        place: Place::Mapped,
    };
    let attempt = match injector.load_filter(filter, load) {
        Ok(()) => Attempt::Injected {
            // Once more: threads that were made meanwhile have it from the start.
            threads: threads(status.process),
            no_new_privs,
        },
        Err(error) if error.is_gone() => return Err(error),
        Err(error) => Attempt::Refused {
            why: error.to_string(),
            no_new_privs,
        },
    };
    Ok((injector.finish(None)?, attempt))
}

/// The places where a thread asks for the status of a descriptor (`newfstatat` with an empty path, glibc's
/// fstat), if both the code and the empty path lie in mapped files that the program does not write to: then
/// the path is empty there every time, as long as the program does not change its own code. A new program
/// has other addresses.
pub(crate) fn fstats(thread: &Thread, tid: i32) -> Vec<Fstat> {
    let Ok(call) = callgate_abi::Arch::NATIVE.call("newfstatat") else {
        return Vec::new();
    };
    if thread.fstats.is_empty() {
        return Vec::new();
    }
    let maps = std::fs::read_to_string(format!("/proc/{tid}/maps")).unwrap_or_default();
    let constant: Vec<(u64, u64)> = maps.lines().filter_map(constant_range).collect();
    let is_constant = |address: u64| constant.iter().any(|(from, to)| (*from..*to).contains(&address));
    thread
        .fstats
        .iter()
        .filter(|(instruction, path)| is_constant(*instruction) && is_constant(*path))
        .map(|(instruction, path)| Fstat {
            nr: Syscall::nr(call),
            instruction: *instruction,
            path: *path,
        })
        .collect()
}

/// The range of a mapping of a file that is private and not writable (proc_pid_maps(5)).
fn constant_range(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let permissions = words.next()?.as_bytes();
    let file = words.nth(3)?;
    let constant =
        permissions.get(1) == Some(&b'-') && permissions.get(3) == Some(&b'p') && file.starts_with('/');
    constant.then_some(())?;
    Some((
        u64::from_str_radix(from, 16).ok()?,
        u64::from_str_radix(to, 16).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mapped_files_that_are_not_written_to_are_constant() {
        let range = |line| constant_range(line);
        assert_eq!(
            range("1000-2000 r--p 00000000 fe:01 7 /lib/libc.so.6"),
            Some((0x1000, 0x2000))
        );
        assert_eq!(
            range("1000-2000 r-xp 00000000 fe:01 7 /lib/libc.so.6"),
            Some((0x1000, 0x2000))
        );
        assert_eq!(range("1000-2000 rw-p 00000000 fe:01 7 /lib/libc.so.6"), None);
        assert_eq!(range("1000-2000 r--s 00000000 fe:01 7 /dev/shm/x"), None);
        assert_eq!(range("1000-2000 r--p 00000000 00:00 0"), None);
    }
}
