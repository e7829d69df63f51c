//! `serve`: a real server on a free port of the loopback device, asked over HTTP.
//!
//! - [`answers`]: every status and shape of the API; [`streaming`]: output as it comes; [`packages`]: what is installed;
//! - [`settings`]: dify-sandbox's configuration, its warnings and errors, the key, allowed calls, preload;
//! - [`takeover`]: what lies around a dify-sandbox, taken as it is;
//! - [`diagnosing`]: what a snippet needs, and that the sandbox holds meanwhile;
//! - [`clients`]: too many, too slow, too much, gone;
//! - [`lifecycle`]: readiness, warmth, counters, the log; [`ending`]: the end;
//! - [`holds`]: hostile code and hostile clients: the next request is answered, and nothing is left;
//! - [`programs`]: what dify-sandbox's own tests run, at least as well;
//! - [`deploy`]: the pages and files in `crates/serve/deploy` say what is so;
//! - [`server`]: how the tests start one and ask it.

mod answers;
mod clients;
mod deploy;
mod diagnosing;
mod ending;
mod holds;
mod lifecycle;
mod packages;
mod programs;
pub mod server;
mod settings;
mod streaming;
mod takeover;
