//! Who is on which CPU: those who take turns on one, those who go on side by side on two.
//!
//! While the filter is installed, supervisor and command take turns a dozen times. On two CPUs each turn wakes one that
//! has just gone idle, which in a virtual machine takes longer than what is done then. The program does not see that it
//! is bound: it stands at the marker, and nothing of it goes on before it is let go.

use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread, and a tracee that stands still, are bound to the CPU that the former is on, until this goes.
#[derive(Debug)]
pub(crate) struct Near {
    /// The CPUs that the calling thread had before.
    own: CpuSet,
    /// Who is bound besides, with the CPUs that it had before; nobody any more when it has been let go.
    other: Option<(Pid, CpuSet)>,
}

impl Near {
    /// Binds both. `None` where there is one CPU only or the tracee may not be on ours, and where another user's process
    /// could not be let go for sure (`CAP_SYS_NICE`).
    pub(crate) fn with(tracee: Pid) -> Option<Self> {
        let own = sched_getaffinity(MYSELF).ok()?;
        let before = sched_getaffinity(tracee).ok()?;
        let cpu = sched_getcpu().ok()?;
        let mut here = CpuSet::new();
        here.set(cpu).ok()?;
        let able = own != here
            && before.is_set(cpu) == Ok(true)
            && caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_NICE).ok()?;
        if !able || sched_setaffinity(MYSELF, &here).is_err() {
            return None;
        }
        // From here on all is put back when it goes.
        let other = sched_setaffinity(tracee, &here).ok().map(|()| (tracee, before));
        Some(Self { own, other })
    }

    /// Lets both go.
    ///
    /// # Errors
    /// If the tracee stays bound, and has not ended.
    pub(crate) fn release(mut self) -> Result<(), Errno> {
        let Some((tracee, before)) = self.other.take() else {
            return Ok(());
        };
        match sched_setaffinity(tracee, &before) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        // Of a run that has been given up the tracee is being killed.
        if let Some((tracee, before)) = self.other.take() {
            let _ = sched_setaffinity(tracee, &before);
        }
        let _ = sched_setaffinity(MYSELF, &self.own);
    }
}

/// The CPU that the calling thread is on.
pub(crate) fn here() -> Option<usize> {
    sched_getcpu().ok()
}

/// Has the calling thread go on elsewhere if it is on this CPU, where the one is that made it: a new thread often begins
/// there, and that one stands still meanwhile.
pub(crate) fn leave(cpu: Option<usize>) {
    let (Some(cpu), Ok(own)) = (cpu, sched_getaffinity(MYSELF)) else {
        return;
    };
    let mut others = own;
    if here() == Some(cpu) && others.unset(cpu).is_ok() && sched_setaffinity(MYSELF, &others).is_ok() {
        let _ = sched_setaffinity(MYSELF, &own);
    }
}

/// Binds another thread of ours to the CPU that the calling thread is on, if it may be there.
pub(crate) fn bind_here(thread: Pid) {
    let mut here = CpuSet::new();
    if self::here().is_some_and(|cpu| here.set(cpu).is_ok()) {
        let _ = sched_setaffinity(thread, &here);
    }
}

/// The calling thread.
const MYSELF: Pid = Pid::from_raw(0);
