//! Which of an interpreter's threads is the one that the kernel knows by a number.

use std::fs;

use super::walk::Thread;

/// The one that is thread `tid` of process `pid`.
pub(super) fn of(pid: i32, tid: i32, nested: bool, threads: &[Thread]) -> Option<Thread> {
    let own = if nested {
        own_number(pid, tid)?
    } else {
        u64::try_from(tid).ok()?
    };
    // A thread that is being made has its maker's number until it runs, and no frames yet.
    let is_own = |thread: &&Thread| thread.number == Some(own);
    let at_work = threads.iter().filter(is_own).find(|thread| thread.frame != 0);
    if let Some(thread) = at_work.or_else(|| threads.iter().find(is_own)) {
        return Some(*thread);
    }
    let oldest = threads.last()?;
    if let Some(number) = threads.iter().find_map(|thread| thread.number) {
        // A child between fork and the interpreter's own clean-up, or one made by vfork, still has its
        // parent's numbers. Its one thread is the one that forked: known if there was no other.
        let stale = tid == pid && threads.len() == 1 && !is_thread(pid, number);
        return stale.then_some(*oldest);
    }
    // Before 3.11 the interpreter has no numbers. New threads are put at the head of its list.
    (tid == pid || threads.len() == 1).then_some(*oldest)
}

/// Whether a process sees itself by another number than we do: it is in a pid namespace below ours.
pub(super) fn nested(pid: i32) -> bool {
    own_number(pid, pid) != u64::try_from(pid).ok()
}

/// The number that the thread itself sees: that of the innermost pid namespace it is in (proc(5)).
fn own_number(pid: i32, tid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok()?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().last()?.parse().ok()
}

/// Whether the process has a thread that sees itself as `number`.
fn is_thread(pid: i32, number: u64) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    let mut tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    tids.any(|tid| own_number(pid, tid) == Some(number))
}
