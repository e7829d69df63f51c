//! The order of the steps, and why it is that.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use callgate_launch::{Init, Step};
use callgate_rootfs::Entry;

use super::namespaces::namespaces;
use super::{Ground, Ready, SetUp, path, text};
use crate::closed;
use crate::filtering;
use crate::kernel;
use crate::keyrings::no_keyrings;
use crate::landlock;
use crate::lock::{Lock, marker_filter};
use crate::mounted;
use crate::network::no_sockets;
use crate::run::Network;
use crate::tier::Tier;

impl SetUp<'_> {
    /// The set-up in its order.
    pub(crate) fn ready(&self) -> Ready {
        let mut layers = Vec::new();
        let mut init = Init::default();
        let mounts = matches!(self.tier, Tier::Full | Tier::Unprivileged);
        if mounts {
            for (flag, name) in namespaces(self.tier) {
                if flag == libc::CLONE_NEWNET as u64 && self.network == Network::Host {
                    continue;
                }
                // That of cgroups comes when the run's own cgroup is joined: it is the root of the view.
                if flag != libc::CLONE_NEWCGROUP as u64 {
                    init.namespaces |= flag;
                }
                layers.push(format!("{name} namespace"));
            }
            init.steps = match (self.standing, self.ground) {
                (Some(standing), _) => {
                    // By a step: the namespace that is copied has to be entered before.
                    init.namespaces &= !(libc::CLONE_NEWNS as u64);
                    standing.steps(self.identity, &self.writable().0, self.limits)
                }
                (None, Ground::Planned(plan)) => mounted::plan_steps(plan, self.limits),
                (None, Ground::Directory(dir)) => mounted::directory_steps(dir, self.limits),
                (None, Ground::Host { .. }) => Vec::new(),
            };
            layers.push("read-only root (pivot_root)".to_owned());
        } else if self.tier == Tier::Container {
            // Never where the uid is the user's own, who has other processes.
            init.sweep = Some(self.identity.uid);
        }
        // The cgroup first of all, so that whatever the set-up uses counts as the run's.
        let mut first = Vec::new();
        if let Some(cgroup) = self.cgroup {
            init.cgroup = cgroup.descriptor();
            first = cgroup.steps();
            layers.push(cgroup.name().to_owned());
        }
        if mounts {
            first.push(Step::Unshare(libc::CLONE_NEWCGROUP as u64));
        }
        // A terminal's signals are the supervisor's business, which ends the run in order: an init that
        // dies of them could not kill the rest.
        first.push(Step::NewSession);
        init.steps.splice(0..0, first);
        if self.eager {
            // As it is not traced for all of its life ([`Watch::freeing_init`](crate::supervise::Watch::freeing_init)).
            init.steps.insert(0, Step::DieWithParent);
            init.eager = std::mem::take(&mut init.steps);
        }
        if let Some(made) = self.made {
            init.namespaces &= !made.namespaces;
            init.steps.push(Step::Join {
                directory: made.directory.as_raw_fd(),
                namespaces: made.namespaces,
            });
        }
        if mounts {
            init.steps.push(Step::Hostname(text("callgate")));
        }

        // The child. Its session first: a terminal's signals and TIOCSTI are none of its business.
        let mut steps = vec![Step::NewSession];
        let streams = [
            (&self.streams.stdin, 0),
            (&self.streams.stdout, 1),
            (&self.streams.stderr, 2),
        ];
        for (stream, to) in streams {
            if let Some(fd) = stream {
                steps.push(Step::Dup {
                    from: fd.as_raw_fd(),
                    to,
                });
            }
        }
        // The root before the uid: chroot needs a capability that the uid change drops.
        if let (Ground::Directory(dir), false) = (self.ground, mounts) {
            steps.push(Step::Chroot(path(dir)));
            layers.push("chroot".to_owned());
        }
        steps.push(Step::Chdir(path(self.work_directory())));
        steps.push(Step::Umask(0o022));
        steps.extend(self.limits.steps(self.cgroup.is_some(), self.process_limit()));
        layers.push(match self.cgroup {
            Some(_) => "rlimits".to_owned(),
            None => "rlimits (memory and CPU time per process)".to_owned(),
        });
        // The bounding set before the uid: dropping from it needs CAP_SETPCAP. An ordinary user without a user
        // namespace has none of it to drop, and no_new_privs keeps any from being got by it.
        if self.tier != Tier::Landlock {
            steps.push(Step::NoCapabilityBounds);
        }
        if matches!(self.tier, Tier::Full | Tier::Container) {
            // The groups and the gid before the uid: afterwards neither may be changed.
            steps.extend([
                Step::NoGroups,
                Step::Gid(self.identity.gid),
                Step::Uid(self.identity.uid),
            ]);
        }
        layers.push(format!("uid {}", self.identity.uid));
        // A user namespace's creator has every capability in it, whatever its uid.
        steps.push(Step::NoCapabilities);
        layers.push("no capabilities".to_owned());
        // After the uid change, which clears it (prctl(2), PR_SET_PDEATHSIG).
        steps.push(Step::DieWithParent);
        // As the code's own user, to whom the copies belong then; before Landlock, as it is our doing.
        steps.extend(self.files.steps(self.work_directory()));
        // Before Landlock and the filters: without capabilities they demand it.
        steps.push(Step::NoNewPrivs);
        layers.push("no_new_privs".to_owned());
        if let (Some(layer), Ground::Host { reachable, .. }) = (self.landlock, self.ground) {
            steps.extend(layer.host_steps(reachable));
            layers.push(format!("{} on the host's own tree", layer.name()));
        } else if let Some(layer) = self.landlock {
            let (scratch, devices) = self.writable();
            let scratch: Vec<&Path> = scratch.iter().map(PathBuf::as_path).collect();
            let devices: Vec<&Path> = devices.iter().map(PathBuf::as_path).collect();
            steps.extend(layer.steps(&scratch, &devices));
            layers.push(layer.name());
        }
        // After Landlock, whose ruleset is a descriptor.
        let mut keep = vec![0, 1, 2];
        if let Some(code) = self.code {
            steps.push(Step::Dup { from: code, to: code });
            keep.push(code);
        }
        steps.push(Step::CloseExcept(keep));
        steps.push(Step::Seccomp(filtering::layer(no_keyrings(), self.filtering)));
        layers.push("no keyrings (seccomp)".to_owned());
        // After the limits and all else that it refuses.
        if self.tier == Tier::Landlock {
            steps.push(Step::Seccomp(filtering::layer(closed::filter(), self.filtering)));
            layers.push("seccomp against what Landlock does not hold".to_owned());
        }
        let own = init.namespaces | self.made.map_or(0, |made| made.namespaces);
        let own_network = own & libc::CLONE_NEWNET as u64 != 0;
        if self.network == Network::None && !own_network {
            let scoped = self.landlock.is_some_and(landlock::Layer::scopes_sockets);
            steps.push(Step::Seccomp(filtering::layer(
                no_sockets(scoped),
                self.filtering,
            )));
            layers.push("no sockets (seccomp)".to_owned());
        }
        // Last, so that no step is asked about: it lets everything pass but the marker. Without it nobody
        // would answer the marker, and the prelude would refuse to run the code.
        if let Some(sign) = &self.sign {
            steps.extend(marker_filter(sign).map(Step::Seccomp));
        }
        layers.push(self.filtering.layer(match self.lock {
            Lock::Body => "from the first line",
            Lock::Exec => "from the exec",
        }));
        Ready { init, steps, layers }
    }

    /// How many processes the run's uid may have, if its own can be told from others.
    fn process_limit(&self) -> Option<u64> {
        let pids = self.limits.pids;
        match (self.tier, self.cgroup) {
            // The cgroup is to refuse first, because it counts how often it did.
            (Tier::Full | Tier::Container, Some(_)) => Some(pids + 1),
            (Tier::Full | Tier::Container, None) => Some(pids),
            // A user namespace counts its own processes, and the init is one of them (Linux 5.14). Before,
            // all processes of the user counted.
            (Tier::Unprivileged, _) => kernel::at_least(5, 14).then_some(pids + 1),
            // All processes of the user count: those that are there, the init, and the run's.
            (Tier::Landlock, _) => self.tasks.map(|tasks| tasks + 1 + pids),
        }
    }

    /// Where the code starts: the scratch directory, if the root has one.
    fn work_directory(&self) -> &Path {
        self.ground.work_directory().unwrap_or(Path::new("/"))
    }

    /// The scratch directories and devices of the root, as seen in it.
    fn writable(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        match self.ground {
            Ground::Planned(plan) => {
                let of = |wanted: fn(&Entry) -> bool| {
                    plan.iter()
                        .filter(|(_, e)| wanted(e))
                        .map(|(at, _)| at.to_path_buf())
                        .collect()
                };
                (
                    of(|e| matches!(e, Entry::Tmp)),
                    of(|e| matches!(e, Entry::Device(_))),
                )
            }
            Ground::Directory(dir) => {
                let devices = callgate_rootfs::Device::ALL.map(|d| Path::new("/dev").join(d.name()));
                let there = |at: &PathBuf| dir.join(at.strip_prefix("/").unwrap_or(at)).exists();
                (
                    mounted::scratch_of(dir),
                    devices.into_iter().filter(there).collect(),
                )
            }
            Ground::Host { scratch, .. } => (vec![scratch.path().to_owned()], Vec::new()),
        }
    }
}
