//! What all requests share.

use std::sync::atomic::{AtomicU8, Ordering};

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Semaphore};

use crate::api::dependencies::Dependency;
use crate::runner::Runner;
use crate::unsent::Unsent;
use crate::{Http, Settings};

/// The server's state.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) runner: Runner,
    pub(crate) preload: bool,
    pub(crate) diagnose: bool,
    pub(crate) http: Http,
    /// How many more bytes the bodies that are being read may have, all together: no more than those of all the
    /// requests that are let in.
    pub(crate) bodies: Semaphore,
    /// Likewise for answers that are not taken yet.
    pub(crate) unsent: Unsent,
    /// The packages as they were last looked at.
    pub(crate) dependencies: Mutex<Option<Vec<Dependency>>>,
    key: [u8; 32],
    phase: AtomicU8,
}

fn bodies(settings: &Settings) -> usize {
    let each = usize::try_from(settings.http.body).unwrap_or(usize::MAX);
    each.saturating_mul(settings.max_requests)
        .min(Semaphore::MAX_PERMITS)
}

/// What the server is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Starting,
    Ready,
    Stopping,
}

impl App {
    pub(crate) fn new(settings: &Settings, runner: Runner) -> Self {
        Self {
            runner,
            preload: settings.preload,
            diagnose: settings.diagnose,
            http: settings.http,
            bodies: Semaphore::new(bodies(settings)),
            unsent: Unsent::new(settings.sandbox.limits.output, settings.max_workers),
            dependencies: Mutex::default(),
            key: Sha256::digest(settings.key.as_bytes()).into(),
            phase: AtomicU8::new(Phase::Starting as u8),
        }
    }

    /// Whether this is the key. Hashes are compared: how long that takes tells nothing of the key.
    pub(crate) fn admits(&self, given: &[u8]) -> bool {
        let given: [u8; 32] = Sha256::digest(given).into();
        given == self.key
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Stopping,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }
}
