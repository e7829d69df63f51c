//! `serve`: a real server on a free port of the loopback device, asked over HTTP.
//!
//! - [`answers`]: every status and shape of the API;
//! - [`settings`]: dify-sandbox's configuration, its warnings and errors, the key, allowed calls, preload;
//! - [`diagnosing`]: what a snippet needs, and that the sandbox holds meanwhile;
//! - [`clients`]: too many, too slow, too much, gone;
//! - [`lifecycle`]: readiness, counters, the log, the end;
//! - [`server`]: how the tests start one and ask it.

mod answers;
mod clients;
mod diagnosing;
mod lifecycle;
pub mod server;
mod settings;
