//! One template process, from its start to its end.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use callgate_launch::{Launch, Step, memory_file};
use callgate_python::prelude::Marker;
use callgate_python::template::{self, VARIABLES};
use callgate_rootfs::Identity;
use callgate_tracee::{Event, Injector, Moment, Options, Reason, Resume, Stopped, Stopper, TraceeError};
use nix::sys::wait::waitpid;

use super::seat::{last_capability, make};
use super::spec::Spec;
use super::stale::Stamp;
use super::{channel, guard};
use crate::attend::tracing;
use crate::filtering::Filtering;
use crate::ground::Prepared;
use crate::landlock;
use crate::lock::{Lock, MARKER_DATA, Sign, marker_filter};
use crate::outcome::SetUpFailure;
use crate::run::{Network, landlock_layer, launch_failed, system, variables};
use crate::seize::seize;
use crate::setup::{Ground, Ready, SetUp, Streams, path, text};
use crate::supervise::{WatchError, is_exit, is_marker};
use crate::tier::Tier;
use crate::violation::process_of;

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
        let (launch, landlock) = launch(spec, &prepared, guard, &theirs, &said)?;
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
        }))
    }

    /// Forks; after the word [`template::INTO`] into the pid namespace of the first descriptor's process. Returns the
    /// fork's pid, and the numbers that the descriptors have in it.
    pub(super) fn fork(&self, word: u8, fds: &[BorrowedFd<'_>]) -> io::Result<(i32, Vec<i32>)> {
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = channel::send(&control, word, fds).and_then(|()| channel::numbers(&control));
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
) -> Result<(Launch, Option<landlock::Layer>), SetUpFailure> {
    let given = |name: &str| spec.env.iter().any(|(known, _)| known == name);
    let ours: Vec<(&str, &str)> = VARIABLES.into_iter().filter(|(name, _)| !given(name)).collect();
    let mut env = spec.env.clone();
    env.extend(ours.iter().map(|(name, value)| (name.into(), value.into())));
    let hidden: Vec<&str> = ours.iter().map(|(name, _)| *name).collect();
    let argv = template::command(&spec.executable, control.as_raw_fd(), &hidden, &spec.preimport);

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
    if let Some(data) = guard {
        // Those of its runs, which they have from it.
        steps.extend(runs.into_iter().filter(|step| matches!(step, Step::Seccomp(_))));
        steps.push(Step::Seccomp(guard::filter(data)));
    }
    // Its forks have it too, and answer to it by the marker.
    steps.extend(marker_filter(&Sign::PYTHON).map(Step::Seccomp));
    let launch = Launch::new(&spec.executable, argv, variables(&env, None)).map_err(launch_failed)?;
    Ok((launch.steps(steps), landlock))
}

/// What the keeper says.
enum Told {
    Started(i32, Stopper),
    Ready,
    Failed(SetUpFailure),
}

/// Starts the template, watches it, and sees its end.
struct Keeper {
    modules: Vec<String>,
    /// What it writes.
    said: File,
    tell: mpsc::Sender<Told>,
    ready: bool,
    markers: usize,
    at_marker: bool,
    /// Threads and processes of its start-up that have not ended.
    others: BTreeSet<i32>,
    /// What the filter around it asks with.
    guard: Option<u16>,
    last_capability: u64,
    at_exec: bool,
    /// Where there is a guard: its capabilities are not in effect any more.
    powerless: bool,
    /// Until it is in force there.
    _landlock: Option<landlock::Layer>,
}

impl Keeper {
    fn keep(mut self, launch: Launch, control: OwnedFd) -> Result<(), SetUpFailure> {
        let mut process = launch.start().map_err(launch_failed)?;
        let pid = process.pid();
        let seized = seize(pid.as_raw(), Options::FILTERED).map_err(|error| tracing(&error));
        let handle =
            Stopper::new(pid.as_raw()).map_err(|errno| failure(format!("pidfd_open: {errno}"), None));
        let (mut tracer, handle) = match seized.and_then(|tracer| Ok((tracer, handle?))) {
            Ok(both) => both,
            Err(failure) => {
                // It waits for a word from us, and ends without one.
                drop(process);
                let _ = waitpid(pid, None);
                return Err(failure);
            }
        };
        let _ = self.tell.send(Told::Started(pid.as_raw(), handle.clone()));
        let _ = process.go();
        drop(control);
        let mut trouble = None;
        while let Some(event) = tracer.wait().map_err(|error| tracing(&error))? {
            match event {
                Event::Stopped(tracee) => {
                    if let Err(failure) = self.stopped(tracee, pid.as_raw()) {
                        handle.stop(1);
                        trouble.get_or_insert(failure);
                    }
                }
                // With it ends all that it has left, as this thread is their tracer.
                Event::Exited { tid, .. } | Event::Killed { tid, .. } if tid == pid.as_raw() => break,
                Event::Exited { tid, .. } | Event::Killed { tid, .. } => {
                    self.others.remove(&tid);
                }
            }
        }
        if self.ready {
            return Ok(());
        }
        if let Some(failure) = trouble {
            return Err(failure);
        }
        if let Ok(Some(failed)) = process.reports().map(|reports| reports.failure) {
            return Err(crate::setup::explain(&failed));
        }
        Err(self.not_ready())
    }

    fn stopped(&mut self, tracee: Stopped, template: i32) -> Result<(), SetUpFailure> {
        let done = self.step(tracee, template);
        match done {
            Ok(checked) => checked,
            Err(error) if error.is_gone() => Ok(()),
            Err(error) => Err(tracing(&error)),
        }
    }

    fn step(&mut self, tracee: Stopped, template: i32) -> Result<Result<(), SetUpFailure>, TraceeError> {
        if tracee.tid() != template {
            self.others.insert(tracee.tid());
        }
        if self.refused(&tracee)? {
            return tracee.resume(Resume::Freely).map(Ok);
        }
        if self.guard.is_some() && tracee.tid() == template && !self.powerless {
            return self.disarm(tracee);
        }
        if tracee.tid() != template || self.ready {
            return tracee.resume(Resume::Freely).map(Ok);
        }
        if tracee.reason() == Reason::Seccomp
            && is_marker(&tracee, &Sign::PYTHON, |data| data == MARKER_DATA)?
        {
            self.at_marker = true;
        } else if tracee.reason() == Reason::Syscall && self.at_marker && is_exit(&tracee)? {
            self.at_marker = false;
            if let Err(failure) = self.check(template) {
                tracee.resume(Resume::Freely)?;
                return Ok(Err(failure));
            }
            self.markers += 1;
            if self.markers > self.modules.len() {
                // Its forks are others' business.
                tracee.set_options(Options::GUARD)?;
                self.ready = true;
                let _ = self.tell.send(Told::Ready);
            }
            tracee.set_result(Marker::ACK as i64)?;
        }
        let how = match self.at_marker {
            true => Resume::ToNextSyscall,
            false => Resume::Freely,
        };
        tracee.resume(how).map(Ok)
    }

    /// Refuses what the filter around it asks about; but a process that shares its memory is a tracee like all, and
    /// has ended when the template is ready.
    fn refused(&self, tracee: &Stopped) -> Result<bool, TraceeError> {
        if tracee.reason() != Reason::Seccomp || self.guard.is_none() {
            return Ok(false);
        }
        let stop = tracee.syscall()?;
        let Moment::Seccomp { data, .. } = stop.moment else {
            return Ok(false);
        };
        if Some(data) != self.guard.map(u32::from) {
            return Ok(false);
        }
        let name = stop.call().and_then(|(call, _)| call.known_name());
        if !matches!(name, Some("vfork" | "clone")) {
            tracee.refuse(libc::EPERM as u16)?;
        }
        Ok(true)
    }

    /// On its way to its first instruction: takes its capabilities out of effect when it has been executed.
    fn disarm(&mut self, tracee: Stopped) -> Result<Result<(), SetUpFailure>, TraceeError> {
        if tracee.reason() == Reason::Exec {
            self.at_exec = true;
        }
        if !self.at_exec {
            return tracee.resume(Resume::Freely).map(Ok);
        }
        // The exec's own return has to come before a call can be injected.
        if tracee.reason() != Reason::Syscall || !is_exit(&tracee)? {
            return tracee.resume(Resume::ToNextSyscall).map(Ok);
        }
        let mut injector = Injector::new(tracee, true)?;
        let none = [Step::Capabilities {
            effective: 0,
            permitted: BESIDE,
        }];
        match make(&mut injector, &none, self.last_capability) {
            Ok(()) => self.powerless = true,
            Err(WatchError::Tracee(error)) => return Err(error),
            Err(error) => return Ok(Err(failure(error.to_string(), None))),
        }
        injector.resume(None, Resume::Freely).map(Ok)
    }

    /// A fork has one thread, and no process but itself is in it.
    fn check(&self, template: i32) -> Result<(), SetUpFailure> {
        let what = match self.modules.get(self.markers) {
            Some(module) => format!("importing {module}"),
            None => "the interpreter's start-up".to_owned(),
        };
        let mut names: Vec<String> = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{template}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            names.push(name.trim().to_owned());
        }
        if names.len() != 1 {
            return Err(failure(
                format!(
                    "{what} left {} threads running, which forks would lack ({})",
                    names.len(),
                    names.join(", ")
                ),
                Some(
                    "leave it out of what is imported ahead, or keep it from starting threads by a variable",
                ),
            ));
        }
        let stray = |tid: &&i32| process_of(**tid).is_some_and(|pid| pid != template);
        match self.others.iter().find(stray) {
            Some(tid) => Err(failure(
                format!("{what} left process {tid} running"),
                Some("leave it out of what is imported ahead"),
            )),
            None => Ok(()),
        }
    }

    /// Why it ended before it was ready: the last line that it wrote.
    fn not_ready(&mut self) -> SetUpFailure {
        let mut text = Vec::new();
        let read = self.said.rewind().and_then(|()| self.said.read_to_end(&mut text));
        let text = String::from_utf8_lossy(&text).into_owned();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let why = match (read, last) {
            (Ok(_), Some(line)) => line.to_owned(),
            _ => "it ended without a word".to_owned(),
        };
        match self.modules.get(self.markers) {
            Some(module) => failure(
                format!("importing {module}: {why}"),
                Some("what is imported ahead must be installed for the interpreter, and in its root"),
            ),
            None => failure(
                why,
                Some("`callgate root check` lists shared objects that are missing in the root"),
            ),
        }
    }
}

pub(super) fn failure(error: String, advice: Option<&str>) -> SetUpFailure {
    SetUpFailure {
        step: "template".to_owned(),
        error,
        advice: advice.map(str::to_owned),
    }
}
