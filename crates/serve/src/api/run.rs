//! `POST /v1/sandbox/run`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::{body, stream};
use crate::answer::{Refusal, RunData, long};
use crate::app::{App, Phase};
use crate::gate::Ticket;
use crate::job::{Done, Job, Language, Request};
use crate::listener::Peer;
use crate::runner::{Client, NotRun};

/// What a client is told whose preload is not run.
const NO_PRELOAD: &str = "the preload was not run: enable_preload is off in the server's configuration";

pub(crate) async fn run(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    let client = client(&peer, request.headers());
    let streaming = stream::wanted(request.headers());
    let request = body::parsed::<Request>(request, &app).await?;
    let (job, left_out) = job(&app, request)?;
    let ticket = admitted(&app)?;
    if streaming {
        return Ok(stream::events(app, ticket, job, client, left_out));
    }
    let done = app.runner.run(ticket, job, client, None).await;
    long(answered(done, left_out)?, &app.unsent)
}

/// What a client is answered whose job was taken.
pub(crate) fn answered(done: Result<Done, NotRun>, left_out: bool) -> Result<RunData, Refusal> {
    let done = done.map_err(not_run)?;
    let mut data = RunData::of(done.outcome, done.ended)?;
    if left_out {
        data.note(NO_PRELOAD);
    }
    Ok(data)
}

/// What is to be run, and whether its preload was left out.
pub(crate) fn job(app: &App, request: Request) -> Result<(Job, bool), Refusal> {
    let given = |value: Option<String>, name: &str| match value {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(Refusal::bad_request(format!("{name} is missing or empty"))),
    };
    let language = given(request.language, "language")?;
    let code = given(request.code, "code")?;
    let language = Language::of(&language).ok_or_else(Refusal::unsupported_language)?;
    if !app.runner.engine.speaks(language) {
        return Err(Refusal::bad_request(
            "unsupported language: this server has no Node.js",
        ));
    }
    let network = request.enable_network.unwrap_or_default();
    if network && !app.runner.engine.has_network() {
        return Err(Refusal::told(
            -400,
            "network is disabled, please enable it in the configuration",
        ));
    }
    let preload = request.preload.filter(|preload| !preload.is_empty());
    let left_out = preload.is_some() && !app.preload;
    let job = Job {
        language,
        code,
        preload: preload.filter(|_| app.preload),
        network,
        learn: false,
    };
    Ok((job, left_out))
}

/// A place among those who wait, if the server takes runs.
pub(crate) fn admitted(app: &App) -> Result<Ticket, Refusal> {
    match app.phase() {
        Phase::Ready => app.runner.gate.enter().ok_or_else(Refusal::full),
        Phase::Starting => Err(Refusal::unavailable("the server is starting")),
        Phase::Stopping => Err(Refusal::unavailable("the server is stopping")),
    }
}

pub(crate) fn not_run(why: NotRun) -> Refusal {
    match why {
        NotRun::Stopping => Refusal::unavailable("the server is stopping"),
        NotRun::NoThread => Refusal::told(-500, "nothing ran: the server has no thread for it"),
        NotRun::Lost => Refusal::told(-500, "it is not known how it ended: the server's log says more"),
    }
}

/// Who asks. What a client says of itself is cut: it goes into the log.
pub(crate) fn client(peer: &Peer, headers: &HeaderMap) -> Client {
    let said = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.chars().take(128).collect())
    };
    Client {
        peer: peer.0.to_string(),
        trace: said("traceparent"),
        user: said("x-user-id"),
    }
}
