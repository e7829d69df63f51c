//! Reads a refused call from a thread that is about to die of it, while its memory is still there.

use callgate_abi::{Abi, Site, Syscall};
use callgate_python::stacks::{StackError, Stacks, site};
use callgate_tracee::{Stopped, TraceeError};

use crate::kernel;
use crate::outcome::Violation;

/// What was seen of refused calls that ended processes. The first is kept.
///
/// When a filter kills a process, all of its threads pass their exit stop with the same status; and code
/// can send itself SIGSYS. Who really made the refused call is told by the kernel: a thread that a filter
/// has killed is marked as dead to seccomp (`SECCOMP_MODE_DEAD`, Linux 5.17), and a trap is a signal of
/// its own kind before it kills. Only on older kernels is a likely sighting the best there is.
#[derive(Default)]
pub(crate) struct Sightings {
    certain: Option<Violation>,
    likely: Option<Violation>,
    /// The last trap of each process that had one: it ends the process, unless that handles it.
    trapped: Vec<Violation>,
}

impl Sightings {
    /// The first refused call that ended a process.
    pub(crate) fn first(self) -> Option<Violation> {
        self.certain.or(self.likely)
    }

    /// A thread is about to get the signal that `SCMP_ACT_TRAP` sends.
    pub(crate) fn trapped(&mut self, tracee: &Stopped) -> Result<(), TraceeError> {
        if self.certain.is_none() {
            if let Some(violation) = read(tracee)? {
                self.trapped.retain(|earlier| earlier.pid != violation.pid);
                self.trapped.push(violation);
            }
        }
        Ok(())
    }

    /// A thread is about to end by SIGSYS.
    pub(crate) fn killed(&mut self, tracee: &Stopped) -> Result<(), TraceeError> {
        if self.certain.is_some() {
            return Ok(());
        }
        let pid = process_of(tracee.tid());
        if field(tracee.tid(), "Seccomp:").as_deref() == Some("3") {
            self.certain = read(tracee)?;
        } else if let Some(trapped) = self.trapped.iter().find(|trapped| Some(trapped.pid) == pid) {
            self.certain = Some(trapped.clone());
        } else if self.likely.is_none() && !kernel::at_least(5, 17) {
            self.likely = read(tracee)?;
        }
        Ok(())
    }
}

/// Reads the call that a thread is in.
fn read(tracee: &Stopped) -> Result<Option<Violation>, TraceeError> {
    let (nr, args, stop) = tracee.call_in_registers()?;
    let Some(abi) = Abi::of(stop.audit_arch, nr) else {
        return Ok(None);
    };
    Ok(Some(about(Syscall::new(abi, nr as u32), args, tracee.tid())))
}

/// All that can be told of a call that a stopped thread is in.
pub(crate) fn about(call: Syscall, args: [u64; 6], tid: i32) -> Violation {
    let pid = process_of(tid).unwrap_or(tid);
    let (site, no_lines) = match python_site(pid, tid) {
        Ok(site) => (site, None),
        Err(why) => (None, Some(why.to_string())),
    };
    Violation {
        syscall: call.name().into_owned(),
        nr: call.nr(),
        arch: call.abi(),
        args,
        pid,
        tid,
        site,
        no_lines,
        remedy: None,
    }
}

/// The process that a thread belongs to; `None` if it is gone.
pub(crate) fn process_of(tid: i32) -> Option<i32> {
    field(tid, "Tgid:")?.parse().ok()
}

/// A line of `/proc/TID/status` (proc(5)).
fn field(tid: i32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(value.trim().to_owned())
}

/// The Python line that the thread is at; none if no Python led there.
fn python_site(pid: i32, tid: i32) -> Result<Option<Site>, StackError> {
    let frames = match Stacks::open(pid).and_then(|mut stacks| stacks.frames(tid)) {
        Ok(frames) => frames.unwrap_or_default(),
        Err(StackError::NotPython { .. } | StackError::NotYet { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(site(&frames).cloned())
}
