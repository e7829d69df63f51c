//! `callgate serve`: the settings of a server, from flags, variables and file.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use callgate_cache::Cache;
use callgate_exec::{Limits, Networks, Node};
use callgate_python::interpreter::Interpreter;
use callgate_rootfs::{Identity, Plan, PlanError};
use callgate_serve::config::{Allowed, Config, Read, WELL_KNOWN_KEY};
use callgate_serve::{Change, Http, Networked, NodeJs, Rules, Sandbox, ServeError, Settings, Warmth, serve};
use tracing::level_filters::LevelFilter;
use tracing::{info, warn};

use crate::args::{LogForm, Pair, ServeArgs};
use crate::failure::{CANNOT, Failure};
use crate::{allocator, input, kept};

/// Where dify-sandbox has its configuration, below the directory that it is started in.
const CONFIG: &str = "conf/config.yaml";

/// What dify-sandbox installs when it starts, there as well.
const REQUIREMENTS: &str = "dependencies/python-requirements.txt";

/// How much of each output stream is answered unless told otherwise, in bytes. In JSON it can become six times
/// as long.
const OUTPUT: u64 = 4 << 20;

pub(crate) fn run(args: &ServeArgs) -> Result<u8, Failure> {
    let kept = allocator::keep_little();
    let (read, file) = read(args)?;
    let config = &read.config;
    log(args.log, config.debug.unwrap_or_default());
    if let Err(error) = kept {
        warn!("the allocator keeps more than it must, as callgate can't be executed again: {error}");
    }
    if let Some(file) = file {
        info!(file = %file.display(), "read the configuration");
    }
    for warning in &read.warnings {
        warn!("{warning}");
    }
    if asks_for_packages(Path::new(REQUIREMENTS)) {
        warn!(
            "{REQUIREMENTS} is not used: callgate installs nothing: packages are those of the interpreter's environment"
        );
    }
    let settings = settings(args, config)?;
    match serve(settings) {
        Ok(()) => Ok(0),
        Err(error) => {
            let advice = match &error {
                ServeError::SetUp(failure) => failure.advice.clone(),
                ServeError::Interpreter(_) => return Err(Failure::input(error)),
                ServeError::Listen { .. } | ServeError::Start(_) => None,
            };
            Err(Failure::new(CANNOT, error).with_advice(advice))
        }
    }
}

/// The configuration: file, then variables. And the file that was read.
fn read(args: &ServeArgs) -> Result<(Read, Option<PathBuf>), Failure> {
    let mut read = Read::default();
    let usual = Path::new(CONFIG);
    let file = match &args.config {
        Some(path) => Some(path.clone()),
        None => usual.is_file().then(|| usual.to_owned()),
    };
    if let Some(path) = &file {
        let (text, name) = input::text(path)?;
        read.file(&text, &name).map_err(Failure::input)?;
    }
    let get = |name: &str| {
        let value = std::env::var_os(name)?;
        Some(value.to_string_lossy().into_owned())
    };
    read.environment(&get).map_err(Failure::input)?;
    Ok((read, file))
}

/// Whether this is a list of packages with a package in it. dify's own has none.
fn asks_for_packages(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    lines.any(|line| !line.is_empty() && !line.starts_with('#'))
}

fn settings(args: &ServeArgs, config: &Config) -> Result<Settings, Failure> {
    let port = args.listen.port.or(config.port).unwrap_or(8194);
    let listen = SocketAddr::new(args.listen.address, port);
    let key = config.key.clone().unwrap_or_else(|| WELL_KNOWN_KEY.to_owned());
    if key == WELL_KNOWN_KEY && !listen.ip().is_loopback() {
        let why = format!("the key is the well-known {WELL_KNOWN_KEY:?}, and {listen} is not loopback");
        let mend = "set another key (API_KEY, or app.key in the configuration), or --listen 127.0.0.1";
        return Err(Failure::input(why).with_advice(Some(mend.to_owned())));
    }
    if config.enable_network == Some(true) {
        warn!("enable_network: code whose request asks for it has the host's network, its loopback included");
    }
    if args.diagnose {
        warn!("--diagnose: whoever has the key can run code with what the policy refuses allowed");
    }
    let network = match config.enable_network {
        Some(true) => Some(Networked {
            rules: rules(args, config, &args.network_policy, args.replace_allowed)?,
            env: config
                .proxy
                .variables()
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }),
        Some(false) | None => None,
    };
    let python = match args.python.as_ref().or(config.python_path.as_ref()) {
        Some(path) => path.clone(),
        None => Interpreter::find().map_err(Failure::input)?,
    };
    let cache = kept::open(&args.cache);
    let sandbox = Sandbox {
        python,
        shown: shown(&config.python_lib_path)?,
        rules: rules(args, config, &args.policy, args.replace_allowed)?,
        node: node(args, config, &cache)?,
        network,
        tier: args.tier,
        limits: Limits {
            output: Some(args.limits.output_limit.unwrap_or(OUTPUT)),
            ..args.limits.limits()
        },
        timeout: args
            .limits
            .timeout
            .or(config.worker_timeout)
            .unwrap_or(Duration::from_secs(5)),
        cache,
        warmth: (!args.fresh).then(|| Warmth {
            preimport: args.preimport.clone(),
            renew_after: args.renew_after,
            networks: match args.own_network {
                true => Networks::Each,
                false => Networks::InTurn,
            },
        }),
    };
    Ok(Settings {
        listen,
        key,
        max_workers: config.max_workers.unwrap_or(4),
        max_requests: config.max_requests.unwrap_or(50),
        preload: config.enable_preload.unwrap_or_default(),
        diagnose: args.diagnose,
        sandbox,
        http: Http {
            body: args.body_limit,
            connections: args.connections as usize,
            patience: args.patience,
        },
        grace: args.grace,
    })
}

/// The Node.js that is named, or the one on the PATH; a server without one runs no JavaScript.
fn node(args: &ServeArgs, config: &Config, cache: &Cache) -> Result<Option<NodeJs>, Failure> {
    let node = match &config.nodejs_path {
        Some(path) => {
            Some(Node::recall(path, cache).map_err(|error| Failure::input(format!("nodejs_path: {error}")))?)
        }
        None => {
            let found = ["node", "nodejs"]
                .iter()
                .find_map(|name| input::program(name.as_ref(), CANNOT).ok());
            match found.as_deref().map(|path| Node::recall(path, cache)) {
                Some(Ok(node)) => Some(node),
                Some(Err(error)) => {
                    warn!("requests for nodejs are refused: {error}");
                    None
                }
                None => None,
            }
        }
    };
    let Some(node) = node else {
        info!("there is no Node.js: requests for nodejs are refused");
        return Ok(None);
    };
    let Pair(closed, open) = &args.node_policies;
    Ok(Some(NodeJs {
        node,
        // Node.js starts under its policy: a list that takes its place, as dify-sandbox means it, would not do.
        rules: rules(args, config, closed, false)?,
        network_rules: rules(args, config, open, false)?,
    }))
}

/// The paths of these that a root can have. Of the others dify-sandbox's usual list has many, such as the
/// directory of all shared objects, or files that every root has of its own; what a run needs there is found
/// without it.
fn shown(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    // Whose the names in it are does not matter: no path is another's for that.
    let nobody = Identity {
        uid: 65534,
        gid: 65534,
    };
    let mut plan = Plan::base(nobody).map_err(Failure::input)?;
    let mut fitting = Vec::new();
    for path in paths {
        let mut grown = plan.clone();
        match grown.add_host(path) {
            Ok(_) => {
                plan = grown;
                fitting.push(path.clone());
            }
            Err(PlanError::Conflict { .. }) => {
                warn!("python_lib_path: each run has a {} of its own", path.display());
            }
            Err(error) => {
                warn!("python_lib_path: {error}; code does not see it, but for what its interpreter needs");
            }
        }
    }
    Ok(fitting)
}

/// A policy, with what is listed besides or instead.
fn rules(args: &ServeArgs, config: &Config, source: &str, replace: bool) -> Result<Rules, Failure> {
    let change = match &config.allowed {
        Some(allowed) => Some(Change {
            named: match allowed {
                Allowed::Policy(source) => Some(input::policy(source)?),
                Allowed::Calls(_) => None,
            },
            allowed: allowed.clone(),
            replace,
        }),
        None if args.replace_allowed => {
            return Err(Failure::input(
                "--replace-allowed, but allowed_syscalls lists nothing",
            ));
        }
        None => None,
    };
    let base = input::policy(source)?;
    let (rules, notes) = Rules::new(source, base, change.as_ref()).map_err(Failure::input)?;
    for note in notes {
        warn!("{note}");
    }
    Ok(rules)
}

/// The log goes to standard error, which is for everything but results.
fn log(form: LogForm, debug: bool) {
    let most = match debug {
        true => LevelFilter::DEBUG,
        false => LevelFilter::INFO,
    };
    let colours = std::io::stderr().is_terminal()
        && anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(most)
        // Else a log that can't be written (a full disk, a reader that has gone) would be told on standard
        // error, where that can't be written either, and the server would end.
        .log_internal_errors(false)
        .with_ansi(colours);
    match form {
        LogForm::Text => log.init(),
        LogForm::Json => log.json().flatten_event(true).init(),
    }
}
