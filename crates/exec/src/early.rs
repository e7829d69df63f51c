//! What a run needs whatever it runs, made on a thread of its own while it is found out what that is: the tier, a uid,
//! the cgroup, and the namespaces that don't depend on the root.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use callgate_cache::Cache;
use callgate_launch::{Launch, LaunchError, Started};

use crate::cgroup::{Absent, Cgroup};
use crate::choose::{Chosen, choose};
use crate::ground::failed;
use crate::limits::Limits;
use crate::outcome::SetUpFailure;
use crate::run::Network;
use crate::tier::{Tier, TierChoice};
use crate::uid::Claim;

/// The beginning of a run, made before the run is known. If it is not used, nothing of it stays.
#[derive(Default)]
pub struct Early(Option<Making>);

struct Making {
    begun: Receiver<Result<Begun, SetUpFailure>>,
    cgroup: Receiver<Result<Cgroup, Absent>>,
    launches: Sender<Launch>,
    started: Receiver<Result<Started, LaunchError>>,
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
        let (launches, to_launch) = channel::<Launch>();
        let (started_to, started) = channel();
        // Not one that is used again (`workers`): it is in other namespaces from then on.
        let thread = Builder::new().spawn(move || {
            let begun = begin(tier, &cache);
            let uid = begun
                .as_ref()
                .ok()
                .and_then(|begun| Some(begun.claim.as_ref()?.uid));
            if begun_to.send(begun).is_err() {
                return;
            }
            // What steps are made of goes first: they are made while the namespaces are.
            let sent = uid.map(|uid| cgroup_to.send(Cgroup::new(uid, &limits)));
            // Where none comes, that is to be known.
            drop(cgroup_to);
            let namespaces = match sent {
                Some(Ok(())) => enter(network),
                Some(Err(_)) => return,
                None => 0,
            };
            // What it launches is born in its namespaces.
            if let Ok(launch) = to_launch.recv() {
                let _ = started_to.send(launch.born_in(namespaces).start());
                // While the root is put together and an interpreter starts there is time to look whether they are the
                // right ones: here, as who has just been woken by the supervisor waits for its processor.
                cache.holds();
            }
        });
        // Where no thread is to be had, the run makes it itself.
        Self(thread.ok().map(|thread| Making {
            begun,
            cgroup,
            launches,
            started,
            _thread: Joined(Some(thread)),
        }))
    }

    /// Waits for what is made first, if anything is.
    pub(crate) fn begun(self) -> Result<(Option<Begun>, Launcher), SetUpFailure> {
        let Some(making) = self.0 else {
            return Ok((None, Launcher(None)));
        };
        match making.begun.recv() {
            Ok(begun) => begun.map(|begun| (Some(begun), Launcher(Some(making)))),
            // It died; nothing of it has been used.
            Err(_) => Ok((None, Launcher(None))),
        }
    }
}

/// Starts the run's first process, from the thread whose namespaces it is to be in.
pub(crate) struct Launcher(Option<Making>);

impl Launcher {
    /// Waits for the cgroup that is being made for the claimed uid, if one is.
    pub(crate) fn cgroup(&self) -> Option<Result<Cgroup, Absent>> {
        self.0.as_ref()?.cgroup.recv().ok()
    }

    /// Starts it. What is returned besides has to be kept as long as the run lasts.
    pub(crate) fn start(self, launch: Launch) -> Result<(Started, Self), LaunchError> {
        let Some(making) = self.0 else {
            return Ok((launch.start()?, Self(None)));
        };
        let gone = || LaunchError::Clone {
            namespaces: 0,
            cgroup: false,
            source: nix::errno::Errno::ESRCH,
        };
        making.launches.send(launch).map_err(|_| gone())?;
        let started = making.started.recv().map_err(|_| gone())??;
        Ok((started, Self(Some(making))))
    }
}

/// The tier, and at tier full a uid.
fn begin(tier: TierChoice, cache: &Cache) -> Result<Begun, SetUpFailure> {
    let chosen = choose(tier, cache)?;
    let claim = match chosen.tier {
        Tier::Full => Some(Claim::any().map_err(failed("uid"))?),
        Tier::Container | Tier::Unprivileged | Tier::Landlock => None,
    };
    Ok(Begun { chosen, claim })
}

/// Enters the namespaces that don't depend on the root, and returns which. If that is refused, the first process asks
/// for them itself, and is refused with its reasons.
fn enter(network: Network) -> u64 {
    let mut namespaces = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if network == Network::None {
        namespaces |= libc::CLONE_NEWNET;
    }
    match nix::sched::unshare(nix::sched::CloneFlags::from_bits_truncate(namespaces)) {
        Ok(()) => namespaces as u64,
        Err(_) => 0,
    }
}
