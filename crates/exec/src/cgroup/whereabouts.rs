//! Where a run's cgroup can be made: the mounts, our own place in them, and who hands out the controllers.

use std::path::{Path, PathBuf};

use super::Absent;

/// The directories below which a run's cgroup is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// Version 1: a hierarchy for each controller, or for several.
    V1 {
        memory: PathBuf,
        pids: PathBuf,
        cpu: Option<PathBuf>,
    },
    /// Version 2: one hierarchy.
    V2(PathBuf),
}

impl Whereabouts {
    /// All of them.
    pub(crate) fn parents(&self) -> Vec<&Path> {
        match self {
            Self::V1 { memory, pids, cpu } => [Some(memory), Some(pids), cpu.as_ref()]
                .into_iter()
                .flatten()
                .map(PathBuf::as_path)
                .collect(),
            Self::V2(parent) => vec![parent],
        }
    }
}

/// Looks where this process is.
pub(crate) fn look() -> Result<Whereabouts, Absent> {
    let read = |at: &str| {
        std::fs::read_to_string(at).map_err(|error| Absent::Refused {
            at: at.to_owned(),
            error: error.to_string(),
        })
    };
    let mounts = mounts(&read("/proc/self/mountinfo")?);
    let own = read("/proc/self/cgroup")?;
    let v1 = |controller: &str| {
        let mount = mounts.iter().find(|mount| mount.controls(controller))?;
        mount.find(&own_path(&own, Some(controller))?)
    };
    if let (Some(memory), Some(pids)) = (v1("memory"), v1("pids")) {
        // Mounted together, they are one directory, and a cgroup is made in it for each: the last that is
        // joined would be the only one that limits.
        let cpu = v1("cpuacct").filter(|cpu| *cpu != memory && *cpu != pids);
        if memory == pids {
            let why = "memory and pids are mounted as one hierarchy of version 1, which is not provided for";
            return Err(Absent::NotMounted(why.to_owned()));
        }
        return Ok(Whereabouts::V1 { memory, pids, cpu });
    }
    let unified = mounts.iter().find(|mount| mount.kind == "cgroup2");
    let place = unified.and_then(|mount| Some((mount, mount.find(&own_path(&own, None)?)?)));
    let Some((mount, own)) = place else {
        return Err(Absent::NotMounted(
            "no cgroup file system is mounted that has our own cgroup in it".to_owned(),
        ));
    };
    distributor(&own, &mount.at).map(Whereabouts::V2)
}

/// The nearest cgroup from our own upwards that gives its children the controllers of memory and pids, or
/// can be made to: one that has processes itself can't, unless it is the root (cgroups(7), "no internal
/// processes").
fn distributor(own: &Path, top: &Path) -> Result<PathBuf, Absent> {
    let has_both = |at: &Path| {
        let text = std::fs::read_to_string(at).unwrap_or_default();
        ["memory", "pids"]
            .iter()
            .all(|wanted| text.split_whitespace().any(|word| word == *wanted))
    };
    let there = top.join("cgroup.controllers");
    if !has_both(&there) {
        return Err(Absent::Refused {
            at: there.display().to_string(),
            error: "the controllers memory and pids are not there".to_owned(),
        });
    }
    let mut refusal = None;
    for at in own.ancestors().take_while(|at| at.starts_with(top)) {
        let control = at.join("cgroup.subtree_control");
        if has_both(&control) {
            return Ok(at.to_owned());
        }
        match std::fs::write(&control, "+memory +pids") {
            Ok(()) => return Ok(at.to_owned()),
            Err(error) => refusal = refusal.or(Some((control, error))),
        }
    }
    let (at, error) = refusal.map_or_else(
        || (own.display().to_string(), "outside of the mount".to_owned()),
        |(at, error)| (at.display().to_string(), error.to_string()),
    );
    Err(Absent::Refused { at, error })
}

/// A cgroup mount.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    /// Which part of the hierarchy it shows.
    root: String,
    at: PathBuf,
    kind: String,
    options: String,
}

impl Mount {
    /// Whether it is a hierarchy of version 1 with this controller.
    fn controls(&self, controller: &str) -> bool {
        self.kind == "cgroup" && self.options.split(',').any(|option| option == controller)
    }

    /// A cgroup of the hierarchy, as seen through this mount; none if it is outside.
    fn find(&self, cgroup: &str) -> Option<PathBuf> {
        let below = Path::new(cgroup).strip_prefix(&self.root).ok()?;
        let inside = below
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        inside.then(|| self.at.join(below))
    }
}

/// The cgroup mounts in a mountinfo (proc_pid_mountinfo(5)).
fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let mut fields = after.splitn(3, ' ');
        let kind = fields.next().filter(|kind| kind.starts_with("cgroup"))?;
        Some(Mount {
            root: unescape(root),
            at: unescape(at).into(),
            kind: kind.to_owned(),
            options: fields.nth(1)?.to_owned(),
        })
    };
    mountinfo.lines().filter_map(mount).collect()
}

/// Undoes mountinfo's octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Our own cgroup in the hierarchy of this controller (version 1) or in that of version 2.
fn own_path(cgroups: &str, controller: Option<&str>) -> Option<String> {
    cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let ours = match controller {
            Some(controller) => controllers.split(',').any(|word| word == controller),
            None => controllers.is_empty(),
        };
        ours.then(|| path.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian 12 has it with systemd, in a container without a cgroup namespace, and in hybrid form.
    const MOUNTS: &str = "\
35 24 0:29 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
40 24 0:31 /docker/abc /sys/fs/cgroup/memory ro,nosuid shared:9 - cgroup cgroup rw,memory
41 24 0:32 / /sys/fs/my\\040groups/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
42 24 0:33 / /proc rw - proc proc rw
";

    #[test]
    fn mounts_and_own_cgroups_are_read() {
        let found = mounts(MOUNTS);
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[0].find("/user.slice/x").unwrap(),
            Path::new("/sys/fs/cgroup/user.slice/x")
        );
        assert_eq!(found[0].find("/../outside"), None);
        let memory = found.iter().find(|mount| mount.controls("memory")).unwrap();
        assert_eq!(
            memory.find("/docker/abc").unwrap(),
            Path::new("/sys/fs/cgroup/memory")
        );
        assert_eq!(memory.find("/elsewhere"), None);
        let cpu = found.iter().find(|mount| mount.controls("cpuacct")).unwrap();
        assert_eq!(cpu.find("/").unwrap(), Path::new("/sys/fs/my groups/cpu,cpuacct"));
        let own = "3:cpu,cpuacct:/a\n2:name=systemd:/b\n0::/user.slice/c:d\n";
        assert_eq!(own_path(own, Some("cpuacct")).as_deref(), Some("/a"));
        assert_eq!(own_path(own, Some("memory")), None);
        assert_eq!(own_path(own, None).as_deref(), Some("/user.slice/c:d"));
    }
}
