//! What every root has, whatever runs in it: devices, scratch space, names for the user, time zone, locale.

use crate::error::PlanError;
use crate::identity::Identity;
use crate::plan::Plan;
use crate::{Device, Entry};

/// Answers come from files alone: no network, no daemon (nsswitch.conf(5)).
const NSSWITCH: &str =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n";

impl Plan {
    /// A root with what every root has.
    ///
    /// - `/dev` with null, zero, full, random, urandom; `/dev/shm` as scratch space, since POSIX semaphores and so
    ///   Python's `multiprocessing` locks are files there (sem_overview(7));
    /// - `/tmp` as scratch space and home; `/proc` as an empty directory to mount on;
    /// - `/etc/passwd`, `/etc/group`, `/etc/nsswitch.conf` of its own;
    /// - the host's time zone and zone data, and its C.UTF-8 locale where it has one as files.
    ///
    /// # Errors
    /// Those of [`Plan::add_host`].
    pub fn base(identity: Identity) -> Result<Plan, PlanError> {
        let mut plan = Plan::bare(identity)?;
        for path in ["/usr/share/zoneinfo", "/etc/localtime"] {
            plan.add_host_if_there(path)?;
        }
        Ok(plan)
    }

    /// The same root for somebody else: nothing but the names in it differs.
    ///
    /// # Errors
    /// [`PlanError`] if it has other files in the place of theirs.
    pub fn for_another(&self, identity: Identity) -> Result<Plan, PlanError> {
        let mut plan = self.clone();
        plan.identity = Some(identity);
        for (path, text) in identity.files() {
            plan.replace(path, Entry::text(text))?;
        }
        Ok(plan)
    }

    /// [`Plan::base`] without time zones, which a trace knows better.
    pub(crate) fn bare(identity: Identity) -> Result<Plan, PlanError> {
        let mut plan = Plan::new();
        plan.identity = Some(identity);
        for device in Device::ALL {
            plan.insert(format!("/dev/{}", device.name()), Entry::Device(device))?;
        }
        plan.insert("/dev/shm", Entry::Tmp)?;
        plan.insert("/tmp", Entry::Tmp)?;
        plan.insert("/proc", Entry::Dir { mode: 0o555 })?;
        for (path, text) in identity.files() {
            plan.insert(path, Entry::text(text))?;
        }
        plan.insert("/etc/nsswitch.conf", Entry::text(NSSWITCH.to_owned()))?;
        // Every run has this locale in its environment, whatever the host's is.
        plan.add_host_if_there("/usr/lib/locale/C.utf8")?;
        Ok(plan)
    }
}
