//! The cgroup mounts that can be reached, and where a cgroup is in them.

use std::path::{Component, Path, PathBuf};

/// A cgroup mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Which part of the hierarchy it shows.
    root: String,
    pub(super) at: PathBuf,
    pub(super) kind: String,
    /// The options of the file system, and with version 1 the controllers and the name of the hierarchy.
    options: String,
}

impl Mount {
    /// Whether it is a hierarchy of version 1 with this controller.
    pub(super) fn controls(&self, controller: &str) -> bool {
        self.kind == "cgroup" && self.options.split(',').any(|option| option == controller)
    }

    /// A cgroup of the hierarchy, as seen through this mount; none if it is outside.
    pub(super) fn find(&self, cgroup: &str) -> Option<PathBuf> {
        let below = Path::new(cgroup).strip_prefix(&self.root).ok()?;
        let inside = below
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| self.at.join(below))
    }
}

/// A line of a mountinfo (proc_pid_mountinfo(5)).
struct Line {
    id: u32,
    parent: u32,
    mount: Mount,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let (id, parent) = (before.next()?.parse().ok()?, before.next()?.parse().ok()?);
        // The device stands between.
        let (root, at) = (before.nth(1)?, before.next()?);
        let mut after = after.splitn(3, ' ');
        let kind = after.next()?.to_owned();
        Some(Self {
            id,
            parent,
            mount: Mount {
                root: unescape(root),
                at: unescape(at).into(),
                kind,
                options: after.nth(1).unwrap_or_default().to_owned(),
            },
        })
    }
}

/// The cgroup mounts in a mountinfo that nothing else is mounted over, in its order.
pub(super) fn mounts(mountinfo: &str) -> Vec<Mount> {
    let lines: Vec<Line> = mountinfo.lines().filter_map(Line::parse).collect();
    let cgroups = lines.iter().filter(|line| line.mount.kind.starts_with("cgroup"));
    cgroups
        .filter(|line| is_reached(line, &lines))
        .map(|line| line.mount.clone())
        .collect()
}

/// Whether a path leads to a mount: nothing lies over it, nor over what it is mounted on.
fn is_reached(line: &Line, all: &[Line]) -> bool {
    let covers = |over: &Line, under: &Line| over.parent == under.id && over.mount.at == under.mount.at;
    let mut at = line;
    let mut covered = all.iter().any(|over| covers(over, at));
    // A mount has one parent, and the first has none of the list; a list that goes round is none.
    for _ in all {
        if covered {
            return false;
        }
        let Some(parent) = all.iter().find(|under| under.id == at.parent) else {
            return true;
        };
        // What we are mounted over is not in our own way.
        covered = !covers(at, parent) && all.iter().any(|over| covers(over, parent));
        at = parent;
    }
    false
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_below_the_part_that_a_mount_shows() {
        let text = "\
41 24 0:32 / /sys/fs/my\\040groups/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
42 24 0:31 /docker/abc /sys/fs/cgroup/memory ro,nosuid shared:9 master:2 - cgroup cgroup rw,memory
43 24 0:33 / /proc rw - proc proc rw
";
        let found = mounts(text);
        assert_eq!(found.len(), 2);
        let cpu = found.iter().find(|mount| mount.controls("cpuacct")).unwrap();
        assert_eq!(cpu.find("/").unwrap(), Path::new("/sys/fs/my groups/cpu,cpuacct"));
        assert_eq!(cpu.find("/../outside"), None);
        let memory = found.iter().find(|mount| mount.controls("memory")).unwrap();
        assert_eq!(
            memory.find("/docker/abc/x").unwrap(),
            Path::new("/sys/fs/cgroup/memory/x")
        );
        assert_eq!(memory.find("/docker/abcdef"), None);
    }

    #[test]
    fn what_is_mounted_over_is_not_reached() {
        // Fedora moves /sys below the root that comes after it; then each way of lying under something.
        let text = "\
22 66 0:21 / /sys rw - sysfs sysfs rw
66 1 253:0 / / rw - ext4 /dev/vda rw
30 22 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
33 31 0:27 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
        let roots =
            |text: &str| -> Vec<String> { mounts(text).into_iter().map(|mount| mount.root).collect() };
        // The first of memory is covered by the second, which is reached all the same.
        assert_eq!(roots(text), ["/", "/docker/abc"]);
        let covered = format!("{text}40 30 0:40 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n");
        assert_eq!(mounts(&covered), []);
        let round = "7 8 0:1 / /a rw - cgroup cgroup rw,memory\n8 7 0:1 / /b rw - cgroup cgroup rw,pids\n";
        assert_eq!(mounts(round), []);
    }
}
