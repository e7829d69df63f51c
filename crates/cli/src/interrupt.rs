//! Ctrl-C while something is being watched: it is ended, and what is known of it is still written.

use std::sync::{Mutex, OnceLock};

use callgate_tracee::Stopper;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{CANNOT, Failure};

/// What the next signal ends, and the word that it leaves.
static CURRENT: OnceLock<Mutex<Option<(Stopper, u32)>>> = OnceLock::new();

fn current() -> std::sync::MutexGuard<'static, Option<(Stopper, u32)>> {
    let lock = CURRENT.get_or_init(Mutex::default).lock();
    lock.unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// From now on SIGINT and SIGTERM end what is being watched, if anything is, and else this program.
pub(crate) fn install() -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| Failure::new(CANNOT, format!("sigaction: {error}")))?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            match current().as_ref() {
                Some((stopper, word)) if stopper.word().is_none() => stopper.stop(*word),
                // Nothing is watched, or the second time: at once.
                _ => std::process::exit(128 + signal),
            }
        }
    });
    Ok(())
}

/// This is what the next signal ends.
pub(crate) fn watch(stopper: Stopper, word: u32) {
    *current() = Some((stopper, word));
}

/// Nothing is watched any more.
pub(crate) fn unwatch() {
    *current() = None;
}
