//! One run, from what is asked to its outcome.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use callgate_abi::Filter;
use callgate_launch::{Launch, LaunchError, memory_file};
use callgate_python::interpreter::Interpreter;
use callgate_python::prelude;
use callgate_rootfs::Identity;
use callgate_tracee::Stopper;
use nix::errno::Errno;

use crate::attend::attend;
use crate::capture::{Capture, Sink};
use crate::cgroup::{Absent, Cgroup};
use crate::ground::{Prepared, prepare, tidy};
use crate::landlock;
use crate::limits::Limits;
use crate::lock::Lock;
use crate::outcome::{Captured, Outcome, SetUpFailure, Unready, Usage, causes};
use crate::setup::{Ready, SetUp, Streams, advice};
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

/// Where the code's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    /// To our own streams.
    Inherit,
    /// It is captured into the outcome.
    Capture,
}

/// Where the code's input comes from.
#[derive(Clone, Debug)]
pub enum Input {
    /// From our own standard input.
    Ours,
    /// There is none; ours has been read already, for its code.
    Empty,
    /// From this file.
    File(Arc<File>),
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
    /// What it may use.
    pub limits: Limits,
    /// Variables besides the few that every run has.
    pub env: Vec<(OsString, OsString)>,
    /// Where its output goes.
    pub io: Io,
    /// Where its input comes from.
    pub input: Input,
}

/// The word that is left with a [`Stopper`] when a run is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Word {
    /// The time limit was reached.
    Timeout = 1,
    /// The user asked.
    Interrupt = 2,
    /// The limit of CPU time was reached.
    Cpu = 3,
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
            input: Input::Ours,
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
    let (cgroup, lack) = match Cgroup::new(identity.uid, &run.limits) {
        Ok(cgroup) => (Some(cgroup), None),
        Err(absent) if run.tier == TierChoice::Exactly(Tier::Full) => return Err(no_cgroup(&absent).into()),
        Err(absent) => (None, Some(absent)),
    };
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
        cgroup: cgroup.as_ref(),
    };
    let Ready { init, steps, layers } = set_up.ready();
    let launch = launch(run, code.as_ref())?.init(init).steps(steps);
    let begun = Instant::now();
    let process = launch.start().map_err(launch_failed)?;
    let clock = cgroup.as_ref().and_then(Cgroup::clock);
    let attended = attend(run, *tier, clock, process, || drop((streams, code)), started)?;
    let wall = begun.elapsed();
    let readings = cgroup.as_ref().map(Cgroup::readings).unwrap_or_default();
    drop(cgroup);

    let mut outcome = judge(run, &attended, &readings)?;
    if *tier == Tier::Container {
        outcome.notes.extend(tidy(ground, identity.uid));
    }
    if let Some((stdout, stderr)) = captures {
        let mut whole = |name: &str, capture: Capture| {
            let (bytes, cut) = capture.finish();
            if cut {
                outcome.truncated.push(name.to_owned());
            }
            bytes
        };
        let captured = Captured {
            stdout: whole("stdout", stdout),
            stderr: whole("stderr", stderr),
        };
        if run.io == Io::Capture {
            let text = |bytes: &[u8]| Some(String::from_utf8_lossy(bytes).into_owned());
            outcome.stdout = text(&captured.stdout);
            outcome.stderr = text(&captured.stderr);
            outcome.captured = Some(captured);
        }
    }
    outcome.tier = Some(*tier);
    outcome.layers = layers;
    outcome.notes.extend(notes.iter().cloned());
    if landlock.is_none() {
        outcome.missing.push("landlock: this kernel has none".to_owned());
    }
    if let Some(absent) = lack {
        match tier {
            Tier::Full => outcome.missing.push(format!("cgroup: {absent}")),
            Tier::Container | Tier::Unprivileged => {}
        }
        outcome.notes.push(format!(
            "without a cgroup the limits of memory and CPU time are of each process, not of all together ({absent})"
        ));
    }
    let used = attended.reports.usage.unwrap_or_default();
    outcome.usage = Usage {
        wall_ms: millis(wall),
        cpu_ms: millis(readings.cpu.unwrap_or(used.cpu)),
        max_rss_bytes: used.max_rss_bytes,
        memory_peak_bytes: readings.memory_peak,
        pids_peak: readings.pids_peak,
    };
    Ok(outcome)
}

fn no_cgroup(absent: &Absent) -> SetUpFailure {
    SetUpFailure {
        step: "cgroup".to_owned(),
        error: absent.to_string(),
        advice: advice("cgroup", Errno::EACCES),
    }
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

pub(crate) fn system(step: &'static str) -> impl Fn(io::Error) -> SetUpFailure {
    move |error| SetUpFailure {
        step: step.to_owned(),
        error: causes(&error),
        advice: None,
    }
}

/// The two streams that go through our hands.
type Captures = (Capture, Capture);

fn streams(run: &Run) -> Result<(Streams, Option<Captures>), SetUpFailure> {
    let stdin = match &run.input {
        Input::Ours => None,
        Input::Empty => Some(File::open("/dev/null").map_err(system("open /dev/null"))?),
        Input::File(file) => Some(file.try_clone().map_err(system("dup of the input"))?),
    }
    .map(OwnedFd::from);
    let limit = match (run.io, run.limits.output) {
        (Io::Inherit, None) => {
            return Ok((
                Streams {
                    stdin,
                    ..Streams::default()
                },
                None,
            ));
        }
        (_, Some(limit)) => limit,
        (Io::Capture, None) => Limits::CAPTURED,
    };
    let start = |ours: BorrowedFd<'_>| {
        let sink = match run.io {
            Io::Capture => Sink::Kept,
            Io::Inherit => Sink::Passed(ours.try_clone_to_owned()?.into()),
        };
        Capture::start(limit, sink)
    };
    let (out, stdout) = start(io::stdout().as_fd()).map_err(system("capturing the output"))?;
    let (err, stderr) = start(io::stderr().as_fd()).map_err(system("capturing the output"))?;
    Ok((
        Streams {
            stdin,
            stdout: Some(stdout),
            stderr: Some(stderr),
        },
        Some((out, err)),
    ))
}
