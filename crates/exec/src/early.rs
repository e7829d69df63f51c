//! What a run needs whatever it runs, made on a thread of its own while it is found out what that is: the tier, a uid,
//! the cgroup, and the namespaces that don't depend on the root.

use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use callgate_cache::Cache;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, gettid};

use crate::cgroup::{Absent, Cgroup, Site};
use crate::choose::{Chosen, choose};
use crate::ground::failed;
use crate::limits::Limits;
use crate::near::{bind_here, here, leave};
use crate::outcome::SetUpFailure;
use crate::run::Network;
use crate::setup::{Made, advice};
use crate::tier::{Tier, TierChoice};
use crate::uid::Claim;

/// The beginning of a run, made before the run is known. If it is not used, nothing of it stays.
#[derive(Default)]
pub struct Early(Option<Making>);

struct Making {
    begun: Receiver<Result<Begun, SetUpFailure>>,
    rest: Rest,
}

/// What is made when the first is known.
pub(crate) struct Rest {
    /// The namespaces that are being made, if any are.
    spaces: Option<Spaces>,
    cgroup: Receiver<Result<Cgroup, Absent>>,
    made: Receiver<Result<(), Errno>>,
    /// The thread stays in its namespaces as long as this does, and looks at what was recalled when it is told to.
    stay: Cell<Option<Sender<()>>>,
    /// Who that is, as soon as it is known.
    thread: Option<Pid>,
    /// The last to go: without the others it comes to its end.
    _thread: Joined,
}

/// A thread that is waited for, so that nothing of what it makes outlives us.
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

/// What is made first, and all else depends on.
pub(crate) struct Begun {
    pub(crate) chosen: Chosen,
    /// At tier full.
    pub(crate) claim: Option<Claim>,
    /// The namespaces that are made next, if any are.
    spaces: Option<Spaces>,
    /// Who makes them.
    thread: Pid,
}

/// Namespaces of a thread.
struct Spaces {
    /// Its `/proc/PID/task/TID/ns`.
    directory: File,
    namespaces: CloneFlags,
}

impl Spaces {
    /// Those that the calling thread will be in. Without /proc, or where an outer sandbox refuses to join any, there are
    /// none, and a run makes them itself.
    fn of_mine(network: Network) -> Option<Self> {
        let mut namespaces = CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        if network == Network::None {
            namespaces |= CloneFlags::CLONE_NEWNET;
        }
        let directory = File::open("/proc/thread-self/ns").ok()?;
        // The one that we are in already.
        let own = openat(
            &directory,
            "uts",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        setns(own.ok()?, CloneFlags::CLONE_NEWUTS).ok()?;
        Some(Self {
            directory,
            namespaces,
        })
    }
}

impl Early {
    /// Nothing is made before the run is known.
    pub fn none() -> Self {
        Self::default()
    }

    /// Begins with a run that will be asked for with these words.
    pub fn begin(tier: TierChoice, limits: Limits, network: Network, cache: &Arc<Cache>) -> Self {
        let cache = Arc::clone(cache);
        let (begun_to, begun) = channel();
        let (cgroup_to, cgroup) = channel();
        let (made_to, made) = channel();
        let (stay, until) = channel::<()>();
        let cpu = here();
        // Not one that is used again (`workers`): it is in other namespaces from then on.
        let thread = Builder::new().spawn(move || {
            leave(cpu);
            let begun = begin(tier, network, &cache);
            let first = begun.as_ref().ok().map(|begun| {
                let namespaces = begun.spaces.as_ref().map(|spaces| spaces.namespaces);
                (begun.claim.as_ref().map(|claim| claim.uid), namespaces)
            });
            let Some((uid, namespaces)) = first else {
                let _ = begun_to.send(begun);
                return;
            };
            if begun_to.send(begun).is_err() {
                return;
            }
            // What steps are made of goes first: the namespaces are joined when the root stands.
            let site = uid.map(|uid| (uid, Site::unswept()));
            if let Some((uid, site)) = &site {
                let made = site.as_ref().map_err(Clone::clone);
                let made = made.and_then(|site| site.make_for_init(*uid, &limits));
                if cgroup_to.send(made).is_err() {
                    return;
                }
            }
            // Where none comes, that is to be known.
            drop(cgroup_to);
            if let Some(namespaces) = namespaces {
                let _ = made_to.send(unshare(namespaces));
            }
            if let Some((_, Ok(site))) = &site {
                site.sweep();
            }
            if until.recv().is_ok() {
                cache.holds();
            }
        });
        // Where no thread is to be had, the run makes it itself.
        Self(thread.ok().map(|thread| Making {
            begun,
            rest: Rest {
                spaces: None,
                cgroup,
                made,
                stay: Cell::new(Some(stay)),
                thread: None,
                _thread: Joined(Some(thread)),
            },
        }))
    }

    /// Waits for what is made first, if anything is.
    pub(crate) fn begun(self) -> Result<Option<(Begun, Rest)>, SetUpFailure> {
        let Some(Making { begun, mut rest }) = self.0 else {
            return Ok(None);
        };
        match begun.recv() {
            Ok(begun) => begun.map(|mut begun| {
                rest.spaces = begun.spaces.take();
                rest.thread = Some(begun.thread);
                Some((begun, rest))
            }),
            // It died; nothing of it has been used.
            Err(_) => Ok(None),
        }
    }
}

impl Rest {
    /// Waits for the cgroup that is being made for the claimed uid, if one is.
    pub(crate) fn cgroup(&self) -> Option<Result<Cgroup, Absent>> {
        self.cgroup.recv().ok()
    }

    /// The namespaces that the run's first process is to join.
    pub(crate) fn spaces(&self) -> Option<Made<'_>> {
        self.spaces.as_ref().map(|spaces| Made {
            directory: spaces.directory.as_fd(),
            namespaces: spaces.namespaces.bits() as u64,
        })
    }

    /// Waits until they are made.
    pub(crate) fn made(&self) -> Result<(), SetUpFailure> {
        if self.spaces.is_none() {
            return Ok(());
        }
        let made = self.made.recv().unwrap_or(Err(Errno::ESRCH));
        made.map_err(|errno| SetUpFailure {
            step: "unshare".to_owned(),
            error: errno.to_string(),
            advice: advice("unshare", errno),
        })
    }

    /// The run's first process has joined the namespaces, and all is recalled that will be: looks meanwhile whether that
    /// holds. `here`, on the calling thread's CPU, when that thread is about to wait and others have work to do.
    pub(crate) fn look(&self, here: bool) {
        let Some(stay) = self.stay.take() else {
            return;
        };
        if let (true, Some(thread)) = (here, self.thread) {
            bind_here(thread);
        }
        // One that has ended has nothing to look at.
        let _ = stay.send(());
    }
}

/// The tier, and at tier full a uid and where the namespaces will be.
fn begin(tier: TierChoice, network: Network, cache: &Cache) -> Result<Begun, SetUpFailure> {
    let chosen = choose(tier, cache)?;
    let (claim, spaces) = match chosen.tier {
        Tier::Full => (
            Some(Claim::any().map_err(failed("uid"))?),
            Spaces::of_mine(network),
        ),
        Tier::Container | Tier::Unprivileged | Tier::Landlock => (None, None),
    };
    Ok(Begun {
        chosen,
        claim,
        spaces,
        thread: gettid(),
    })
}
