//! Where a run's cgroup can be made: the mounts, our own place in them, and who hands out the controllers.

use std::path::{Path, PathBuf};

use super::Absent;
use super::mounts::{Mount, mounts};

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
    match seen(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?) {
        Some(Seen::V1(whereabouts)) => Ok(whereabouts),
        Some(Seen::V2 { own, top }) => distributor(&own, &top).map(Whereabouts::V2),
        None => Err(Absent::NotMounted(
            "no cgroup file system is mounted that has our own cgroup in it".to_owned(),
        )),
    }
}

/// What the two texts tell.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    V1(Whereabouts),
    /// Our own cgroup, and the top of the mount that it is in.
    V2 {
        own: PathBuf,
        top: PathBuf,
    },
}

/// Where we are, from a mountinfo and the list of our cgroups (proc_pid_cgroup(5)). Version 1 where both
/// controllers are in it, else version 2: a controller is in one hierarchy at a time.
fn seen(mountinfo: &str, cgroups: &str) -> Option<Seen> {
    let mounts = mounts(mountinfo);
    // One hierarchy can be mounted several times, and a part of it that we are not in as well.
    let v1 = |controller: &str| {
        let own = own_path(cgroups, Some(controller))?;
        let mut of_it = mounts.iter().filter(|mount| mount.controls(controller));
        of_it.find_map(|mount| mount.find(&own))
    };
    if let (Some(memory), Some(pids)) = (v1("memory"), v1("pids")) {
        let cpu = v1("cpuacct");
        return Some(Seen::V1(Whereabouts::V1 { memory, pids, cpu }));
    }
    let own = own_path(cgroups, None)?;
    let mut unified = mounts.iter().filter(|mount| mount.kind == "cgroup2");
    let place = |mount: &Mount| {
        Some(Seen::V2 {
            own: mount.find(&own)?,
            top: mount.at.clone(),
        })
    };
    unified.find_map(place)
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

    /// Debian 12 with systemd: version 2 alone.
    const UNIFIED: &str = "\
24 30 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
30 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
35 24 0:29 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";

    /// CentOS 7: controllers in pairs, the hierarchy of systemd by its name.
    const PAIRS: &str = "\
18 41 0:18 / /sys rw,nosuid,nodev,noexec,relatime shared:6 - sysfs sysfs rw
41 1 253:0 / / rw,relatime shared:1 - xfs /dev/mapper/centos-root rw,attr2,inode64,noquota
25 18 0:21 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:8 - tmpfs tmpfs ro,mode=755
26 25 0:22 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:9 - cgroup cgroup rw,xattr,release_agent=/usr/lib/systemd/systemd-cgroups-agent,name=systemd
28 25 0:24 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,memory
29 25 0:25 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:12 - cgroup cgroup rw,cpuacct,cpu
30 25 0:26 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid,nodev,noexec,relatime shared:13 - cgroup cgroup rw,net_prio,net_cls
36 25 0:32 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:19 - cgroup cgroup rw,pids
";
    const PAIRS_OWN: &str = "\
11:pids:/user.slice
10:net_prio,net_cls:/
4:cpuacct,cpu:/user.slice
3:memory:/user.slice
1:name=systemd:/user.slice/user-0.slice/session-1.scope
";

    fn v1(memory: &str, pids: &str, cpu: Option<&str>) -> Option<Seen> {
        Some(Seen::V1(Whereabouts::V1 {
            memory: memory.into(),
            pids: pids.into(),
            cpu: cpu.map(PathBuf::from),
        }))
    }

    #[test]
    fn version_2_is_found_with_our_place_in_it() {
        let place = |own: &str| {
            Some(Seen::V2 {
                own: own.into(),
                top: "/sys/fs/cgroup".into(),
            })
        };
        assert_eq!(
            seen(UNIFIED, "0::/user.slice/user-1000.slice/session-2.scope\n"),
            place("/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope")
        );
        assert_eq!(seen(UNIFIED, "0::/a:b\n"), place("/sys/fs/cgroup/a:b"));
        // Above the root of a cgroup namespace.
        assert_eq!(seen(UNIFIED, "0::/../other\n"), None);
    }

    #[test]
    fn version_1_is_found_with_each_controller_where_it_is() {
        assert_eq!(
            seen(PAIRS, PAIRS_OWN),
            v1(
                "/sys/fs/cgroup/memory/user.slice",
                "/sys/fs/cgroup/pids/user.slice",
                Some("/sys/fs/cgroup/cpu,cpuacct/user.slice")
            )
        );
        // systemd's hybrid form: version 2 is there, and the controllers are not in it.
        let hybrid =
            format!("{PAIRS}27 25 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n");
        assert_eq!(
            seen(&hybrid, &format!("{PAIRS_OWN}0::/user.slice\n")),
            seen(PAIRS, PAIRS_OWN)
        );
        // In a container without a cgroup namespace: only its own part is shown.
        let docker = PAIRS
            .replace("0:24 / ", "0:24 /docker/abc ")
            .replace("0:32 / ", "0:32 /docker/abc ");
        let own = "5:pids:/docker/abc\n4:memory:/docker/abc/run\n";
        assert_eq!(
            seen(&docker, own),
            v1("/sys/fs/cgroup/memory/run", "/sys/fs/cgroup/pids", None)
        );
    }

    #[test]
    fn controllers_that_are_mounted_together_are_found_together() {
        let together = "\
25 18 0:21 / /sys/fs/cgroup rw - tmpfs tmpfs rw
26 25 0:24 / /sys/fs/cgroup/all rw,relatime - cgroup none rw,cpuset,cpu,cpuacct,memory,pids
";
        let at = "/sys/fs/cgroup/all/jobs";
        assert_eq!(
            seen(together, "1:cpuset,cpu,cpuacct,memory,pids:/jobs\n"),
            v1(at, at, Some(at))
        );
        // With a name of its own besides.
        let named = together.replace("rw,cpuset,cpu,cpuacct,memory,pids", "rw,memory,pids,name=jobs");
        assert_eq!(seen(&named, "7:memory,pids,name=jobs:/jobs\n"), v1(at, at, None));
        // A hierarchy that only has a controller's word for its name has no controllers.
        let words = "26 25 0:24 / /x rw - cgroup none rw,name=memory\n27 25 0:25 / /y rw - cgroup none rw,name=pids\n";
        assert_eq!(seen(words, "2:name=memory:/\n1:name=pids:/\n"), None);
    }

    #[test]
    fn this_machines_own_texts_are_understood() {
        // The kernel, not we, wrote them: whatever is found has to be there, with its controller's files.
        let read = |at: &str| std::fs::read_to_string(at).unwrap();
        match seen(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")) {
            Some(Seen::V1(Whereabouts::V1 { memory, pids, cpu })) => {
                assert!(memory.join("memory.limit_in_bytes").exists(), "{memory:?}");
                assert!(pids.join("tasks").exists(), "{pids:?}");
                assert!(cpu.is_none_or(|cpu| cpu.join("cpuacct.usage").exists()));
            }
            Some(Seen::V2 { own, top }) => {
                assert!(
                    own.join("cgroup.procs").exists() && own.starts_with(top),
                    "{own:?}"
                );
            }
            other => callgate_testing::not_run("cgroups", &format!("none is mounted here: {other:?}")),
        }
    }
}
