//! System V IPC objects that a run has left, where it has no IPC namespace that would end with it.
//!
//! POSIX message queues need no sweep (`RLIMIT_MSGQUEUE` is 0, so none can be made); POSIX shared memory
//! and semaphores are files in `/dev/shm`, a scratch directory of the root.

use std::io;
use std::thread;

use nix::errno::Errno;

use crate::sys;

/// The kinds of object (proc_sysvipc(5)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Shared memory.
    Memory,
    /// Semaphores.
    Semaphores,
    /// Message queues.
    Messages,
}

impl Kind {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Memory, "/proc/sysvipc/shm"),
        (Self::Semaphores, "/proc/sysvipc/sem"),
        (Self::Messages, "/proc/sysvipc/msg"),
    ];
}

/// Removes every object that this uid owns or has made. Nobody else may use the uid.
pub(crate) fn sweep(uid: u32) -> io::Result<()> {
    let mut found = Vec::new();
    for (kind, list) in Kind::ALL {
        match std::fs::read_to_string(list) {
            Ok(text) => found.extend(owned(&text, uid).into_iter().map(|id| (kind, id))),
            // A kernel without System V IPC.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    // By a thread that has become that uid, for its owner may remove an object and we may lack
    // CAP_SYS_ADMIN. The thread's uid ends with it.
    let remove = move || {
        sys::become_uid(uid)?;
        for (kind, id) in found {
            match sys::remove_ipc(kind, id) {
                Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    };
    let thread = thread::Builder::new().spawn(remove)?;
    let done = thread
        .join()
        .map_err(|_| io::Error::other("the thread that removes them panicked"))?;
    done.map_err(io::Error::from)
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
    }
}
