//! What the server counts, for Prometheus.

use std::fmt;
use std::time::Duration;

use callgate_abi::Syscall;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::job::{Done, Language};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RunLabels {
    language: &'static str,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    path: String,
    status: u16,
}

/// The counters.
pub(crate) struct Metrics {
    registry: Registry,
    runs: Family<RunLabels, Counter>,
    refused: Family<CallLabels, Counter>,
    requests: Family<HttpLabels, Counter>,
    duration: Histogram,
    waiting: Histogram,
    busy: Gauge,
    in_hand: Gauge,
    beds: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Upper bounds in seconds: from a warm run to the longest time limit that makes sense.
fn buckets() -> impl Iterator<Item = f64> {
    [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ]
    .into_iter()
}

impl Metrics {
    pub(crate) fn new(max_workers: usize, max_requests: usize) -> Self {
        let mut registry = Registry::with_prefix("callgate");
        let new = Self {
            runs: Family::default(),
            refused: Family::default(),
            requests: Family::default(),
            duration: Histogram::new(buckets()),
            waiting: Histogram::new(buckets()),
            busy: Gauge::default(),
            in_hand: Gauge::default(),
            beds: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("runs", "Runs that are over, by outcome", new.runs.clone());
        registry.register(
            "refused_calls",
            "Runs in which the policy refused this call and ended a process for it",
            new.refused.clone(),
        );
        registry.register(
            "http_requests",
            "Requests that were answered, by path and status",
            new.requests.clone(),
        );
        let seconds = |registry: &mut Registry, name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        seconds(
            &mut registry,
            "run_duration",
            "From the start of a run's set-up to the end of its last process",
            &new.duration,
        );
        seconds(
            &mut registry,
            "run_waiting",
            "From a request's coming to the start of its run",
            &new.waiting,
        );
        registry.register("workers_busy", "Runs that go on", new.busy.clone());
        registry.register(
            "requests_in_hand",
            "Requests that run or wait for a worker",
            new.in_hand.clone(),
        );
        registry.register(
            "beds_ready",
            "Warm runs that could begin at once; 0 where runs have new interpreters",
            new.beds.clone(),
        );
        for (name, help, value) in [
            (
                "workers",
                "Runs that may go on at once (max_workers)",
                max_workers,
            ),
            (
                "requests",
                "Requests that may be in hand at once (max_requests)",
                max_requests,
            ),
        ] {
            let gauge = Gauge::<i64>::default();
            gauge.set(value as i64);
            registry.register(format!("max_{name}"), help, gauge);
        }
        Self { registry, ..new }
    }

    /// A run is over.
    pub(crate) fn ran(&self, language: Language, done: &Done, waited: Duration) {
        let labels = RunLabels {
            language: language.name(),
            outcome: done.word(),
        };
        self.runs.get_or_create(&labels).inc();
        self.waiting.observe(waited.as_secs_f64());
        self.duration.observe(done.outcome.usage.wall_ms as f64 / 1000.0);
        if let Some(violation) = &done.outcome.violation {
            // Code chooses its numbers: only those that Linux knows become labels.
            let known = Syscall::new(violation.arch, violation.nr).known_name();
            let call = known.unwrap_or("unknown").to_owned();
            self.refused.get_or_create(&CallLabels { call }).inc();
        }
    }

    /// A request is answered.
    pub(crate) fn answered(&self, path: &str, status: u16) {
        let path = path.to_owned();
        self.requests.get_or_create(&HttpLabels { path, status }).inc();
    }

    /// In the text format of OpenMetrics.
    pub(crate) fn text(&self, running: usize, in_hand: usize, beds: usize) -> Result<String, fmt::Error> {
        self.beds.set(beds as i64);
        self.busy.set(running as i64);
        self.in_hand.set(in_hand as i64);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
