//! What an earlier run left at tier container, whose supervisor was killed: it is in nobody's way.

use std::process::Command;

use super::places::{DOCKER, confined};
use super::{feed, outcome_of, small_root};
use crate::support::{available, root, said, scratch, tool};

/// A uid that is written in a root of its own: no other test sweeps what it has.
const UID: &str = "61236";

/// Leaves one IPC object of each kind.
const OBJECTS: &str = "
import ctypes
libc = ctypes.CDLL(None)
assert -1 not in (libc.shmget(0, 4096, 0o1600), libc.semget(0, 1, 0o1600), libc.msgget(0, 0o1600))
";

fn left() -> usize {
    let of = |kind: &str| std::fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap();
    let theirs = |line: &&str| line.split_whitespace().any(|word| word == UID);
    ["shm", "sem", "msg"]
        .iter()
        .map(|kind| of(kind).lines().filter(theirs).count())
        .sum()
}

/// A supervisor that changed its own uid to remove them was not dumpable afterwards, nor were its children
/// (prctl(2), PR_SET_DUMPABLE): without CAP_SYS_PTRACE, as in a plain container, it could not attach to
/// them, and the run failed with "ptrace: seize failed EPERM".
#[test]
fn a_run_that_has_ipc_objects_to_sweep_first_goes_as_ever() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let dir = scratch();
    let at = &*small_root(&dir.path().join("root"), &["--uid", UID]);
    let mut owner = Command::new("setpriv");
    owner.args(["--reuid", UID, "--clear-groups", "/usr/bin/python3", "-I", "-"]);
    let made = feed(&mut owner, OBJECTS.as_bytes());
    assert!(made.status.success(), "{}", said(&made));
    assert_eq!(left(), 3);
    let run = outcome_of(&confined(
        DOCKER,
        &["--tier", "container", "--root", at],
        "print(1)\n",
    ));
    assert_eq!(run["stdout"], "1\n", "{run:#}");
    assert_eq!(left(), 0);
}
