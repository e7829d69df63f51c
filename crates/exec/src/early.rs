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
    made: Receiver<Result<Made, SetUpFailure>>,
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

/// What has been made.
pub(crate) struct Made {
    pub(crate) chosen: Chosen,
    /// At tier full.
    pub(crate) claim: Option<Claim>,
    /// At tier full, or why there is none.
    pub(crate) cgroup: Option<Result<Cgroup, Absent>>,
    /// The namespaces (`CLONE_NEW*`) that the thread is in, and with it what it launches.
    namespaces: u64,
}

impl Early {
    /// Nothing is made before the run is known.
    pub fn none() -> Self {
        Self::default()
    }

    /// Begins with a run that will be asked for with these words.
    pub fn begin(tier: TierChoice, limits: Limits, network: Network, cache: &Arc<Cache>) -> Self {
        let cache = Arc::clone(cache);
        let (made_to, made) = channel();
        let (launches, to_launch) = channel::<Launch>();
        let (started_to, started) = channel();
        // Not one that is used again (`workers`): it is in other namespaces from then on.
        let thread = Builder::new().spawn(move || {
            if made_to.send(make(tier, &limits, network, &cache)).is_err() {
                return;
            }
            // What it launches is born in its namespaces.
            if let Ok(launch) = to_launch.recv() {
                let _ = started_to.send(launch.start());
                // While the root is put together and an interpreter starts there is time to look whether they are the
                // right ones: here, as who has just been woken by the supervisor waits for its processor.
                cache.holds();
            }
        });
        // Where no thread is to be had, the run makes it itself.
        Self(thread.ok().map(|thread| Making {
            made,
            launches,
            started,
            _thread: Joined(Some(thread)),
        }))
    }

    /// Waits for what is being made, if anything is.
    pub(crate) fn made(self) -> Result<(Option<Made>, Launcher), SetUpFailure> {
        let Some(making) = self.0 else {
            return Ok((None, Launcher(None)));
        };
        match making.made.recv() {
            Ok(made) => made.map(|made| {
                let namespaces = made.namespaces;
                (Some(made), Launcher(Some((making, namespaces))))
            }),
            // It died; nothing of it has been used.
            Err(_) => Ok((None, Launcher(None))),
        }
    }
}

/// Starts the run's first process, from the thread whose namespaces it is to be in.
pub(crate) struct Launcher(Option<(Making, u64)>);

impl Launcher {
    /// The namespaces that what it starts is in without asking for them.
    pub(crate) fn namespaces(&self) -> u64 {
        self.0.as_ref().map_or(0, |(_, namespaces)| *namespaces)
    }

    /// Starts it. What is returned besides has to be kept as long as the run lasts.
    pub(crate) fn start(self, launch: Launch) -> Result<(Started, Self), LaunchError> {
        let Some((making, namespaces)) = self.0 else {
            return Ok((launch.start()?, Self(None)));
        };
        let gone = || LaunchError::Clone {
            namespaces: 0,
            cgroup: false,
            source: nix::errno::Errno::ESRCH,
        };
        making.launches.send(launch).map_err(|_| gone())?;
        let started = making.started.recv().map_err(|_| gone())??;
        Ok((started, Self(Some((making, namespaces)))))
    }
}

fn make(tier: TierChoice, limits: &Limits, network: Network, cache: &Cache) -> Result<Made, SetUpFailure> {
    let chosen = choose(tier, cache)?;
    if chosen.tier != Tier::Full {
        return Ok(Made {
            chosen,
            claim: None,
            cgroup: None,
            namespaces: 0,
        });
    }
    let claim = Claim::any().map_err(failed("uid"))?;
    let cgroup = Cgroup::new(claim.uid, limits);
    let mut namespaces = libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if network == Network::None {
        namespaces |= libc::CLONE_NEWNET;
    }
    // If it is refused, the first process asks for them itself, and is refused with its reasons.
    let entered = nix::sched::unshare(nix::sched::CloneFlags::from_bits_truncate(namespaces)).is_ok();
    Ok(Made {
        chosen,
        claim: Some(claim),
        cgroup: Some(cgroup),
        namespaces: if entered { namespaces as u64 } else { 0 },
    })
}
