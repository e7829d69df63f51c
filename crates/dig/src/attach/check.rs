//! Whether a process can be attached to, and what to do if not.

use std::fs;

use callgate_tracee::tracer_of;
use nix::errno::Errno;
use nix::unistd::{geteuid, getpid};

use crate::error::NotAttached;

/// Refuses what can't be traced, with a better reason than the kernel gives.
pub(super) fn check(pid: i32) -> Result<(), NotAttached> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(|_| NotAttached::Missing)?;
    if let Some(process) = number(&status, "Tgid:").filter(|process| *process != pid) {
        return Err(NotAttached::Thread { process });
    }
    if field(&status, "State:").is_some_and(|state| state.starts_with(['Z', 'X'])) {
        return Err(NotAttached::Ended);
    }
    if is_ours(pid) {
        return Err(NotAttached::Ours);
    }
    // Without memory of its own: an ended process has none either, but that was asked before.
    if field(&status, "VmSize:").is_none() {
        return Err(NotAttached::Kernel);
    }
    match tracer_of(pid) {
        Some(tracer) => Err(traced(tracer)),
        None => Ok(()),
    }
}

/// Why the kernel refused to attach to a thread.
pub(super) fn refusal(tid: i32, errno: Errno) -> NotAttached {
    if errno == Errno::ESRCH {
        return NotAttached::Missing;
    }
    if let Some(tracer) = tracer_of(tid) {
        return traced(tracer);
    }
    let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let uid = number(&status, "Uid:").and_then(|uid: i64| u32::try_from(uid).ok());
    let own = geteuid().as_raw();
    let scope: Option<u32> = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    match scope {
        // Under another uid Yama is not the first that refuses.
        Some(scope) if scope == 3 || scope > 0 && uid == Some(own) => NotAttached::Yama { scope },
        _ => NotAttached::Refused {
            errno,
            uid: uid.unwrap_or(u32::MAX),
            own,
        },
    }
}

/// The command line of a process; its name if it has hidden that.
pub(super) fn command(pid: i32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let words: Vec<String> = text
        .trim_end_matches('\0')
        .split('\0')
        .map(str::to_owned)
        .collect();
    if words.iter().all(String::is_empty) {
        return vec![name(pid)];
    }
    words
}

fn traced(tracer: i32) -> NotAttached {
    NotAttached::Traced {
        tracer,
        name: name(tracer),
    }
}

fn name(pid: i32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// Whether it is this process or one of its ancestors.
fn is_ours(pid: i32) -> bool {
    let mut at = getpid().as_raw();
    while at > 0 {
        if at == pid {
            return true;
        }
        let status = fs::read_to_string(format!("/proc/{at}/status")).unwrap_or_default();
        at = number(&status, "PPid:").unwrap_or(0);
    }
    false
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The first number of a line.
fn number<T: std::str::FromStr>(status: &str, name: &str) -> Option<T> {
    field(status, name)?.split_whitespace().next()?.parse().ok()
}
