//! Runs a probe to its end and records what it does.

use callgate_trace::Trace;
use callgate_tracee::{Options, Stopper, Tracer, Woken};
use nix::errno::Errno;

use crate::error::DigError;
use crate::live::{Live, watch};
use crate::load::Load;
use crate::near::Near;
use crate::prepare::prepare;
use crate::recorder::Recorder;
use crate::request::Request;
use crate::sites::Sites;

/// Runs the probe to its end, its children and threads to theirs, and returns what they did.
/// `started` gets a handle by which another thread can cut the recording short; what was seen until
/// then is returned all the same, marked by its [`Ending`](callgate_trace::Ending).
///
/// # Errors
/// [`DigError`] if nothing could be recorded: the probe can't be run, or ptrace is refused.
pub fn record(request: Request, started: impl FnOnce(Stopper)) -> Result<Trace, DigError> {
    let (launch, mut prepared) = prepare(&request)?;
    let mut process = launch.start()?;
    let main = process.pid().as_raw();
    let mut tracer = Tracer::seize(main, Options::FILTERED)?;
    let stopper = Stopper::new(main).map_err(|errno| DigError::System {
        what: "pidfd_open",
        errno,
    })?;
    started(stopper.clone());
    // A seized tracee runs freely until it stops once, which ours does before it executes the probe. A child that is
    // gone already says so in its report, or by how it ended.
    let _ = process.go();
    prepared.code = None;
    let live = Live::new(main);
    let near = Near::new();
    let watch = watch(stopper.clone(), live.clone(), near.clone(), None, request.timeout);
    let mut recorder = Recorder::new(
        main,
        &prepared,
        request.counts,
        stopper,
        live,
        near,
        Sites::new(request.stacks),
    );
    let load = match request.load {
        true => Some(Load::start(tracer.waker().map_err(|errno| DigError::System {
            what: "sigaction",
            errno,
        })?)),
        false => None,
    };
    loop {
        match tracer.wait_or_wake()? {
            Woken::Event(event) => recorder.handle(event)?,
            Woken::Up if load.is_some() => recorder.interrupt_one()?,
            Woken::Up => {}
            Woken::Alone => break,
        }
    }
    drop(load);
    drop(watch);
    let reports = process.reports().map_err(|e| DigError::System {
        what: "reading the report",
        errno: Errno::from_raw(e.raw_os_error().unwrap_or(0)),
    })?;
    if let Some(failure) = reports.failure {
        return Err(DigError::from_failure(failure));
    }
    recorder.into_trace(prepared.command, prepared.python)
}
