//! Whose cgroup a run has, and how its processes come into it: the same in version 1 and version 2 (cgroups(7)).

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::places::Ordinary;
use super::{feed, interpreter, outcome_of};
use crate::support::sys::{Refusal, refuse};
use crate::support::{CALLGATE, available, root, tool};

/// Three processes have more together than `--memory` says, and none has it alone.
const TOGETHER: &str = "import os, time\n\
                        for _ in range(2):\n\
                        \x20   if os.fork() == 0:\n\
                        \x20       block = b'x' * (40 << 20)\n\
                        \x20       time.sleep(600)\n\
                        block = b'x' * (40 << 20)\n\
                        print(os.wait()[1] & 127)\n";

/// As Docker's profiles did before they knew the call: with ENOSYS, on which libc takes clone.
#[test]
fn a_run_has_its_cgroup_also_where_clone3_is_refused() {
    if !available("root", root()) {
        return;
    }
    let mut command = Command::new(CALLGATE);
    command.args(["exec", "--json", "--python", interpreter()]);
    command.args(["--tier", "full", "--memory", "64M", "-"]);
    let clone3 = Refusal {
        nr: libc::SYS_clone3,
        args: &[],
        errno: libc::ENOSYS,
    };
    refuse(&mut command, &clone3);
    let outcome = outcome_of(&feed(&mut command, b"x = b'x' * (200 << 20)\n"));
    assert_eq!(
        (&outcome["status"], &outcome["exit_code"]),
        (&json!("oom"), &json!(137)),
        "{outcome:#}"
    );
    let peak = outcome["usage"]["memory_peak_bytes"].as_u64().unwrap();
    assert!((60 << 20..=64 << 20).contains(&peak), "{outcome:#}");
    // Its init is in it, too, which `--pids` does not count.
    assert_eq!(outcome["usage"]["pids_peak"], 1, "{outcome:#}");
}

/// Cgroups that a user may make others below, as systemd's Delegate= gives them, removed at the end.
struct Delegated(Vec<PathBuf>);

impl Delegated {
    /// For this user.
    fn new(uid: u32) -> Self {
        let name = format!("delegated-{uid}-{}", std::process::id());
        let unified = std::path::Path::new("/sys/fs/cgroup");
        if unified.join("cgroup.controllers").exists() {
            std::fs::write(unified.join("cgroup.subtree_control"), "+memory +pids").unwrap();
            let at = unified.join(name);
            // The user's processes are in one below it: who has processes hands out no controllers.
            let delegated = Self(vec![at.join("processes"), at.clone()]);
            std::fs::create_dir_all(at.join("processes")).unwrap();
            delegated.give(uid, &["cgroup.procs", "cgroup.subtree_control"]);
            return delegated;
        }
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let at = |line: &str| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let first = controllers.split(',').next()?;
            ["memory", "pids", "cpuacct"].contains(&first).then(|| {
                let hierarchy = unified.join(controllers);
                hierarchy.join(path.trim_start_matches('/')).join(&name)
            })
        };
        let delegated = Self(own.lines().filter_map(at).collect());
        for at in &delegated.0 {
            std::fs::create_dir(at).unwrap();
        }
        delegated.give(uid, &["cgroup.procs", "tasks"]);
        delegated
    }

    fn give(&self, uid: u32, files: &[&str]) {
        for at in &self.0 {
            let files = files.iter().map(|file| at.join(file));
            for path in [at.clone()].into_iter().chain(files) {
                std::os::unix::fs::chown(path, Some(uid), None).unwrap();
            }
        }
    }

    /// The files that a process joins by.
    fn doors(&self) -> Vec<PathBuf> {
        let v2 = self.0.len() == 2 && self.0[0].starts_with(&self.0[1]);
        let joined = if v2 { &self.0[..1] } else { &self.0[..] };
        joined.iter().map(|at| at.join("cgroup.procs")).collect()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for at in &self.0 {
            let _ = std::fs::remove_dir(at);
        }
    }
}

#[test]
fn an_ordinary_user_whose_cgroup_is_its_own_has_limits_over_all_processes_together() {
    if !available("root", root().and_then(|()| tool("setpriv"))) {
        return;
    }
    let user = Ordinary::alone();
    let delegated = Delegated::new(user.uid());
    let policy = super::policy(user.dir(), &json!([]));
    let run = user.command(&["--tier", "unprivileged", "--memory", "96M", "--policy", &policy]);
    let join =
        "for door; do [ \"$door\" != -- ] || break; echo $$ >\"$door\"; shift; done; shift; exec \"$@\"";
    let mut command = Command::new("sh");
    command
        .args(["-ec", join, "sh"])
        .args(delegated.doors())
        .arg("--");
    command
        .arg(run.get_program())
        .args(run.get_args())
        .current_dir("/");
    for (name, value) in run.get_envs() {
        command.env(name, value.unwrap());
    }
    let outcome = outcome_of(&feed(&mut command, TOGETHER.as_bytes()));
    assert_eq!(outcome["tier"], "unprivileged", "{outcome:#}");
    let layers = outcome["layers"].to_string();
    assert!(layers.contains("cgroup (v"), "{outcome:#}");
    let peak = outcome["usage"]["memory_peak_bytes"].as_u64().unwrap();
    assert!((90 << 20..=96 << 20).contains(&peak), "{outcome:#}");
    // Whoever the kernel chose.
    let said = outcome["notes"].to_string().contains("of its processes");
    assert!(
        outcome["status"] == "oom" || said && outcome["stdout"] == "9\n",
        "{outcome:#}"
    );
    // Nothing of the run is left below it.
    for at in &delegated.0 {
        let below = std::fs::read_dir(at).unwrap().flatten();
        let left: Vec<_> = below
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("callgate-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
