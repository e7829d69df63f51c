//! One run, from what is asked to its outcome.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use callgate_abi::Filter;
use callgate_launch::{Launch, LaunchError, Reports, Started, memory_file};
use callgate_python::interpreter::Interpreter;
use callgate_python::prelude;
use callgate_rootfs::Identity;
use callgate_tracee::{Options, Stopper, TraceeError, Tracer};
use nix::errno::Errno;
use nix::sys::wait::waitpid;

use crate::capture::Capture;
use crate::ground::{Prepared, prepare};
use crate::landlock;
use crate::limits::Limits;
use crate::lock::Lock;
use crate::outcome::{Outcome, SetUpFailure, Unready, Usage, causes};
use crate::setup::{Ready, SetUp, Streams, advice};
use crate::supervise::{Seen, Watch};
use crate::tier::{Tier, TierChoice};
use crate::verdict::judge;

/// What is to be run.
#[derive(Clone, Debug)]
pub enum Program {
    /// A Python script; its bytes reach the interpreter by descriptor and are never on a disk.
    Script {
        /// The interpreter's path in the root.
        executable: PathBuf,
        /// The script's bytes.
        code: Vec<u8>,
        /// The name that it has in tracebacks and sites.
        name: String,
        /// What comes after the name in `sys.argv`.
        args: Vec<OsString>,
    },
    /// Any command.
    Command {
        /// The program's path in the root.
        program: PathBuf,
        /// Its arguments, first its own name.
        argv: Vec<OsString>,
    },
}

/// What the code sees as `/`.
#[derive(Clone, Debug)]
pub enum Root {
    /// What this interpreter needs, found by itself.
    ForPython(Box<Interpreter>),
    /// What this program of the host needs, found by itself.
    ForCommand(PathBuf),
    /// A directory that `callgate root build` made.
    Directory(PathBuf),
}

/// What the code's standard streams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// Ours.
    Inherit,
    /// Input is ours; output is captured into the outcome.
    Capture,
}

/// A run that is asked for.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is run.
    pub program: Program,
    /// Where.
    pub root: Root,
    /// The compiled policy.
    pub filter: Filter,
    /// Which layers it must have.
    pub tier: TierChoice,
    /// When the filter comes into force.
    pub lock: Lock,
    /// When it is stopped.
    pub timeout: Option<Duration>,
    /// Limits of its processes.
    pub limits: Limits,
    /// Variables besides the few that every run has.
    pub env: Vec<(OsString, OsString)>,
    /// What its streams are.
    pub io: Io,
    /// Its input is empty; ours has been read already, for its code.
    pub no_input: bool,
}

/// The word that is left with a [`Stopper`] when a run is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Word {
    /// The time limit was reached.
    Timeout = 1,
    /// The user asked.
    Interrupt = 2,
}

impl Run {
    /// A run with the highest tier that works, default limits, no time limit, inherited streams; a
    /// script is locked from its first line, a command from its exec.
    pub fn new(program: Program, root: Root, filter: Filter) -> Self {
        let lock = match program {
            Program::Script { .. } => Lock::Body,
            Program::Command { .. } => Lock::Exec,
        };
        Self {
            program,
            root,
            filter,
            tier: TierChoice::Auto,
            lock,
            timeout: None,
            limits: Limits::default(),
            env: Vec::new(),
            io: Io::Inherit,
            no_input: false,
        }
    }
}

/// The environment of every run, with these variables besides: nothing of ours but what is given.
pub fn environment(given: &[(OsString, OsString)]) -> Vec<(OsString, OsString)> {
    let fixed = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", Identity::HOME),
        ("LANG", "C.UTF-8"),
        ("USER", Identity::NAME),
    ];
    let kept = fixed
        .into_iter()
        .filter(|(name, _)| !given.iter().any(|(known, _)| known == name));
    kept.map(|(name, value)| (name.into(), value.into()))
        .chain(given.iter().cloned())
        .collect()
}

/// Variables as execve(2) takes them.
fn variables(run: &Run) -> Vec<OsString> {
    let join = |(mut variable, value): (OsString, OsString)| {
        variable.push("=");
        variable.push(value);
        variable
    };
    environment(&run.env).into_iter().map(join).collect()
}

/// Runs it and returns how it ended. A set-up step that fails is an outcome too: nothing ran then.
/// `started` gets a handle by which another thread can end the run.
pub fn run(run: &Run, started: impl FnOnce(Stopper)) -> Outcome {
    attempt(run, started).unwrap_or_else(Outcome::from)
}

fn attempt(run: &Run, started: impl FnOnce(Stopper)) -> Result<Outcome, Unready> {
    let Prepared {
        tier,
        ground,
        identity,
        notes,
        ..
    } = &prepare(run)?;
    let code = match &run.program {
        Program::Script { code, .. } => Some(memory_file(code).map_err(system("memfd_create"))?),
        Program::Command { .. } => None,
    };
    let refused = |error: &dyn std::fmt::Display| SetUpFailure {
        step: "landlock_create_ruleset".to_owned(),
        error: error.to_string(),
        advice: advice("landlock_restrict_self", Errno::EPERM),
    };
    let landlock = match landlock::version().map_err(|errno| refused(&errno))? {
        Some(version) => landlock::Layer::new(version, false).map_err(|error| refused(&error))?,
        None => None,
    };
    if landlock.is_none() && run.tier == TierChoice::Exactly(Tier::Full) {
        return Err(SetUpFailure {
            step: "landlock".to_owned(),
            error: "this kernel has no Landlock, which is a layer of tier full".to_owned(),
            advice: Some("boot with lsm=landlock,… (Linux 5.13 or newer), or use --tier auto".to_owned()),
        }
        .into());
    }
    let (streams, captures) = streams(run)?;
    let set_up = SetUp {
        tier: *tier,
        ground,
        identity: *identity,
        limits: &run.limits,
        lock: run.lock,
        code: code.as_ref().map(AsRawFd::as_raw_fd),
        streams: &streams,
        landlock: landlock.as_ref(),
    };
    let Ready { init, steps, layers } = set_up.ready();
    let launch = launch(run, code.as_ref())?.init(init).steps(steps);
    let begun = Instant::now();
    let process = launch.start().map_err(launch_failed)?;
    let (seen, reports, word) = supervise(run, *tier, process, || drop((streams, code)), started)?;
    let wall = begun.elapsed();

    let script = matches!(run.program, Program::Script { .. });
    let mut outcome = judge(script, &seen, &reports, word)?;
    if let Some((stdout, stderr)) = captures {
        for (name, capture, into) in [
            ("stdout", stdout, &mut outcome.stdout),
            ("stderr", stderr, &mut outcome.stderr),
        ] {
            let (text, cut) = capture.finish();
            *into = Some(text);
            if cut {
                outcome.truncated.push(name.to_owned());
            }
        }
    }
    outcome.tier = Some(*tier);
    outcome.layers = layers;
    outcome.notes.extend(notes.iter().cloned());
    if landlock.is_none() {
        outcome
            .notes
            .push("no Landlock layer: this kernel has none".to_owned());
    }
    let used = reports.usage.unwrap_or_default();
    outcome.usage = Usage {
        wall_ms: millis(wall),
        cpu_ms: millis(used.cpu),
        max_rss_bytes: used.max_rss_bytes,
    };
    Ok(outcome)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn launch(run: &Run, code: Option<&OwnedFd>) -> Result<Launch, SetUpFailure> {
    match (&run.program, code) {
        (
            Program::Script {
                executable,
                name,
                args,
                ..
            },
            Some(fd),
        ) => {
            let argv = prelude::command(executable, fd.as_raw_fd(), name, args);
            Launch::new(executable, argv, variables(run))
        }
        (
            Program::Script {
                executable: program, ..
            },
            None,
        ) => Launch::new(program, [program], variables(run)),
        (Program::Command { program, argv }, _) => Launch::new(program, argv, variables(run)),
    }
    .map_err(launch_failed)
}

fn launch_failed(error: LaunchError) -> SetUpFailure {
    let errno = match &error {
        LaunchError::Clone { source, .. } => *source,
        LaunchError::Pipe(errno) => *errno,
        LaunchError::Nul { .. } => Errno::EINVAL,
    };
    SetUpFailure {
        step: "clone".to_owned(),
        error: error.to_string(),
        advice: advice("clone", errno),
    }
}

fn system(step: &'static str) -> impl Fn(io::Error) -> SetUpFailure {
    move |error| SetUpFailure {
        step: step.to_owned(),
        error: causes(&error),
        advice: None,
    }
}

fn tracing(error: &TraceeError) -> SetUpFailure {
    SetUpFailure {
        step: "ptrace".to_owned(),
        error: error.to_string(),
        advice: None,
    }
}

/// The two captured streams.
type Captures = (Capture, Capture);

fn streams(run: &Run) -> Result<(Streams, Option<Captures>), SetUpFailure> {
    let stdin = match run.no_input {
        true => Some(OwnedFd::from(
            File::open("/dev/null").map_err(system("open /dev/null"))?,
        )),
        false => None,
    };
    if run.io == Io::Inherit {
        return Ok((
            Streams {
                stdin,
                ..Streams::default()
            },
            None,
        ));
    }
    let start = || Capture::start(run.limits.output).map_err(system("capturing the output"));
    let (out, stdout) = start()?;
    let (err, stderr) = start()?;
    Ok((
        Streams {
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
        },
        Some((out, err)),
    ))
}

/// Watches the run to its end.
fn supervise(
    run: &Run,
    tier: Tier,
    mut process: Started,
    handed_over: impl FnOnce(),
    started: impl FnOnce(Stopper),
) -> Result<(Seen, Reports, Option<u32>), SetUpFailure> {
    let init = process.pid();
    let mut tracer = match Tracer::seize(init.as_raw(), Options::SUPERVISE) {
        Ok(tracer) => tracer,
        Err(error) => {
            // It waits for a word from us, and ends without one.
            drop(process);
            let _ = waitpid(init, None);
            return Err(tracing(&error));
        }
    };
    let mapped = match tier {
        Tier::Unprivileged => map_ids(init.as_raw()),
        Tier::Full | Tier::Container => Ok(()),
    };
    // An init that is gone already says so in its report; one without its ids gets no word, and ends.
    let process = match &mapped {
        Ok(()) => {
            let _ = process.go();
            Some(process)
        }
        Err(_) => {
            drop(process);
            None
        }
    };
    // The children have their own copies; with ours open the streams would never end.
    handed_over();
    let (done, ended) = mpsc::channel::<()>();
    let mut ended = Some(ended);
    let mut started = Some(started);
    let mut stopper = None;
    let mut on_command = |pid: i32| {
        let handle = Stopper::new(pid)?;
        if let (Some(limit), Some(ended), handle) = (run.timeout, ended.take(), handle.clone()) {
            let timer = move || {
                if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    handle.stop(Word::Timeout as u32);
                }
            };
            thread::Builder::new()
                .spawn(timer)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        }
        if let Some(started) = started.take() {
            started(handle.clone());
        }
        stopper = Some(handle);
        Ok(())
    };
    let watch = Watch::new(
        init.as_raw(),
        run.lock,
        matches!(run.program, Program::Script { .. }),
        &run.filter,
        &mut on_command,
    );
    let seen = watch.follow(&mut tracer).map_err(|e| tracing(&e))?;
    drop(done);
    mapped.map_err(system("writing uid_map"))?;
    let reports = match process {
        Some(process) => process.reports().map_err(system("reading the report"))?,
        None => Reports::default(),
    };
    Ok((seen, reports, stopper.and_then(|handle| handle.word())))
}

/// Maps our own ids into a new user namespace, as themselves (user_namespaces(7)).
fn map_ids(init: i32) -> io::Result<()> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    std::fs::write(format!("/proc/{init}/setgroups"), "deny")?;
    std::fs::write(format!("/proc/{init}/uid_map"), format!("{uid} {uid} 1"))?;
    std::fs::write(format!("/proc/{init}/gid_map"), format!("{gid} {gid} 1"))
}
