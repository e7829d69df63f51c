//! Builds a launch, starts it, and reads what it reports.

use std::ffi::{CString, OsStr};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use crate::report::{Failure, Record, Reports, Usage};
use crate::{Step, sys};

/// A process between the supervisor and the child: pid 1 of the run where there is a pid namespace,
/// its reaper everywhere. It keeps no descriptors but the standard streams and those that steps name.
#[derive(Clone, Debug, Default)]
pub struct Init {
    /// `CLONE_NEW*` flags of the namespaces that it is made in.
    pub namespaces: u64,
    /// The directory of the cgroup (version 2) that it is made in (`CLONE_INTO_CGROUP`), where that
    /// [can be had](clones_into_cgroups).
    pub cgroup: Option<RawFd>,
    /// What it does at once, while the supervisor gets ready for it. Nothing for which something has to be done to the init
    /// first, such as to map its ids; and nothing of a [`Nursery`](crate::Nursery)'s residents, who wait for no word.
    pub eager: Vec<Step>,
    /// What it does when it has had the word, before it forks the child.
    pub steps: Vec<Step>,
    /// The uid whose processes are killed when the command has ended: all of them, so nobody else may
    /// use it. With `None`, everything in the init's own pid namespace is killed; without such a
    /// namespace, nothing. 0 kills nothing.
    pub sweep: Option<u32>,
}

/// Whether an init can be made in a cgroup: not before Linux 5.7, and not under a filter that refuses clone3, as some
/// container engines have one. [`Step::JoinCgroup`] is the way then.
pub fn clones_into_cgroups() -> bool {
    sys::clones_into()
}

/// A command that is ready to be started.
#[derive(Debug)]
pub struct Launch {
    program: CString,
    argv: Vec<CString>,
    envp: Vec<CString>,
    init: Option<Init>,
    steps: Vec<Step>,
}

/// Why a command could not be started at all. Nothing ran.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A path, argument or variable holds a NUL byte, which the kernel can't take.
    #[error("{what} holds a NUL byte: {text:?}")]
    Nul {
        /// Which kind of text.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// The pipe could not be made.
    #[error("pipe2: {0}")]
    Pipe(#[source] nix::Error),
    /// What the nursery is to be asked by could not be made.
    #[error("socketpair or thread of a nursery: {source}")]
    Socket {
        /// The errno.
        source: nix::Error,
    },
    /// The first process could not be made.
    #[error("clone with namespaces {namespaces:#x}{}: {source}", if *.cgroup { " into a cgroup" } else { "" })]
    Clone {
        /// `CLONE_NEW*`.
        namespaces: u64,
        /// Whether it was to be made in a cgroup.
        cgroup: bool,
        /// The errno.
        source: nix::Error,
    },
}

impl Launch {
    /// The program at this path (not looked up), with its arguments (first its own name) and environment.
    ///
    /// # Errors
    /// [`LaunchError::Nul`] for a text that holds a NUL byte.
    pub fn new<A: AsRef<OsStr>, E: AsRef<OsStr>>(
        program: impl AsRef<Path>,
        argv: impl IntoIterator<Item = A>,
        envp: impl IntoIterator<Item = E>,
    ) -> Result<Self, LaunchError> {
        Ok(Self {
            program: cstring("the program's path", program.as_ref().as_os_str())?,
            argv: argv
                .into_iter()
                .map(|a| cstring("an argument", a.as_ref()))
                .collect::<Result<_, _>>()?,
            envp: envp
                .into_iter()
                .map(|e| cstring("an environment variable", e.as_ref()))
                .collect::<Result<_, _>>()?,
            init: None,
            steps: Vec::new(),
        })
    }

    /// Adds a step of the child; steps run in the order in which they were added.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Adds several steps of the child.
    #[must_use]
    pub fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// Puts an init between the supervisor and the child.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = Some(init);
        self
    }

    /// Makes the first process, which waits for [`Started::go`]; an init with its [eager](Init::eager) steps done.
    ///
    /// # Errors
    /// [`LaunchError`] if the process can't be made.
    pub fn start(self) -> Result<Started, LaunchError> {
        let (go_read, go_write) = pipe2(OFlag::O_CLOEXEC).map_err(LaunchError::Pipe)?;
        let (report_read, report_write) = pipe2(OFlag::O_CLOEXEC).map_err(LaunchError::Pipe)?;
        let argv = sys::pointers(&self.argv);
        let envp = sys::pointers(&self.envp);
        let keep = self.descriptors();
        let image = sys::Image {
            program: &self.program,
            argv: &argv,
            envp: &envp,
            init: self.init.as_ref(),
            steps: &self.steps,
            keep: &keep,
            go: go_read.as_raw_fd(),
            go_write: go_write.as_raw_fd(),
            report: report_write.as_raw_fd(),
        };
        let namespaces = self.init.as_ref().map_or(0, |init| init.namespaces);
        let cgroup = self.init.as_ref().is_some_and(|init| init.cgroup.is_some());
        let pid = sys::start(&image).map_err(|source| LaunchError::Clone {
            namespaces,
            cgroup,
            source,
        })?;
        drop((go_read, report_write));
        Ok(Started {
            pid: Pid::from_raw(pid),
            go: Some(go_write),
            reports: report_read,
            launch: self,
        })
    }
}

/// A text as the kernel takes it.
fn cstring(what: &'static str, text: &OsStr) -> Result<CString, LaunchError> {
    CString::new(text.as_bytes()).map_err(|_| LaunchError::Nul {
        what,
        text: text.to_string_lossy().into_owned(),
    })
}

/// A launch whose first process exists. Dropping it before [`Started::go`] ends that process.
#[derive(Debug)]
pub struct Started {
    pid: Pid,
    go: Option<OwnedFd>,
    reports: OwnedFd,
    launch: Launch,
}

impl Started {
    /// The first process: the init if there is one, else the child.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Lets the first process go on.
    ///
    /// # Errors
    /// If the process has ended meanwhile (EPIPE).
    pub fn go(&mut self) -> io::Result<()> {
        match self.go.take() {
            Some(fd) => std::fs::File::from(fd).write_all(&[1]),
            None => Ok(()),
        }
    }

    /// Has the first process end instead of going on.
    pub fn give_up(&mut self) {
        self.go = None;
    }

    /// Everything that was reported. Blocks until every process that could report has ended or has
    /// become the command.
    ///
    /// # Errors
    /// If the pipe can't be read.
    pub fn reports(self) -> io::Result<Reports> {
        let Self {
            reports, launch, go, ..
        } = self;
        drop(go);
        let mut bytes = Vec::new();
        std::fs::File::from(reports).read_to_end(&mut bytes)?;
        let mut out = Reports::default();
        for chunk in bytes.chunks_exact(Record::SIZE) {
            let mut record = [0; Record::SIZE];
            record.copy_from_slice(chunk);
            let record = Record::from_bytes(&record);
            if record.kind == Record::USAGE {
                out.usage = Some(Usage {
                    cpu: std::time::Duration::from_micros(record.cpu_us),
                    max_rss_bytes: record.max_rss_kib.saturating_mul(1024),
                });
            } else if out.failure.is_none() {
                out.failure = Some(launch.failure(record));
            }
        }
        Ok(out)
    }
}

impl Launch {
    /// The standard streams and every descriptor that a step names.
    fn descriptors(&self) -> Vec<RawFd> {
        let init = self
            .init
            .iter()
            .flat_map(|init| init.eager.iter().chain(&init.steps));
        let named = init.chain(&self.steps).flat_map(Step::descriptors);
        [0, 1, 2].into_iter().chain(named).collect()
    }

    /// Turns a record into the failure that it stands for.
    fn failure(&self, record: Record) -> Failure {
        let steps = match record.kind {
            Record::EAGER_STEP => self.init.as_ref().map_or(&[][..], |init| &init.eager),
            Record::INIT_STEP => self.init.as_ref().map_or(&[][..], |init| &init.steps),
            Record::CHILD_STEP => &self.steps,
            _ => &[],
        };
        record.failure(steps).unwrap_or_else(|| Failure {
            step: "execve",
            subject: Some(self.program.to_string_lossy().into_owned()),
            errno: record.errno,
            exec: true,
        })
    }
}
