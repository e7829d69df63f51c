//! Processes that ran before, and go on without us.

use callgate_trace::Phase;
use callgate_tracee::{Stopped, TraceeError};

use super::{Recorder, alive};

impl Recorder {
    /// These threads were attached to while they ran: it is all body.
    pub(crate) fn attached(&mut self, threads: impl IntoIterator<Item = i32>) {
        self.attached = true;
        self.phase = Some(Phase::Body);
        for tid in threads {
            // No filter: it would outlive us, and answer ENOSYS to what it does not know.
            self.threads.of(tid).barred = true;
        }
    }

    /// Lets a stopped thread go for good, as if we had never been.
    pub(crate) fn let_go(&mut self, tracee: Stopped) -> Result<(), TraceeError> {
        let thread = self.threads.of(tracee.tid());
        let undone = thread.undo.take();
        let in_call = thread.in_call.take().and_then(|in_call| in_call.undo);
        for undo in [undone, in_call].into_iter().flatten() {
            alive(undo.apply(&tracee))?;
        }
        self.live.remove(tracee.tid());
        tracee.detach()
    }

    /// New threads that stand still until their parents tell of them.
    pub(crate) fn kept(&mut self) -> Vec<Stopped> {
        self.threads.all_kept()
    }
}
