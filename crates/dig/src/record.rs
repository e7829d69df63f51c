//! Runs a probe to its end and records what it does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};

use callgate_abi::{Arch, Syscall};
use callgate_launch::{Launch, Step, memory_file};
use callgate_python::prelude;
use callgate_trace::{Counts, Ending, EndingKind, Phase, Python, SCHEMA, Trace};
use callgate_tracee::{Event, Moment, Options, Reason, Resume, Stopped, Stopper, Tracer};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;

use crate::calls::Calls;
use crate::error::DigError;
use crate::files::{Files, Pending};
use crate::live::{Live, watch};
use crate::request::{Request, Target, Word};
use crate::sites::Sites;

/// Runs the probe to its end, its children and threads to theirs, and returns what they did.
/// `started` gets a handle by which another thread can cut the recording short; what was seen until
/// then is returned all the same, marked by its [`Ending`].
///
/// # Errors
/// [`DigError`] if nothing could be recorded: the probe can't be run, or ptrace is refused.
pub fn record(request: Request, started: impl FnOnce(Stopper)) -> Result<Trace, DigError> {
    let Prepared {
        launch,
        command,
        python,
        script,
        code,
    } = prepare(&request)?;
    let mut process = launch.start()?;
    let main = process.pid().as_raw();
    let mut tracer = Tracer::seize(main, Options::FOLLOW)?;
    let stopper = Stopper::new(main).map_err(|errno| DigError::System {
        what: "pidfd_open",
        errno,
    })?;
    started(stopper.clone());
    // A seized tracee runs freely until it is stopped once: without this, the call that executes the
    // probe would be missed. A child that is gone already says so in its report, or by how it ended.
    match ptrace::interrupt(process.pid()) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => {
            return Err(DigError::System {
                what: "PTRACE_INTERRUPT",
                errno,
            });
        }
    }
    let _ = process.go();
    drop(code);
    let live = Live::new(main);
    let watch = watch(stopper.clone(), live.clone(), request.timeout);
    let mut recorder = Recorder::new(main, script, stopper, live);
    while let Some(event) = tracer.wait()? {
        recorder.handle(event)?;
    }
    drop(watch);
    let reports = process.reports().map_err(|e| DigError::System {
        what: "reading the report",
        errno: Errno::from_raw(e.raw_os_error().unwrap_or(0)),
    })?;
    if let Some(failure) = reports.failure {
        return Err(DigError::from_failure(failure));
    }
    recorder.into_trace(command, python)
}

/// A probe that is ready to start.
struct Prepared {
    launch: Launch,
    command: Vec<String>,
    python: Option<Python>,
    script: bool,
    /// The descriptor that the code comes by; the child has its own copy once it runs.
    code: Option<OwnedFd>,
}

fn prepare(request: &Request) -> Result<Prepared, DigError> {
    let env = request.env.iter().map(|(name, value)| {
        let mut variable = OsString::from(name);
        variable.push("=");
        variable.push(value);
        variable
    });
    let text = |s: &OsString| s.to_string_lossy().into_owned();
    let to_stderr = request.stdout_to_stderr.then_some(Step::Dup { from: 2, to: 1 });
    match &request.target {
        Target::Command { program, argv } => Ok(Prepared {
            launch: Launch::new(program, argv, env)?.steps(to_stderr),
            command: argv.iter().map(text).collect(),
            python: None,
            script: false,
            code: None,
        }),
        Target::Script {
            interpreter,
            code,
            name,
            args,
        } => {
            let fd = memory_file(code).map_err(DigError::Code)?;
            let number = fd.as_raw_fd();
            let argv = prelude::command(&interpreter.executable, number, name, args);
            let launch = Launch::new(&interpreter.executable, &argv, env)?
                .steps(to_stderr)
                .step(Step::Dup {
                    from: number,
                    to: number,
                });
            let mut command = vec![interpreter.executable.display().to_string(), name.clone()];
            command.extend(args.iter().map(text));
            let python = Python {
                executable: interpreter.executable.display().to_string(),
                version: interpreter.version.to_string(),
                prefix: interpreter.prefix.display().to_string(),
            };
            Ok(Prepared {
                launch,
                command,
                python: Some(python),
                script: true,
                code: Some(fd),
            })
        }
    }
}

/// A call that a thread is in.
#[derive(Debug)]
struct InCall {
    call: Syscall,
    marker: bool,
    paths: Vec<Pending>,
}

/// Everything that is being recorded.
struct Recorder {
    main: i32,
    script: bool,
    stopper: Stopper,
    phase: Option<Phase>,
    calls: Calls,
    files: Files,
    sites: Sites,
    in_call: BTreeMap<i32, InCall>,
    live: Live,
    unknown_abis: BTreeMap<u32, u64>,
    ending: Option<Ending>,
}

impl Recorder {
    fn new(main: i32, script: bool, stopper: Stopper, live: Live) -> Self {
        Self {
            main,
            script,
            stopper,
            phase: None,
            calls: Calls::default(),
            files: Files::default(),
            sites: Sites::default(),
            in_call: BTreeMap::new(),
            live,
            unknown_abis: BTreeMap::new(),
            ending: None,
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), DigError> {
        match event {
            Event::Stopped(tracee) => {
                self.live.insert(tracee.tid());
                if let Err(error) = self.look(&tracee) {
                    // A tracee that was killed while it was asked: its end comes next.
                    if !error.is_gone() {
                        return Err(error.into());
                    }
                }
                if self.stopper.word().is_some() {
                    self.live.kill();
                }
                tracee.resume(Resume::ToNextSyscall)?;
            }
            Event::Exited { tid, code } => self.ended(tid, Ending::exited(code)),
            Event::Killed { tid, signal } => {
                let name =
                    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string());
                self.ended(tid, Ending::signaled(name));
            }
        }
        Ok(())
    }

    fn ended(&mut self, tid: i32, ending: Ending) {
        self.live.remove(tid);
        self.in_call.remove(&tid);
        if tid != self.main {
            self.sites.ended(tid);
        }
        match self.stopper.word() {
            Some(word) => {
                self.live.kill();
                let timeout = word == Word::Timeout as u32;
                let kind = if timeout {
                    EndingKind::Timeout
                } else {
                    EndingKind::Interrupted
                };
                self.ending = Some(Ending::cut(kind));
            }
            None if tid == self.main => self.ending = Some(ending),
            None => {}
        }
    }

    fn look(&mut self, tracee: &Stopped) -> Result<(), callgate_tracee::TraceeError> {
        match tracee.reason() {
            Reason::Syscall => self.syscall(tracee),
            Reason::Exec => self.executed(tracee),
            _ => Ok(()),
        }
    }

    fn syscall(&mut self, tracee: &Stopped) -> Result<(), callgate_tracee::TraceeError> {
        let stop = tracee.syscall()?;
        match stop.moment {
            Moment::Entry { nr, .. } => {
                let Some((call, args)) = stop.call() else {
                    *self.unknown_abis.entry(stop.audit_arch).or_default() += 1;
                    return Ok(());
                };
                debug_assert_eq!(u64::from(call.nr()), nr & 0xffff_ffff);
                let marker = self.script && self.phase == Some(Phase::Startup) && is_marker(call, &args);
                let paths = self.files.enter(tracee, call, &args);
                if let (Some(phase), false) = (self.phase, marker) {
                    let wanted = self.calls.enter(call, phase);
                    self.calls.arguments(call, &args);
                    if wanted && phase == Phase::Body {
                        let known = self.script && tracee.tid() == self.main;
                        if let Some(site) = self.sites.read(tracee, stop.instruction, known) {
                            self.calls.set_site(call, site);
                        }
                    }
                }
                self.in_call.insert(tracee.tid(), InCall { call, marker, paths });
            }
            Moment::Exit { result, failed } => {
                let Some(InCall { call, marker, paths }) = self.in_call.remove(&tracee.tid()) else {
                    return Ok(());
                };
                if marker {
                    tracee.set_result(prelude::Marker::ACK as i64)?;
                    self.phase = Some(Phase::Body);
                    return Ok(());
                }
                if self.phase.is_none() {
                    return Ok(()); // still our own child, before the probe
                }
                if failed {
                    self.calls
                        .failed(call, u16::try_from(-result).unwrap_or(u16::MAX));
                }
                self.files.leave(paths, !failed);
            }
            Moment::Seccomp { .. } | Moment::None => {}
        }
        Ok(())
    }

    /// A process has become another program. The thread that asked for it now has its process's
    /// number, whatever it had before (ptrace(2), "execve under ptrace").
    fn executed(&mut self, tracee: &Stopped) -> Result<(), callgate_tracee::TraceeError> {
        let former = tracee.event_message()? as i32;
        if former != tracee.tid() {
            self.live.remove(former);
            self.sites.ended(former);
            if let Some(in_call) = self.in_call.remove(&former) {
                self.in_call.insert(tracee.tid(), in_call);
            }
        }
        self.sites.forget(tracee.tid());
        if self.phase.is_none() {
            // The probe begins. The call that began it is the first that it needs.
            if let Some(in_call) = self.in_call.get(&tracee.tid()) {
                self.calls.enter(in_call.call, Phase::Startup);
            }
            self.phase = Some(if self.script { Phase::Startup } else { Phase::Body });
        }
        Ok(())
    }

    fn into_trace(self, command: Vec<String>, python: Option<Python>) -> Result<Trace, DigError> {
        let kernel = nix::sys::utsname::uname().map_err(|errno| DigError::System { what: "uname", errno })?;
        let (files, mut notes) = self.files.into_trace();
        for (arch, count) in self.unknown_abis {
            notes.push(format!(
                "{count} calls of an unknown architecture (AUDIT_ARCH {arch:#x}) are not listed"
            ));
        }
        if let Some(trouble) = self.script.then(|| self.sites.trouble(self.main)).flatten() {
            notes.push(format!("no Python lines: {trouble}"));
        }
        if self.script && self.phase == Some(Phase::Startup) {
            notes.push("the probe ended before its first line".to_owned());
        }
        Ok(Trace {
            schema: SCHEMA.to_owned(),
            arch: Arch::NATIVE,
            kernel: kernel.release().to_string_lossy().into_owned(),
            command,
            python,
            outcome: self
                .ending
                .unwrap_or_else(|| Ending::cut(EndingKind::Interrupted)),
            counts: Counts::Exact,
            notes,
            syscalls: self.calls.into_trace(),
            files,
        })
    }
}

/// Whether a call is the prelude's mark of the first line.
fn is_marker(call: Syscall, args: &[u64; 6]) -> bool {
    call.arch() == Some(Arch::NATIVE) && call.known_name() == Some("lseek") && prelude::MARKER.is_marker(args)
}
