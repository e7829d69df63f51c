//! Whether a tier works here, as it was tried before: nothing of it changes between two runs as a rule.

use callgate_cache::Cache;
use nix::unistd::geteuid;
use serde::Serialize;

use crate::facilities::{Refusal, trial};
use crate::tier::Tier;

/// What decides whether a tier's namespaces and mounts are permitted: this boot of this kernel, who we are, in
/// which namespaces, with which capabilities, filters and labels, under which settings.
#[derive(Serialize)]
struct Surroundings {
    tier: &'static str,
    uid: u32,
    files: Vec<(&'static str, String)>,
    namespaces: Vec<(&'static str, String)>,
    status: Vec<String>,
}

const FILES: &[&str] = &[
    "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/user/max_mnt_namespaces",
    "/proc/sys/user/max_pid_namespaces",
    "/proc/sys/user/max_net_namespaces",
    "/proc/self/attr/current",
    "/proc/self/uid_map",
];

const NAMESPACES: &[&str] = &[
    "/proc/self/ns/user",
    "/proc/self/ns/mnt",
    "/proc/self/ns/pid",
    "/proc/self/ns/net",
    "/proc/self/ns/ipc",
    "/proc/self/ns/uts",
    "/proc/self/ns/cgroup",
];

/// Lines of `/proc/self/status` (proc_pid_status(5)).
const STATUS: &[&str] = &["Uid:", "CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp"];

impl Surroundings {
    fn now(tier: Tier) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let matters = |line: &&str| STATUS.iter().any(|field| line.starts_with(field));
        let text = |path: &&'static str| (*path, std::fs::read_to_string(path).unwrap_or_default());
        let link = |path: &&'static str| {
            let link = std::fs::read_link(path).unwrap_or_default();
            (*path, link.to_string_lossy().into_owned())
        };
        Self {
            tier: tier.name(),
            uid: geteuid().as_raw(),
            files: FILES.iter().map(text).collect(),
            namespaces: NAMESPACES.iter().map(link).collect(),
            status: status.lines().filter(matters).map(str::to_owned).collect(),
        }
    }

    /// Whether we are under a seccomp filter, or it can't be told.
    fn filtered(&self) -> bool {
        !self.status.iter().any(|line| line == "Seccomp:\t0")
    }
}

/// Whether a tier works: tried once while nothing has changed that decides about it. That it does not work is never
/// kept. Should it have ceased to work all the same, the set-up fails, and the code doesn't run.
pub(crate) fn tried(tier: Tier, cache: &Cache) -> Result<(), Refusal> {
    if !matches!(tier, Tier::Full | Tier::Unprivileged) {
        // Cheaper to ask than to remember.
        return trial(tier);
    }
    let now = Surroundings::now(tier);
    if now.filtered() {
        // What a filter refuses can't be told from outside, and two of them look the same here.
        return trial(tier);
    }
    cache.recall("tier", &now, || trial(tier))
}
