//! System V IPC objects that a run has left, where it has no IPC namespace that would end with it.
//!
//! POSIX message queues need no sweep (`RLIMIT_MSGQUEUE` is 0, so none can be made); POSIX shared memory
//! and semaphores are files in `/dev/shm`, a scratch directory of the root.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use callgate_launch::{IpcKind, Launch, Step};
use nix::errno::Errno;
use nix::sys::wait::waitpid;

/// Where the objects of each kind are listed (proc_sysvipc(5)).
const LISTS: [(IpcKind, &str); 3] = [
    (IpcKind::Memory, "/proc/sysvipc/shm"),
    (IpcKind::Semaphores, "/proc/sysvipc/sem"),
    (IpcKind::Messages, "/proc/sysvipc/msg"),
];

/// Removes every object that this uid owns or has made. Nobody else may use the uid.
pub(crate) fn sweep(uid: u32) -> io::Result<()> {
    let mut found = Vec::new();
    for (kind, list) in lists()? {
        let ids = owned(&list, uid).into_iter();
        found.extend(ids.map(|id| Step::RemoveIpc { kind, id }));
    }
    if found.is_empty() {
        Ok(())
    } else {
        as_user(uid, found)
    }
}

/// The same for each uid of a range that has any, while `held` keeps it from others: it returns none for a uid that is
/// in use.
pub(crate) fn sweep_range<T>(
    uids: Range<u32>,
    held: impl Fn(u32) -> io::Result<Option<T>>,
) -> io::Result<()> {
    let owners: BTreeSet<u32> = lists()?.iter().flat_map(|(_, list)| owners(list)).collect();
    for uid in owners.into_iter().filter(|uid| uids.contains(uid)) {
        if let Some(_held) = held(uid)? {
            sweep(uid)?;
        }
    }
    Ok(())
}

/// What there is of each kind.
fn lists() -> io::Result<Vec<(IpcKind, String)>> {
    let mut all = Vec::new();
    for (kind, list) in LISTS {
        match std::fs::read_to_string(list) {
            Ok(text) => all.push((kind, text)),
            // A kernel without System V IPC.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// The uids that own or have made objects in a list.
fn owners(list: &str) -> Vec<u32> {
    let mut lines = list.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let columns: Vec<usize> = ["uid", "cuid"]
        .iter()
        .filter_map(|name| header.iter().position(|word| word == name))
        .collect();
    let of = |line: &str| -> Vec<u32> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let uid = |at: &usize| fields.get(*at)?.parse().ok();
        columns.iter().filter_map(uid).collect()
    };
    lines.flat_map(of).collect()
}

/// Runs steps as another user: who owns an object may remove it, and we may lack CAP_SYS_ADMIN.
///
/// In a process and not in a thread: whoever changes its uid makes its whole process undumpable
/// (PR_SET_DUMPABLE, prctl(2)), and what that forks as well. We could not attach to a run then.
fn as_user(uid: u32, steps: Vec<Step>) -> io::Result<()> {
    // A directory can't be executed: when the exec is what fails, all before it went well.
    let none: [&str; 0] = [];
    let mut started = Launch::new("/", none, none)
        .map(|launch| launch.step(Step::Uid(uid)).steps(steps))
        .and_then(Launch::start)
        .map_err(io::Error::other)?;
    let pid = started.pid();
    started.go()?;
    waitpid(pid, None)?;
    match started.reports()?.failure {
        Some(failure) if failure.exec => Ok(()),
        Some(failure) => {
            let errno = Errno::from_raw(failure.errno);
            Err(io::Error::other(format!("{}: {errno}", failure.step)))
        }
        None => Err(io::Error::other("the process that removes them was killed")),
    }
}

/// The ids of the objects in a list that a uid owns or has made.
fn owned(list: &str, uid: u32) -> Vec<i32> {
    let mut lines = list.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let column = |name: &str| header.iter().position(|word| *word == name);
    let (Some(owner), Some(maker)) = (column("uid"), column("cuid")) else {
        return Vec::new();
    };
    let id = |line: &str| -> Option<i32> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let theirs = [owner, maker]
            .iter()
            .any(|at| fields.get(*at).and_then(|field| field.parse().ok()) == Some(uid));
        // The second column is shmid, semid or msqid.
        if theirs { fields.get(1)?.parse().ok() } else { None }
    };
    lines.filter_map(id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_by_owner_and_maker() {
        let list = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n\
                    \x20        0          3   600          1 65399 65399     0     0          0 1790000000\n\
                    \x20        0          4   600          1     0     0 65399     0          0 1790000000\n\
                    \x20        0  65399   600          1     0     0     0     0          0 1790000000\n";
        assert_eq!(owned(list, 65_399), [3, 4]);
        assert_eq!(owned(list, 0), [3, 4, 65_399]);
        assert_eq!(owned("", 0), [0; 0]);
        assert_eq!(owners(list), [65_399, 0, 0, 65_399, 0, 0]);
    }
}
