//! An HTTP front over the sandbox: dify-sandbox's API and configuration, and more answers.
//!
//! Terms:
//! - a *request* is let in while fewer than `max_requests` are in hand, else it is answered with 503; of those,
//!   `max_workers` *run* at once, each in a thread of its own, and the others wait in the order of their coming;
//! - a *run* is one of [`callgate_exec`]: root, filter, limits and tier are the same as with `callgate exec`.
//!   It ends when its client goes away, and its place is free when nothing of it is left;
//! - a run is *warm* when it is a fork of a template ([`callgate_exec::Template`]) that has its modules imported: one
//!   template for each network. Else it is *cold*, a new interpreter: where the tier has no templates, for JavaScript,
//!   and to diagnose;
//! - the *preload* of a request runs where its code runs: in the sandbox, under the filter, before the code. No
//!   byte that a client sends is evaluated anywhere else.
//!
//! | path | answers |
//! |---|---|
//! | `POST /v1/sandbox/run` | runs code: `{language, code, preload, enable_network}` |
//! | `POST /v1/sandbox/diagnose` | what the code needs beyond the policy (`callgate.diagnosis/1`), if that is switched on |
//! | `GET /v1/sandbox/dependencies?language=python3` | the packages that are there |
//! | `GET /v1/sandbox/dependencies/refresh?language=python3` | looks again, and lists |
//! | `POST /v1/sandbox/dependencies/update` | looks again; installs nothing |
//! | `GET /metrics` | counters in OpenMetrics' text format |
//! | `GET /health` | `"ok"` when runs are taken, else 503; the only path without a key |
//!
//! An answer is `{"code": 0, "message": "success", "data": …}`, or a code below 0, a message, and no data. A run
//! has `stdout`, `stderr`, `error` and `exit_code` as in dify-sandbox (255 for an exception that nobody caught,
//! -1 for what did not end by itself), and besides `violation`, `usage`, `truncated`, `limit` and `notes`.
//!
//! With `Accept: text/event-stream` a run is answered with server-sent events: `stdout` and `stderr` with a JSON
//! string each, as the output comes, and `end` with the whole answer.
//!
//! Limits: HTTP/1.1 without TLS, which a reverse proxy adds. Clients are told of nothing but their own run, but all
//! have the same key.

mod answer;
mod api;
mod app;
pub mod config;
mod descriptors;
mod diagnosis;
mod ender;
mod engine;
mod gate;
mod job;
mod listener;
mod metrics;
mod rules;
mod runner;
mod script;
mod server;
mod unsent;
mod warm;

use std::net::SocketAddr;
use std::time::Duration;

pub use engine::{Networked, NodeJs, Sandbox};
pub use rules::{Change, Rules, RulesError};
pub use server::{ServeError, serve};
pub use warm::Warmth;

/// The settings of a server, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What clients have to send in `X-Api-Key`.
    pub key: String,
    /// How many runs go on at once.
    pub max_workers: usize,
    /// How many requests are in hand at once, running ones included.
    pub max_requests: usize,
    /// Whether a request's preload is run.
    pub preload: bool,
    /// Whether code may be run with what the policy refuses allowed, to learn what it needs.
    pub diagnose: bool,
    /// How code is run.
    pub sandbox: Sandbox,
    /// What clients may do.
    pub http: Http,
    /// How long requests in hand may take when the server stops.
    pub grace: Duration,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// The length of a body, in bytes.
    pub body: u64,
    /// Connections at once; further ones wait to be accepted.
    pub connections: usize,
    /// How long a request's head, its body, and each step of taking the answer may take.
    pub patience: Duration,
}
