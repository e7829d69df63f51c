//! What has to be done before the code runs.

mod advice;
mod namespaces;
mod order;

use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use callgate_launch::{Init, Step};
use callgate_rootfs::{Entry, Identity, Plan};

pub(crate) use self::advice::{advice, explain};
pub(crate) use self::namespaces::namespaces;
use crate::cgroup::Cgroup;
use crate::files::Files;
use crate::filtering::Filtering;
use crate::host::Reach;
use crate::landlock;
use crate::limits::Limits;
use crate::lock::{Lock, Sign};
use crate::mounted;
use crate::mounted::Standing;
use crate::private::Private;
use crate::run::Network;
use crate::tier::Tier;

/// The root that a run gets.
pub(crate) enum Ground {
    /// Put together by mounts while the run lasts.
    Planned(Box<Plan>),
    /// A directory that stands.
    Directory(PathBuf),
    /// The host's own tree: what may be opened of it, and the scratch directory in it.
    Host {
        reachable: Vec<(PathBuf, Reach)>,
        scratch: Private,
    },
}

impl Ground {
    /// The scratch directory that the code starts in, as the code sees it, if the root has one.
    pub(crate) fn work_directory(&self) -> Option<&Path> {
        let home = Path::new(Identity::HOME);
        let there = match self {
            Self::Planned(plan) => plan.get(home) == Some(&Entry::Tmp),
            Self::Directory(dir) => mounted::scratch_of(dir).iter().any(|at| at == home),
            Self::Host { scratch, .. } => return Some(scratch.path()),
        };
        there.then_some(home)
    }
}

/// The descriptors that the code gets as 0, 1 and 2; `None` for ours.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// Everything that decides about the set-up of one run.
pub(crate) struct SetUp<'a> {
    pub(crate) tier: Tier,
    pub(crate) ground: &'a Ground,
    /// Where the ground is put together already, if it is.
    pub(crate) standing: Option<Standing>,
    pub(crate) identity: Identity,
    pub(crate) limits: &'a Limits,
    pub(crate) network: Network,
    pub(crate) lock: Lock,
    pub(crate) filtering: Filtering,
    pub(crate) code: Option<RawFd>,
    /// By what a prelude will tell that start-up is over, if there is one.
    pub(crate) sign: Option<Sign>,
    pub(crate) streams: &'a Streams,
    pub(crate) files: &'a Files,
    pub(crate) landlock: Option<&'a landlock::Layer>,
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// Whether the init begins before it has had the word, as nothing has to be done to it first.
    pub(crate) eager: bool,
    /// Namespaces that it joins then, and is not made in.
    pub(crate) made: Option<Made<'a>>,
    /// How many tasks the user has already, where the run's are counted with them.
    pub(crate) tasks: Option<u64>,
}

/// Namespaces that are made already, or are being made.
#[derive(Clone, Copy)]
pub(crate) struct Made<'a> {
    /// The `/proc/PID/task/TID/ns` of the thread that is in them.
    pub(crate) directory: BorrowedFd<'a>,
    /// `CLONE_NEW*`.
    pub(crate) namespaces: u64,
}

/// The set-up as steps, with the layers that it makes.
pub(crate) struct Ready {
    pub(crate) init: Init,
    pub(crate) steps: Vec<Step>,
    pub(crate) layers: Vec<String>,
}

/// A path as the kernel takes it. Paths come from the file system or our own text; one with a NUL byte
/// can't exist, and an empty path fails at its step.
pub(crate) fn path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

/// An absolute path below another. Every place of a root is one, several times in each run.
pub(crate) fn path_below(base: &str, at: &Path) -> CString {
    let at = at.as_os_str().as_bytes();
    let at = at.strip_prefix(b"/").unwrap_or(at);
    CString::new([base.as_bytes(), b"/", at].concat()).unwrap_or_default()
}

/// Text of our own as the kernel takes it.
pub(crate) fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
