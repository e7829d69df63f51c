//! What dify-sandbox's configuration says: its file, then its environment variables, which come before it.

mod environment;
mod file;
mod words;

use std::path::PathBuf;
use std::time::Duration;

pub use words::Allowed;

/// The key that dify-sandbox ships with, which everybody knows.
pub const WELL_KNOWN_KEY: &str = "dify-sandbox";

/// The settings that were given; `None` and empty lists where nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `app.port`, `SANDBOX_PORT`.
    pub port: Option<u16>,
    /// `app.debug`, `DEBUG`: more is logged.
    pub debug: Option<bool>,
    /// `app.key`, `API_KEY`.
    pub key: Option<String>,
    /// `max_workers`, `MAX_WORKERS`: how many runs go on at once.
    pub max_workers: Option<usize>,
    /// `max_requests`, `MAX_REQUESTS`: how many requests are in hand at once, running and waiting together.
    pub max_requests: Option<usize>,
    /// `worker_timeout`, `WORKER_TIMEOUT`, in seconds there.
    pub worker_timeout: Option<Duration>,
    /// `python_path`, `PYTHON_PATH`.
    pub python_path: Option<PathBuf>,
    /// `nodejs_path`, `NODEJS_PATH`.
    pub nodejs_path: Option<PathBuf>,
    /// `python_lib_path`, `PYTHON_LIB_PATH`: paths of the host that the code sees besides.
    pub python_lib_path: Vec<PathBuf>,
    /// `enable_network`, `ENABLE_NETWORK`.
    pub enable_network: Option<bool>,
    /// `enable_preload`, `ENABLE_PRELOAD`.
    pub enable_preload: Option<bool>,
    /// `allowed_syscalls`, `ALLOWED_SYSCALLS`.
    pub allowed: Option<Allowed>,
    /// `proxy`, `SOCKS5_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`.
    pub proxy: Proxy,
}

/// The proxies that code with a network is told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxy {
    /// `proxy.socks5`: for both, and before the others.
    pub socks5: Option<String>,
    /// `proxy.https`.
    pub https: Option<String>,
    /// `proxy.http`.
    pub http: Option<String>,
}

impl Proxy {
    /// The variables that the code gets: HTTPS_PROXY and HTTP_PROXY.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        let (https, http) = match &self.socks5 {
            Some(both) => (Some(both), Some(both)),
            None => (self.https.as_ref(), self.http.as_ref()),
        };
        let named = [("HTTPS_PROXY", https), ("HTTP_PROXY", http)];
        named
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?.as_str())))
            .collect()
    }
}

/// A setting that can't be meant: where it stands, what is wrong, the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct ConfigError {
    /// The file with its line, or the variable.
    pub place: String,
    /// What is wrong, and the mend.
    pub what: String,
}

/// What was read, and what of it has no effect here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// The settings.
    pub config: Config,
    /// One sentence for each key or variable that is not used.
    pub warnings: Vec<String>,
}

impl Read {
    /// Reads `config.yaml`'s text; `name` is what the file is called in messages.
    ///
    /// # Errors
    /// [`ConfigError`] with the line.
    pub fn file(&mut self, text: &str, name: &str) -> Result<(), ConfigError> {
        file::read(self, text, name)
    }

    /// Reads environment variables, which come before what the file says; an empty one counts as not set, as
    /// in dify-sandbox.
    ///
    /// # Errors
    /// [`ConfigError`] with the variable's name.
    pub fn environment(&mut self, get: &dyn Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        environment::read(self, get)
    }
}
