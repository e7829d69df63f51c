//! The emitted BPF, loaded by `bwrap --seccomp`: what is allowed runs, what is not is killed.

use std::path::Path;
use std::process::{Command, Output};

use super::{REFUSED, answered, asking, policy};
use crate::support::{available, expect, said, scratch, tool};

/// Runs `/asks` in a root under the filter in `p.bpf`, or without one. bwrap loads it as the last thing
/// before it executes the program, so that only that one call has to be allowed for bwrap's sake; `dig`
/// records it as the first of each probe. (With `--unshare-pid` its own process 1 takes the filter too.)
fn wrapped(dir: &Path, root: &Path, filter: bool) -> Output {
    let seccomp = if filter { "--seccomp 9" } else { "" };
    let script = format!("exec bwrap {seccomp} --ro-bind \"$1\" / --proc /proc /asks 9<\"$0\"");
    let bpf = dir.join(if filter { "p.bpf" } else { "asks.json" });
    Command::new("sh")
        .args(["-c", &script])
        .arg(bpf)
        .arg(root)
        .output()
        .unwrap()
}

#[test]
fn bwrap_enforces_the_emitted_filter() {
    let dir = scratch();
    let dir = dir.path();
    let Some(root) = asking(dir) else { return };
    if !available("bwrap", tool("bwrap")) {
        return;
    }
    let bare = wrapped(dir, &root, false);
    let works = if bare.status.success() {
        Ok(())
    } else {
        Err(format!("bwrap without a filter: {}", said(&bare)))
    };
    if !available("bwrap", works) {
        return;
    }
    let emit = |name: &str| {
        expect(
            0,
            &mut policy(dir, ["emit", name, "--format", "bpf", "-o", "p.bpf"]),
        )
    };
    emit("asks.policy.json");
    let output = wrapped(dir, &root, true);
    answered(&output);

    expect(
        0,
        &mut policy(dir, ["remove", "asks.policy.json", "getsid", "-o", "less.json"]),
    );
    emit("less.json");
    let output = wrapped(dir, &root, true);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "asking\n",
        "{}",
        said(&output)
    );
    assert_eq!(output.status.code(), Some(REFUSED), "{}", said(&output));

    expect(
        0,
        &mut policy(dir, ["remove", "asks.policy.json", "execve", "-o", "none.json"]),
    );
    emit("none.json");
    let output = wrapped(dir, &root, true);
    assert_eq!(output.status.code(), Some(REFUSED), "{}", said(&output));
    assert!(output.stdout.is_empty(), "{}", said(&output));
}
