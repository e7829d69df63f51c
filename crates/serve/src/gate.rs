//! How many requests are in hand, and how many of them run.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets requests in, up to `max_requests`, and runs begin, up to `max_workers`, in the order of their coming.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    requests: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    max_requests: usize,
    max_workers: usize,
}

/// A request that was let in; it is out again when this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    gate: Gate,
    request: OwnedSemaphorePermit,
}

/// A run that may go on; its place is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _request: OwnedSemaphorePermit,
    _worker: OwnedSemaphorePermit,
}

/// The server takes no more runs.
#[derive(Debug)]
pub(crate) struct Closed;

impl Gate {
    pub(crate) fn new(max_workers: usize, max_requests: usize) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(max_requests)),
            workers: Arc::new(Semaphore::new(max_workers)),
            max_requests,
            max_workers,
        }
    }

    /// Lets a request in; none if there are too many.
    pub(crate) fn enter(&self) -> Option<Ticket> {
        let request = Arc::clone(&self.requests).try_acquire_owned().ok()?;
        Some(Ticket {
            gate: self.clone(),
            request,
        })
    }

    /// No run begins any more.
    pub(crate) fn close(&self) {
        self.workers.close();
    }

    /// How many runs go on.
    pub(crate) fn running(&self) -> usize {
        self.max_workers.saturating_sub(self.workers.available_permits())
    }

    /// How many requests are in hand, running ones included.
    pub(crate) fn in_hand(&self) -> usize {
        self.max_requests
            .saturating_sub(self.requests.available_permits())
    }
}

impl Ticket {
    /// Waits for a place to run.
    pub(crate) async fn place(self) -> Result<Place, Closed> {
        let worker = Arc::clone(&self.gate.workers);
        Ok(Place {
            _worker: worker.acquire_owned().await.map_err(|_| Closed)?,
            _request: self.request,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_many_enter_and_run_as_may() {
        let gate = Gate::new(1, 2);
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert!(gate.enter().is_none());
        let running = first.place().await.unwrap();
        assert_eq!((gate.running(), gate.in_hand()), (1, 2));
        let waits = tokio::spawn(second.place());
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(running);
        let next = waits.await.unwrap().unwrap();
        assert_eq!((gate.running(), gate.in_hand()), (1, 1));
        let late = gate.enter().unwrap();
        gate.close();
        assert!(late.place().await.is_err());
        drop(next);
        assert_eq!(gate.in_hand(), 0);
    }
}
