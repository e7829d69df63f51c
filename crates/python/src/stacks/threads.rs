//! Which of an interpreter's threads is the one that the kernel knows by a number.

use std::fs;

use py_spy::{PythonSpy, StackTrace};

/// The trace of thread `tid` of process `pid`.
pub(super) fn of(pid: i32, tid: i32, mut traces: Vec<StackTrace>) -> Option<StackTrace> {
    let own = own_number(pid, tid)?;
    // A thread that is being made has its maker's number until it runs, and no frames yet.
    let is_own = |trace: &StackTrace| trace.os_thread_id == Some(own);
    let at_work = traces
        .iter()
        .position(|trace| is_own(trace) && !trace.frames.is_empty());
    if let Some(index) = at_work.or_else(|| traces.iter().position(is_own)) {
        return Some(traces.swap_remove(index));
    }
    if traces.iter().any(|trace| trace.os_thread_id.is_some()) {
        // A child between fork and the interpreter's own clean-up, or one made by vfork, still has its
        // parent's numbers. Its one thread is the one that forked: known if there was no other.
        let stale = tid == pid && traces.len() == 1 && !is_thread(pid, traces[0].os_thread_id?);
        return if stale { traces.pop() } else { None };
    }
    // Before 3.11 the interpreter has no numbers. New threads are put at the head of its list.
    if tid == pid || traces.len() == 1 {
        traces.pop()
    } else {
        None
    }
}

/// The trace of a thread that holds the interpreter's lock, as most do that make a call which does not wait: it is read
/// without a look at what all other threads do, which is most of the work. `None` for any other thread, and where
/// the interpreter does not tell threads by their numbers (before 3.11).
pub(super) fn holder(spy: &mut PythonSpy, pid: i32, tid: i32, nested: bool) -> Option<StackTrace> {
    let own = if nested {
        own_number(pid, tid)?
    } else {
        u64::try_from(tid).ok()?
    };
    spy.config.gil_only = true;
    let traces = spy.get_stack_traces();
    spy.config.gil_only = false;
    let traces = traces.ok()?;
    without_names(spy, traces.iter());
    traces
        .into_iter()
        .find(|trace| trace.os_thread_id == Some(own) && !trace.frames.is_empty())
}

/// py-spy looks for the name of a thread that it does not know in all modules that are loaded, each time anew where
/// Python's own `threading` does not know it either; nobody asks for these names.
pub(super) fn without_names<'a>(spy: &mut PythonSpy, traces: impl Iterator<Item = &'a StackTrace>) {
    for trace in traces {
        spy.python_thread_names.entry(trace.thread_id).or_default();
    }
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
