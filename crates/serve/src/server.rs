//! From the settings to the last run: binds, tries one run, serves, stops within a bound.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use callgate_exec::{SetUpFailure, Status, Tier};
use callgate_python::interpreter::InterpreterError;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::Settings;
use crate::app::{App, Phase};
use crate::engine::Engine;
use crate::gate::Gate;
use crate::job::Job;
use crate::metrics::Metrics;
use crate::runner::Runner;
use crate::{api, descriptors, listener};

/// Why the server did not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The runtime or its signal handlers could not be made.
    #[error("can't start: {0}")]
    Start(#[from] io::Error),
    /// The interpreter can't be used.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// No code can be run here.
    #[error("no code can be run here: {0}")]
    SetUp(SetUpFailure),
}

/// SIGTERM and SIGINT.
type Stops = [Signal; 2];

/// How long runs that are ended may take until nothing of them is left.
const LAST: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT: then takes no more requests, waits up to `grace` for those in hand, and ends
/// what still runs.
///
/// # Errors
/// [`ServeError`], before the first request is taken.
pub fn serve(mut settings: Settings) -> Result<(), ServeError> {
    settings.http.connections = descriptors::connections(settings.http.connections, settings.max_workers);
    let engine = Arc::new(Engine::new(settings.sandbox.clone(), settings.max_workers)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(until_stopped(settings, Arc::clone(&engine)));
    // What is left are connections that nobody waits for any more.
    runtime.shutdown_timeout(Duration::from_millis(100));
    cool_down(engine);
    served
}

/// Ends the templates, but does not wait for long: a process of somebody else in one of their namespaces can keep
/// an init from ending (pid_namespaces(7)). What is left is killed when this process has ended.
fn cool_down(engine: Arc<Engine>) {
    let (tell, told) = mpsc::channel();
    let work = move || {
        engine.cool_down();
        let _ = tell.send(());
    };
    let ended = match std::thread::Builder::new().name("end".to_owned()).spawn(work) {
        Ok(_) => told.recv_timeout(LAST).is_ok(),
        Err(_) => false,
    };
    if !ended {
        warn!(
            "not all warm interpreters have ended within {} s: they are left to the kernel",
            LAST.as_secs()
        );
    }
}

async fn until_stopped(settings: Settings, engine: Arc<Engine>) -> Result<(), ServeError> {
    let mut stops: Stops = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let address = settings.listen;
    let refused = |source| ServeError::Listen { address, source };
    let socket = TcpListener::bind(address).await.map_err(refused)?;
    let bound = socket.local_addr().map_err(refused)?;
    let runner = Runner {
        gate: Gate::new(settings.max_workers, settings.max_requests),
        metrics: Arc::new(Metrics::new(settings.max_workers, settings.max_requests)),
        runs: Default::default(),
        engine: Arc::clone(&engine),
    };
    let app = Arc::new(App::new(&settings, runner));
    info!(address = %bound, "listening on http://{bound}");

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = api::router(Arc::clone(&app));
    let serving = listener::serve(socket, router, settings.http, async move {
        // The sender is never dropped without a word.
        let _ = stopped.await;
    });
    let serving = tokio::spawn(serving);
    if can_run(engine, &mut stops).await? {
        app.enter(Phase::Ready);
        info!("ready");
        any(&mut stops).await;
    }
    app.enter(Phase::Stopping);
    info!(grace_s = settings.grace.as_secs_f64(), "stopping");
    let _ = stop.send(());
    if let Ok(open) = serving.await {
        finish(&app, open, settings.grace, &mut stops).await;
    }
    info!("stopped");
    Ok(())
}

/// Makes what runs need; false if the server is stopped before that is done.
async fn can_run(engine: Arc<Engine>, stops: &mut Stops) -> Result<bool, ServeError> {
    let prepared = tokio::task::spawn_blocking(move || prepared(&engine));
    tokio::select! {
        tried = prepared => match tried {
            Ok(tried) => tried.map(|()| true).map_err(ServeError::SetUp),
            Err(error) => Err(ServeError::Start(io::Error::other(error))),
        },
        () = any(stops) => Ok(false),
    }
}

/// Waits for the requests in hand, for `grace` or until there is another signal, and ends what still runs.
async fn finish(app: &App, open: GracefulShutdown, grace: Duration, stops: &mut Stops) {
    let gone = open.shutdown();
    tokio::pin!(gone);
    tokio::select! {
        () = &mut gone => {}
        () = tokio::time::sleep(grace) => end(app, gone).await,
        () = any(stops) => end(app, gone).await,
    }
    // Runs whose clients have gone have no connection any more.
    app.runner.gate.close();
    if app.runner.gate.running() > 0 {
        app.runner.runs.end_all();
        let _ = tokio::time::timeout(LAST, none_running(app)).await;
    }
}

/// Ends all runs, and waits a little for their clients to be told.
async fn end(app: &App, gone: impl Future<Output = ()>) {
    app.runner.gate.close();
    let ended = app.runner.runs.end_all();
    warn!(ended, "ended what still ran");
    let _ = tokio::time::timeout(LAST, gone).await;
}

async fn none_running(app: &App) {
    while app.runner.gate.running() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for one of the signals.
async fn any(stops: &mut Stops) {
    let [terminate, interrupt] = stops;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Makes what runs need, and tries it. Python is what a server is for; JavaScript, which where roots are copied has
/// one of its own to be copied, is not tried: its runs say what fails.
fn prepared(engine: &Engine) -> Result<(), SetUpFailure> {
    let warmed = engine.warm_up();
    // Warm, if there are templates now; else what it tells is the tier.
    let tier = trial(engine)?;
    match (engine.is_to_be_warm(), warmed) {
        (false, _) => info!("each run has a new interpreter"),
        (true, Ok(())) => info!("runs are forks of a warm interpreter"),
        // Where it could have been warm, something is wrong that the operator has to know.
        (true, Err(failure)) if matches!(tier, Some(Tier::Full | Tier::Container)) => return Err(failure),
        (true, Err(_)) => {
            warn!(
                "no warm interpreters, which need tier full or container: each run has a new one, and --preimport no effect"
            );
        }
    }
    Ok(())
}

/// Runs a program that does nothing: where that fails, every run would. Returns its tier.
fn trial(engine: &Engine) -> Result<Option<Tier>, SetUpFailure> {
    let outcome = engine.run(&Job::of_the_server("pass"), None, |_| {});
    let failed = |error: String| SetUpFailure {
        step: "the first run".to_owned(),
        error,
        advice: Some("callgate exec -c pass --policy POLICY shows more".to_owned()),
    };
    match (outcome.status, outcome.exit_code) {
        (Status::Exited, 0) => {}
        (Status::SetupFailed, _) => {
            return Err(outcome
                .setup
                .unwrap_or_else(|| failed("it was not set up".to_owned())));
        }
        (status, code) => {
            let refused = outcome.violation.map_or_else(String::new, |violation| {
                format!(", refused: {}", violation.syscall)
            });
            let said = outcome.stderr.unwrap_or_default();
            return Err(failed(format!(
                "a program that does nothing {status} with {code}{refused} {said}"
            )));
        }
    }
    info!(
        tier = outcome.tier.map(|tier| tier.name()),
        layers = outcome.layers.join(", "),
        "runs have these layers"
    );
    for missing in outcome.missing {
        warn!(missing, "a layer is missing");
    }
    for note in outcome.notes {
        info!(note, "of the root");
    }
    Ok(outcome.tier)
}
