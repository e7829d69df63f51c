//! Attaches to a process that runs, records what it does, and lets it go.

mod check;

use std::time::{Duration, Instant};

use callgate_trace::Trace;
use callgate_tracee::{Attached, Event, Stopper, TraceeError, Tracer, Woken};

use self::check::{check, command, refusal};
use crate::error::DigError;
use crate::live::{Live, watch};
use crate::near::Near;
use crate::prepare::Prepared;
use crate::recorder::Recorder;
use crate::sites::Sites;

/// How long letting go may take: a thread in an uninterruptible wait stops when that is over. Who is left
/// then is let go by the kernel when the calling thread ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running process that is to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct Attach {
    /// Its number.
    pub pid: i32,
    /// When to let it go.
    pub timeout: Option<Duration>,
    /// Keep the whole stacks of each sight, of Python and of native code, and not its line alone.
    pub stacks: bool,
}

/// Records a running process with all its threads and descendants, and those that they make, until they have
/// ended, the time limit is reached, or the handle that `started` gets is used: then they are let go and run
/// on as before. All of it is body. Every call is stopped on, and no filter is ever loaded: one would
/// outlive us. If we are killed, the kernel lets them go.
///
/// As after SIGSTOP and SIGCONT (signal(7)), a call that waits is restarted by attaching and by letting go:
/// by `restart_syscall` or by itself, which is recorded, and epoll_wait and few others may return EINTR.
///
/// # Errors
/// [`DigError::Attach`] with advice. The process goes on.
pub fn attach(request: Attach, started: impl FnOnce(Stopper)) -> Result<Trace, DigError> {
    let pid = request.pid;
    check(pid).map_err(|why| DigError::Attach { pid, why })?;
    let command = command(pid);
    let refused = |error| match error {
        TraceeError::Seize { tid, errno } => DigError::Attach {
            pid,
            why: refusal(tid, errno),
        },
        error => error.into(),
    };
    let Attached {
        mut tracer,
        threads,
        refused: left_out,
    } = Tracer::attach(pid).map_err(refused)?;
    let system = |what| move |errno| DigError::System { what, errno };
    let waker = tracer.waker().map_err(system("sigaction"))?;
    let stopper = Stopper::sparing();
    let live = Live::spared(threads.iter().copied());
    let near = Near::never();
    let probe = Prepared {
        command,
        python: None,
        script: false,
        named: Vec::new(),
        code: None,
    };
    let mut recorder = Recorder::new(
        pid,
        &probe,
        true,
        stopper.clone(),
        live.clone(),
        near.clone(),
        Sites::new(request.stacks),
    );
    recorder.attached(threads.iter().copied());
    for error in left_out {
        recorder.tell(format!("a descendant's calls are not in it: {error}"));
    }
    recorder.tell("it was attached to while it ran: what it did before is not in it".to_owned());
    for tid in threads {
        Tracer::interrupt(tid)?;
    }
    let watch = watch(stopper.clone(), live.clone(), near, Some(waker), request.timeout);
    started(stopper.clone());
    loop {
        match tracer.wait_or_wake()? {
            Woken::Event(event) => recorder.handle(event)?,
            Woken::Alone => break,
            Woken::Up => {}
        }
        if stopper.word().is_some() {
            let left = let_go(&mut tracer, &mut recorder, &live)?;
            if !left.is_empty() {
                recorder.tell(format!(
                    "threads {left:?} could not be stopped in {} s; the kernel lets them go when callgate ends",
                    PATIENCE.as_secs()
                ));
            }
            break;
        }
    }
    drop(watch);
    recorder.into_trace(probe.command, probe.python)
}

/// Stops every thread once more and lets it go; returns those that could not be stopped.
fn let_go(tracer: &mut Tracer, recorder: &mut Recorder, live: &Live) -> Result<Vec<i32>, DigError> {
    for tid in live.tids() {
        Tracer::interrupt(tid)?;
    }
    for tracee in recorder.kept() {
        recorder.let_go(tracee)?;
    }
    let begin = Instant::now();
    loop {
        match tracer.wait_or_wake()? {
            // One that was made meanwhile is attached too, and stops by itself.
            Woken::Event(Event::Stopped(tracee)) => recorder.let_go(tracee)?,
            Woken::Event(event) => recorder.handle(event)?,
            Woken::Alone => return Ok(Vec::new()),
            Woken::Up => {
                if begin.elapsed() > PATIENCE {
                    return Ok(live.tids());
                }
            }
        }
    }
}
