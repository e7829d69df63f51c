//! Ctrl-C while something is being watched: it is ended, and what is known of it is still written.

use std::sync::{Mutex, OnceLock};

use callgate_tracee::Stopper;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{CANNOT, Failure};

/// Ends what is being watched; false if that was asked for already.
type End = Box<dyn FnMut() -> bool + Send>;

/// What the next signal does.
static CURRENT: OnceLock<Mutex<Option<End>>> = OnceLock::new();

fn current() -> std::sync::MutexGuard<'static, Option<End>> {
    let lock = CURRENT.get_or_init(Mutex::default).lock();
    lock.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// From now on SIGINT and SIGTERM end what is being watched, if anything is, and else this program.
pub(crate) fn install() -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::new(CANNOT, format!("sigaction: {error}")))?;
    let ends = move || {
        for signal in signals.forever() {
            let ended = current().as_mut().is_some_and(|end| end());
            if !ended {
                // Nothing is watched, or the second time: at once.
                std::process::exit(128 + signal);
            }
        }
    };
    let thread = std::thread::Builder::new().spawn(ends);
    thread.map(drop).map_err(|error| {
        let advice =
            "the user has as many processes as it may (`ulimit -u`), or the container (--pids-limit)";
        Failure::new(CANNOT, format!("no thread that waits for signals: {error}"))
            .with_advice(Some(advice.to_owned()))
    })
}

/// This is what the next signal ends, leaving this word.
pub(crate) fn watch(stopper: Stopper, word: u32) {
    watch_with(move || {
        let first = stopper.word().is_none();
        if first {
            stopper.stop(word);
        }
        first
    });
}

/// This is what the next signal does; it returns false if it has been done already.
pub(crate) fn watch_with(end: impl FnMut() -> bool + Send + 'static) {
    *current() = Some(Box::new(end));
}

/// Nothing is watched any more.
pub(crate) fn unwatch() {
    *current() = None;
}
