//! Which namespaces a tier has.

use crate::tier::Tier;

/// The namespaces of a tier.
pub(crate) fn namespaces(tier: Tier) -> Vec<(u64, &'static str)> {
    let mut all = vec![
        (libc::CLONE_NEWNS, "mount"),
        (libc::CLONE_NEWPID, "pid"),
        (libc::CLONE_NEWNET, "network"),
        (libc::CLONE_NEWIPC, "ipc"),
        (libc::CLONE_NEWUTS, "uts"),
        (libc::CLONE_NEWCGROUP, "cgroup"),
    ];
    match tier {
        Tier::Full => {}
        Tier::Container | Tier::Landlock => all.clear(),
        Tier::Unprivileged => all.insert(0, (libc::CLONE_NEWUSER, "user")),
    }
    all.into_iter().map(|(flag, name)| (flag as u64, name)).collect()
}
