//! Lets another thread end a tracer's wait, so that the tracer can give orders of its own accord.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::gettid;

use crate::error::TraceeError;
use crate::sys;
use crate::tracer::{Event, Tracer, decode};

/// A handle by which any thread can end the wait of one tracer.
#[derive(Clone, Copy, Debug)]
pub struct Waker(i32);

/// How a wait ended.
#[derive(Debug)]
pub enum Woken {
    /// A tracee did something.
    Event(Event),
    /// A [`Waker`] was used, or a signal came.
    Up,
    /// There is no tracee left.
    Alone,
}

impl Waker {
    /// Ends the wait, if the tracer is waiting at this moment: what must not be missed is to be repeated.
    pub fn wake(&self) {
        // A tracer that has ended waits for nothing.
        let _ = sys::signal_thread(self.0, libc::SIGURG);
    }
}

impl Tracer {
    /// A handle by which another thread can end a [`Tracer::wait_or_wake`]. It works by SIGURG, which is
    /// ignored by default: that gets a handler that does nothing, for the whole program.
    ///
    /// # Errors
    /// The errno of sigaction(2).
    pub fn waker(&self) -> Result<Waker, Errno> {
        sys::handle_in_vain(libc::SIGURG)?;
        // Whoever started us may have blocked it.
        SigSet::from(Signal::SIGURG).thread_unblock()?;
        Ok(Waker(gettid().as_raw()))
    }

    /// As [`Tracer::wait`], and ends also when it is woken.
    ///
    /// # Errors
    /// As [`Tracer::wait`].
    pub fn wait_or_wake(&mut self) -> Result<Woken, TraceeError> {
        loop {
            match sys::wait_only(-1) {
                Ok((tid, status)) => {
                    if let Some(event) = decode(tid, status) {
                        return Ok(Woken::Event(event));
                    }
                }
                Err(Errno::EINTR) => return Ok(Woken::Up),
                Err(Errno::ECHILD) => return Ok(Woken::Alone),
                Err(errno) => return Err(TraceeError::new("waitpid", -1, errno)),
            }
        }
    }
}
