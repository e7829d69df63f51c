//! The words of `serve`: where it listens, what it takes from dify-sandbox's configuration, what it adds.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use callgate_exec::TierChoice;
use clap::{Args, ValueEnum};

use super::exec::{LimitArgs, size};
use super::{CacheArgs, seconds};

#[derive(Debug, Args)]
#[command(after_help = "\
The API is dify-sandbox's (its port is 8194), with the key in the header X-Api-Key:
  POST /v1/sandbox/run          {\"language\": \"python3\" or \"nodejs\", \"code\": …,
                                 \"preload\"?: …, \"enable_network\"?: true or false}
  GET  /v1/sandbox/dependencies?language=python3           POST …/update   GET …/refresh
  GET  /health                  \"ok\" when runs are taken; needs no key
and besides:
  POST /v1/sandbox/diagnose     with --diagnose: as run, answers callgate.diagnosis/1
  GET  /metrics                 for Prometheus; the key also as a bearer token
A run that is asked for with `Accept: text/event-stream` is answered with events: `stdout` and
`stderr` as they come, each a JSON string, and `end` with the whole answer. There is no TLS: put a
reverse proxy in front of it.

Flags come before environment variables, those before the file. Keys of the file: app.port,
app.key, app.debug (logs more), max_workers [4], max_requests [50], worker_timeout [5],
python_path, python_lib_path (paths that the code sees besides), nodejs_path, enable_network,
enable_preload, allowed_syscalls, proxy.socks5, proxy.http, proxy.https. Variables: SANDBOX_PORT,
API_KEY, DEBUG, MAX_WORKERS, MAX_REQUESTS, WORKER_TIMEOUT, PYTHON_PATH, PYTHON_LIB_PATH,
NODEJS_PATH, ENABLE_NETWORK, ENABLE_PRELOAD, ALLOWED_SYSCALLS, SOCKS5_PROXY, HTTP_PROXY,
HTTPS_PROXY. What has no effect here is a warning, what can't be meant an error.
max_requests counts running requests too; one more is answered with 503. allowed_syscalls
(numbers, names, or a policy) adds to the policies, with --replace-allowed it is all that Python
gets. Without enable_preload a preload is not run, and the answer says so; with it, it runs in the
sandbox, under the policy. Of each output stream 4M are answered, unless --output-limit says
otherwise.

SIGTERM or SIGINT: no further requests are taken, those in hand have --grace seconds, then they
are ended. Exit codes: 0 stopped by a signal; 2 bad input; 125 it can't listen, or no code can be
run here.")]
pub(crate) struct ServeArgs {
    /// dify-sandbox's configuration file [default: conf/config.yaml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen: an address, or address:port. The well-known key `dify-sandbox` is only taken on
    /// loopback
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_parser = listen)]
    pub(crate) listen: Listen,
    /// The Python interpreter, before python_path [default: python3 on the PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) python: Option<PathBuf>,
    /// The policy: a file or a shipped policy's name
    #[arg(long, value_name = "POLICY", default_value = "python")]
    pub(crate) policy: String,
    /// The policy of code that may use the network: enable_network in the configuration and in the request.
    /// The network is the host's, as with `callgate exec --net host`
    #[arg(long, value_name = "POLICY", default_value = "python-network")]
    pub(crate) network_policy: String,
    /// The policies of JavaScript, without and with the network. It runs where there is a Node.js: nodejs_path, or
    /// node on the PATH
    #[arg(long, value_name = "POLICY,POLICY", default_value = "node,node-network", value_parser = pair)]
    pub(crate) node_policies: Pair,
    /// Let allowed_syscalls take the policy's place, as dify-sandbox up to a94a466 does
    #[arg(long)]
    pub(crate) replace_allowed: bool,
    /// Answer POST /v1/sandbox/diagnose: what code needs beyond the policy (callgate.diagnosis/1). For that, what
    /// the policy refuses is allowed in that run, but for what would open other layers: everybody with the key
    /// can have this, so it is for machines on which policies are made
    #[arg(long)]
    pub(crate) diagnose: bool,
    /// Import these modules ahead, in an interpreter of which runs are forks: they have them at once. It runs their
    /// code before the policy is in force, as it runs the interpreter itself. At tiers full and container
    #[arg(long, value_name = "MODULES", default_value = "json", value_delimiter = ',')]
    pub(crate) preimport: Vec<String>,
    /// After how many runs that interpreter is replaced by a fresh one
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) renew_after: u64,
    /// Give each run a network namespace that nobody had before; warm runs need tier full for that. By default they have
    /// that of runs before them, one at a time, in which nothing can be left: making one is a seventh of a short run
    #[arg(long)]
    pub(crate) own_network: bool,
    /// Give each run a new interpreter: no fork of one shares its memory layout and hash seed with others
    #[arg(long, conflicts_with_all = ["preimport", "renew_after", "own_network"])]
    pub(crate) fresh: bool,
    /// The isolation that every run must have: auto, full, container, unprivileged or landlock
    #[arg(long, value_name = "TIER", default_value = "auto")]
    pub(crate) tier: TierChoice,
    /// The form of the log, which goes to standard error, with one line for each run
    #[arg(long, value_enum, value_name = "FORM", default_value = "text")]
    pub(crate) log: LogForm,
    /// How long requests in hand may take when the server is stopped
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub(crate) grace: Duration,
    /// The longest body of a request
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = size)]
    pub(crate) body_limit: u64,
    /// Connections at once; further ones wait
    #[arg(long, value_name = "N", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// How long a client may take for its request's head, its body, and each step of taking the answer
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pub(crate) patience: Duration,
    #[command(flatten)]
    pub(crate) cache: CacheArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// Two policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair(pub(crate) String, pub(crate) String);

fn pair(word: &str) -> Result<Pair, String> {
    match word.split_once(',') {
        Some((one, two)) if !one.is_empty() && !two.is_empty() => Ok(Pair(one.to_owned(), two.to_owned())),
        _ => Err("expected two policies with a comma between them, such as node,node-network".to_owned()),
    }
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    Text,
    Json,
}

/// An address, and a port if one is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: IpAddr,
    pub(crate) port: Option<u16>,
}

fn listen(word: &str) -> Result<Listen, String> {
    if let Ok(whole) = word.parse::<SocketAddr>() {
        return Ok(Listen {
            address: whole.ip(),
            port: Some(whole.port()),
        });
    }
    let address = match word {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => word
            .parse()
            .map_err(|_| "expected an address such as 127.0.0.1, 0.0.0.0:8194 or [::]:8194".to_owned())?,
    };
    Ok(Listen { address, port: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_or_none() {
        let told = |word| listen(word).map(|l| (l.address.to_string(), l.port));
        assert_eq!(told("127.0.0.1"), Ok(("127.0.0.1".into(), None)));
        assert_eq!(told("0.0.0.0:80"), Ok(("0.0.0.0".into(), Some(80))));
        assert_eq!(told("[::1]:8194"), Ok(("::1".into(), Some(8194))));
        assert_eq!(told("::"), Ok(("::".into(), None)));
        for bad in ["", "8194", ":8194", "example.org", "127.0.0.1:70000"] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }
}
