//! Attaches to the first process of a run.

use std::thread;
use std::time::{Duration, Instant};

use callgate_tracee::{Options, TraceeError, Tracer};
use nix::errno::Errno;
use nix::sys::prctl;

/// How long the process may take to make itself traceable.
const PATIENCE: Duration = Duration::from_secs(5);

/// Attaches to a process that was just started by us and waits for our word.
///
/// A supervisor that has read Python's stacks as another user is undumpable from then on (prctl(2),
/// PR_SET_DUMPABLE), and so is each copy of it until that says otherwise, which is the first thing it does. Without
/// CAP_SYS_PTRACE, as in a container, it can't be attached to before.
///
/// # Errors
/// As [`Tracer::seize`].
pub(crate) fn seize(pid: i32, options: Options) -> Result<Tracer, TraceeError> {
    let end = Instant::now() + PATIENCE;
    loop {
        let result = Tracer::seize(pid, options);
        let refused = matches!(
            result,
            Err(TraceeError::Seize {
                errno: Errno::EPERM,
                ..
            })
        );
        let early = refused && prctl::get_dumpable() != Ok(true) && Instant::now() < end;
        if !early {
            return result;
        }
        thread::sleep(Duration::from_micros(200));
    }
}
