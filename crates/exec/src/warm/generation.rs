//! One template process: how it is launched, asked for forks, and ended.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use callgate_abi::Filter;
use callgate_launch::{Launch, Step, memory_file};
use callgate_python::template::{self, VARIABLES};
use callgate_rootfs::Identity;
use callgate_tracee::Stopper;

use super::keeper::{Keeper, Told};
use super::seat::last_capability;
use super::spec::Spec;
use super::stale::Stamp;
use super::{channel, guard};
use crate::filtering::Filtering;
use crate::ground::Prepared;
use crate::landlock;
use crate::lock::{Lock, Sign, marker_filter};
use crate::outcome::SetUpFailure;
use crate::run::{Network, landlock_layer, launch_failed, system, variables};
use crate::setup::{Ground, Ready, SetUp, Streams, path, text};
use crate::tier::Tier;

/// What a template can do that its runs can't, as bits: enter namespaces (CAP_SYS_ADMIN, CAP_SYS_CHROOT), and
/// let its forks become another user without any of this (CAP_SETUID, CAP_SETGID, CAP_SETPCAP).
const CAPABILITIES: u64 = 1 << 21 | 1 << 18 | 1 << 7 | 1 << 6 | 1 << 8;

/// The same where there are no namespaces. None of them is in effect but in its forks, while they are set up.
pub(super) const BESIDE: u64 = 1 << 18 | 1 << 7 | 1 << 6 | 1 << 8;

/// How long a template may take to fork.
const FORK: Duration = Duration::from_secs(10);

/// A template that is ready. It ends when this value goes.
pub(super) struct Generation {
    control: Mutex<OwnedFd>,
    process: Stopper,
    gone: Arc<AtomicBool>,
    runs: AtomicU64,
    stamp: Stamp,
    pub(super) pid: i32,
    /// The root that it is in.
    pub(super) root: Arc<Prepared>,
    /// What the filter around it asks with, if there is one.
    pub(super) guard: Option<u16>,
    /// Those of a run's filters that it has, and so its forks.
    pub(super) filters: Vec<Filter>,
}

impl Generation {
    /// Starts a template and waits until it is ready.
    pub(super) fn start(spec: &Spec, prepared: Arc<Prepared>) -> Result<Arc<Self>, SetUpFailure> {
        let stamp = Stamp::of(&spec.root, &spec.executable);
        let (ours, theirs) = channel::pair().map_err(system("socketpair"))?;
        channel::patience(&ours, FORK).map_err(system("setsockopt"))?;
        let said = memory_file(b"").map_err(system("memfd_create"))?;
        let guard = match prepared.tier {
            Tier::Container => Some(guard::data(&spec.filter)),
            Tier::Full | Tier::Unprivileged | Tier::Landlock => None,
        };
        let (launch, landlock, filters) = launch(spec, &prepared, guard, &theirs, &said)?;
        let capabilities = last_capability().map_err(system("cap_last_cap"))?;
        let gone = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let keeper = Keeper {
            modules: spec.preimport.clone(),
            said: File::from(said),
            tell: tell.clone(),
            ready: false,
            markers: 0,
            at_marker: false,
            others: BTreeSet::new(),
            guard,
            last_capability: capabilities,
            at_exec: false,
            powerless: false,
            _landlock: landlock,
        };
        let over = Arc::clone(&gone);
        thread::Builder::new()
            .name("template".to_owned())
            .spawn(move || {
                // The tracer, and the parent whose end is the template's, is this thread.
                let ended = keeper.keep(launch, theirs);
                over.store(true, Ordering::SeqCst);
                if let Err(failure) = ended {
                    let _ = tell.send(Told::Failed(failure));
                }
            })
            .map_err(system("a thread for the template"))?;
        let mut process = None;
        loop {
            match told.recv_timeout(spec.patience) {
                Ok(Told::Started(pid, stopper)) => process = Some((pid, stopper)),
                Ok(Told::Ready) => break,
                Ok(Told::Failed(failure)) => return Err(failure),
                Err(_) => {
                    if let Some((_, process)) = process {
                        process.stop(1);
                    }
                    return Err(failure(
                        format!("its imports took longer than {} s", spec.patience.as_secs()),
                        Some("leave out what takes so long, or give it more time"),
                    ));
                }
            }
        }
        let (pid, process) = process.ok_or_else(|| failure("it has no process".to_owned(), None))?;
        Ok(Arc::new(Self {
            control: Mutex::new(ours),
            process,
            gone,
            runs: AtomicU64::new(0),
            stamp,
            pid,
            root: prepared,
            guard,
            filters,
        }))
    }

    /// Forks; after the word [`template::INTO`] into the pid namespace of the first descriptor's process. Returns the
    /// fork's pid, and the numbers that the descriptors have in it.
    pub(super) fn fork(&self, word: u8, fds: &[BorrowedFd<'_>]) -> io::Result<(i32, Vec<i32>)> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = channel::send(&control, word, &[], fds).and_then(|()| channel::numbers(&control));
        let numbers = match answer {
            Ok(numbers) if numbers.len() == fds.len() + 1 => numbers,
            other => {
                // What it says next would be the answer to another question.
                self.end();
                return Err(other
                    .err()
                    .unwrap_or_else(|| io::Error::other("the template has ended")));
            }
        };
        self.runs.fetch_add(1, Ordering::Relaxed);
        match numbers.split_first() {
            Some((pid, rest)) if *pid > 0 => Ok((*pid, rest.to_vec())),
            Some((errno, _)) => Err(io::Error::from_raw_os_error(-errno)),
            None => Err(io::Error::other("the template has ended")),
        }
    }

    /// Its process, in whose mount namespace the root stands.
    pub(super) fn pidfd(&self) -> Option<RawFd> {
        self.process.pidfd().map(|fd| fd.as_raw_fd())
    }

    /// Whether it has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// Whether a fresh one should take its place: it has made enough runs, or its modules have changed.
    pub(super) fn is_worn(&self, spec: &Spec) -> bool {
        self.runs.load(Ordering::Relaxed) >= spec.renew_after
            || self.stamp != Stamp::of(&spec.root, &spec.executable)
    }

    fn end(&self) {
        self.gone.store(true, Ordering::SeqCst);
        self.process.stop(1);
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.end();
    }
}

/// The template's process as it is launched: in the root as a run is, but in our pid namespace, from which it
/// can reach those of its runs, and with privileges.
fn launch(
    spec: &Spec,
    prepared: &Prepared,
    guard: Option<u16>,
    control: &OwnedFd,
    said: &OwnedFd,
) -> Result<(Launch, Option<landlock::Layer>, Vec<Filter>), SetUpFailure> {
    let given = |name: &str| spec.env.iter().any(|(known, _)| known == name);
    let ours: Vec<(&str, &str)> = VARIABLES.into_iter().filter(|(name, _)| !given(name)).collect();
    let mut env = spec.env.clone();
    env.extend(ours.iter().map(|(name, value)| (name.into(), value.into())));
    let hidden: Vec<&str> = ours.iter().map(|(name, _)| *name).collect();
    let argv = template::command(
        &spec.executable,
        control.as_raw_fd(),
        &hidden,
        spec.beginning.as_ref(),
        &spec.preimport,
    );

    // Where it has no network namespace, what keeps it from the network keeps its forks from it.
    let landlock = match guard {
        Some(_) => landlock_layer(&spec.run(None))?,
        None => None,
    };
    let set_up = SetUp {
        tier: prepared.tier,
        ground: &prepared.ground,
        standing: None,
        identity: prepared.identity,
        limits: &spec.limits,
        // With namespaces it has none, whatever network its runs have.
        network: match guard {
            Some(_) => spec.network,
            None => Network::None,
        },
        lock: Lock::Body,
        code: None,
        sign: None,
        filtering: Filtering::Enforced,
        streams: &Streams::default(),
        files: &crate::files::Files::default(),
        landlock: landlock.as_ref(),
        cgroup: None,
        eager: false,
        made: None,
        tasks: None,
    };
    let Ready {
        init, steps: runs, ..
    } = set_up.ready();
    let mut steps = vec![Step::DieWithParent];
    if guard.is_none() {
        steps.push(Step::Unshare(init.namespaces & !(libc::CLONE_NEWPID as u64)));
    }
    steps.extend(init.steps);
    steps.extend([1, 2].map(|to| Step::Dup {
        from: said.as_raw_fd(),
        to,
    }));
    let mut closed = None;
    if let (Some(_), Ground::Directory(root)) = (guard, &prepared.ground) {
        // Its forks' roots lie beside its own. Nothing else is for it, wherever a descriptor may lead.
        let all = root.parent().unwrap_or(root);
        if let Some((allow, enforce)) = landlock.as_ref().map(|layer| layer.beneath(all)) {
            steps.push(allow);
            closed = Some(enforce);
        }
        steps.push(Step::Chroot(path(root)));
    }
    steps.extend([Step::Chdir(text("/")), Step::Umask(0o022)]);
    if guard.is_some() {
        let Identity { uid, gid } = prepared.identity;
        steps.extend([
            // It has the kernel reap what its forks leave, as no init of theirs does.
            Step::Subreaper,
            Step::BoundCapabilities(BESIDE),
            Step::NoGroups,
            Step::Gid(gid),
            Step::UidWith {
                uid,
                capabilities: BESIDE,
            },
            // Changing the uid has cleared it.
            Step::DieWithParent,
        ]);
    } else {
        steps.push(Step::BoundCapabilities(CAPABILITIES));
    }
    steps.push(Step::NoNewPrivs);
    steps.extend(closed);
    steps.extend([
        Step::Dup {
            from: control.as_raw_fd(),
            to: control.as_raw_fd(),
        },
        Step::CloseExcept(vec![0, 1, 2, control.as_raw_fd()]),
    ]);
    let filters: Vec<Filter> = runs.into_iter().filter_map(filter).collect();
    steps.extend(filters.iter().cloned().map(Step::Seccomp));
    if let Some(data) = guard {
        steps.push(Step::Seccomp(guard::filter(data)));
    }
    // Its forks have it too, and answer to it by the marker.
    steps.extend(marker_filter(&Sign::PYTHON).map(Step::Seccomp));
    let launch = Launch::new(&spec.executable, argv, variables(&env, None)).map_err(launch_failed)?;
    Ok((launch.steps(steps), landlock, filters))
}

/// The filter that a step loads.
fn filter(step: Step) -> Option<Filter> {
    match step {
        Step::Seccomp(filter) => Some(filter),
        _ => None,
    }
}

pub(super) fn failure(error: String, advice: Option<&str>) -> SetUpFailure {
    SetUpFailure {
        step: "template".to_owned(),
        error,
        advice: advice.map(str::to_owned),
    }
}
