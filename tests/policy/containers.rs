//! The emitted OCI file, enforced by crun and by runc: what is allowed runs, what is not is killed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{REFUSED, answered, asking, numpy, policy, read};
use crate::support::{available, callgate, expect, probe, root, said, scratch, tool};

/// What crun does itself between loading the filter and executing the program: it closes the file
/// that the filter was read from. A static program may never close anything.
const CRUN_NEEDS: &[&str] = &["close"];

/// What runc does there: it is a Go program, its runtime's threads take the filter too, and they
/// schedule, collect garbage and walk /proc/self/fd until the program is executed.
const RUNC_NEEDS: &[&str] = &[
    "close",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "fcntl",
    "fstatfs",
    "futex",
    "getdents64",
    "getpid",
    "gettid",
    "madvise",
    "mmap",
    "munmap",
    "nanosleep",
    "openat",
    "pipe2",
    "read",
    "rt_sigprocmask",
    "sched_yield",
    "sigaltstack",
    "tgkill",
];

/// An OCI bundle (runtime-spec, config.md) of a root and a command.
fn bundle(dir: &Path, root: &Path, argv: &[&OsStr], seccomp: Option<Value>) {
    let argv: Vec<_> = argv.iter().map(|word| word.to_str().unwrap()).collect();
    let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({"type": kind}));
    let mut config = json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": false, "user": {"uid": 0, "gid": 0}, "args": argv, "cwd": "/", "noNewPrivileges": true,
            "env": ["PATH=/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8"]
        },
        "root": {"path": root, "readonly": true},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
        ],
        "linux": {"namespaces": namespaces}
    });
    if let Some(seccomp) = seccomp {
        config["linux"]["seccomp"] = seccomp;
    }
    std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

/// Runs the bundle in a directory.
fn run(runtime: &str, dir: &Path) -> Output {
    let id = format!(
        "callgate-{}",
        dir.file_name().unwrap().to_string_lossy().replace('.', "")
    );
    let mut command = match runtime {
        // crun refuses a machine with both versions of cgroups even if it is told to use none: it
        // sees an empty directory in their place, in a mount namespace of its own.
        "crun" => {
            let mut command = Command::new("unshare");
            let script = "mount -t tmpfs none /sys/fs/cgroup && exec crun --cgroup-manager=disabled \"$@\"";
            command.args(["--mount", "sh", "-c", script, "crun"]);
            command
        }
        other => Command::new(other),
    };
    command
        .arg("--root")
        .arg(dir.join("state"))
        .args(["run", "--bundle"])
        .arg(dir)
        .arg(id)
        .output()
        .unwrap()
}

/// Whether a runtime runs a program without a filter here; with one it is the filter that is judged.
fn usable(runtime: &'static str, root_dir: &Path, dir: &Path) -> bool {
    if !(available("root", root()) && available(runtime, tool(runtime))) {
        return false;
    }
    bundle(dir, root_dir, &[OsStr::new("/asks")], None);
    let output = run(runtime, dir);
    let works = if output.status.success() {
        Ok(())
    } else {
        Err(format!("{runtime} without a filter: {}", said(&output)))
    };
    available(runtime, works)
}

/// `policy emit --format oci` for this machine.
fn emitted(dir: &Path, name: &str) -> Value {
    let arch = if cfg!(target_arch = "x86_64") {
        "amd64"
    } else {
        "arm64"
    };
    expect(
        0,
        &mut policy(
            dir,
            ["emit", name, "--format", "oci", "--arch", arch, "-o", "oci.json"],
        ),
    );
    read(&dir.join("oci.json"))
}

fn enforced_by(runtime: &'static str, needs: &[&str]) {
    let dir = scratch();
    let dir = dir.path();
    let Some(root) = asking(dir) else { return };
    if !usable(runtime, &root, dir) {
        return;
    }
    // Runtimes ignore callgate's own key in the file.
    let new = [
        "new",
        "asks.json",
        "--unknown",
        "enosys",
        "-o",
        "asks.policy.json",
    ];
    expect(0, &mut policy(dir, new));
    let mut own = vec!["allow", "asks.policy.json"];
    own.extend(needs);
    own.extend(["-o", "p.json"]);
    expect(0, &mut policy(dir, own));

    let oci = emitted(dir, "p.json");
    assert_eq!(oci["x-callgate"]["unknown"], "enosys");
    bundle(dir, &root, &[OsStr::new("/asks")], Some(oci));
    let output = run(runtime, dir);
    answered(&output);

    expect(
        0,
        &mut policy(dir, ["remove", "p.json", "getsid", "-o", "p.json"]),
    );
    bundle(dir, &root, &[OsStr::new("/asks")], Some(emitted(dir, "p.json")));
    let output = run(runtime, dir);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "asking\n",
        "{}",
        said(&output)
    );
    assert_eq!(output.status.code(), Some(REFUSED), "{}", said(&output));
}

#[test]
fn crun_enforces_the_emitted_file() {
    enforced_by("crun", CRUN_NEEDS);
}

#[test]
fn runc_enforces_the_emitted_file() {
    enforced_by("runc", RUNC_NEEDS);
}

#[test]
fn numpy_runs_under_its_own_policy_in_crun_and_not_without_one_of_its_calls() {
    let dir = scratch();
    let dir = dir.path();
    let Some(small) = asking(dir) else { return };
    if !usable("crun", &small, dir) || !numpy(dir) {
        return;
    }
    let python = read(&dir.join("numpy.json"))["python"]["executable"]
        .as_str()
        .unwrap()
        .to_owned();
    let root = dir.join("numpy-root");
    expect(
        0,
        callgate(["root", "build"])
            .arg(&root)
            .arg("--script")
            .arg(probe("with_numpy.py")),
    );
    std::fs::copy(probe("with_numpy.py"), root.join("probe.py")).unwrap();
    // In the container it is a command, so it is recorded as one. Nothing has to be added for crun.
    for file in ["first.json", "second.json"] {
        let mut dig = callgate(["dig", "-o", file, "--", &python, "-I", "-B"]);
        expect(0, dig.arg(probe("with_numpy.py")).current_dir(dir));
    }
    expect(
        0,
        &mut policy(dir, ["new", "first.json", "second.json", "-o", "p.json"]),
    );
    let argv = [&python, "-I", "-B", "/probe.py"].map(OsStr::new);

    bundle(dir, &root, &argv, Some(emitted(dir, "p.json")));
    let output = run("crun", dir);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("ok: numpy works"),
        "{}",
        said(&output)
    );
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    expect(
        0,
        &mut policy(dir, ["remove", "p.json", "sched_getaffinity", "-o", "p.json"]),
    );
    bundle(dir, &root, &argv, Some(emitted(dir, "p.json")));
    let output = run("crun", dir);
    assert_eq!(output.status.code(), Some(REFUSED), "{}", said(&output));
}
