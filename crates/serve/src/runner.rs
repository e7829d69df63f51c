//! Takes a job through the gate to a thread of its own, and keeps the books on it.

use std::sync::Arc;
use std::time::Instant;

use callgate_exec::{Listener, Outcome};
use tokio::sync::oneshot;
use tracing::{error, info};

use crate::ender::{Ender, Runs};
use crate::engine::Engine;
use crate::gate::{Gate, Ticket};
use crate::job::{Done, Job};
use crate::metrics::Metrics;

/// What runs go through.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) engine: Arc<Engine>,
    pub(crate) gate: Gate,
    pub(crate) runs: Runs,
    pub(crate) metrics: Arc<Metrics>,
}

/// Who asks, for the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    /// The address.
    pub(crate) peer: String,
    /// The request's `traceparent`.
    pub(crate) trace: Option<String>,
    /// The request's `X-User-ID`.
    pub(crate) user: Option<String>,
}

/// Why a job was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRun {
    /// The server stops.
    Stopping,
    /// No thread could be had for it.
    NoThread,
    /// Its thread ended without a word.
    Lost,
}

impl Runner {
    /// Runs a job. When the future is dropped, the run is ended; its place is free when nothing of it is left.
    /// `listener` hears the output as it comes.
    pub(crate) async fn run(
        &self,
        ticket: Ticket,
        job: Job,
        client: Client,
        listener: Option<Listener>,
    ) -> Result<Done, NotRun> {
        let came = Instant::now();
        let place = ticket.place().await.map_err(|_| NotRun::Stopping)?;
        let ender = self.runs.ender();
        let guard = ender.guard();
        let (tell, told) = oneshot::channel();
        let this = self.clone();
        let work = move || {
            let waited = came.elapsed();
            let done = this.work(&job, listener, &ender);
            this.metrics.ran(job.language, &done, waited);
            audit(&job, &done, waited.as_millis(), &client);
            drop(place);
            // Nobody may be waiting for it any more.
            let _ = tell.send(done);
        };
        if let Err(error) = callgate_exec::workers::spawn(work) {
            error!(%error, "no thread for a run");
            return Err(NotRun::NoThread);
        }
        let done = told.await.map_err(|_| NotRun::Lost);
        guard.disarm();
        done
    }

    fn work(&self, job: &Job, listener: Option<Listener>, ender: &Ender) -> Done {
        let outcome = self.engine.run(job, listener, |stopper| ender.begun(stopper));
        Done {
            outcome,
            ended: ender.ended(),
        }
    }
}

/// One line for each run: who, what (a hash of the code, not the code), how it ended.
fn audit(job: &Job, done: &Done, waited_ms: u128, client: &Client) {
    let Outcome {
        exit_code,
        violation,
        usage,
        truncated,
        setup,
        tier,
        ..
    } = &done.outcome;
    let refused = violation.as_ref().map(|violation| violation.syscall.as_str());
    let site = violation.as_ref().and_then(|violation| violation.site.as_ref());
    info!(
        target: "callgate::audit",
        peer = client.peer,
        trace = client.trace,
        user = client.user,
        language = job.language.name(),
        sha256 = job.digest(),
        bytes = job.code.len(),
        preload = job.preload.is_some(),
        network = job.network,
        learn = job.learn,
        outcome = done.word(),
        exit_code,
        refused,
        site = site.map(ToString::to_string),
        setup = setup.as_ref().map(ToString::to_string),
        truncated = truncated.join(","),
        tier = tier.map(|tier| tier.name()),
        waited_ms = u64::try_from(waited_ms).unwrap_or(u64::MAX),
        wall_ms = usage.wall_ms,
        cpu_ms = usage.cpu_ms,
        memory = usage.memory_peak_bytes.unwrap_or(usage.max_rss_bytes),
        "run"
    );
}
