//! `POST /v1/sandbox/diagnose`: what a snippet needs beyond the policy. Only where the operator switched it on.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::body;
use super::run::{admitted, client, job, not_run};
use crate::answer::{Refusal, long};
use crate::app::App;
use crate::diagnosis::Diagnosis;
use crate::job::{Job, Request};
use crate::listener::Peer;

/// What a client is told where it is off.
const OFF: &str = "diagnosing is off: it allows code more calls than the policy does, so the operator has to switch it \
                   on (callgate serve --diagnose)";

pub(crate) async fn diagnose(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: axum::extract::Request,
) -> Result<Response, Refusal> {
    if !app.diagnose {
        return Err(Refusal::new(StatusCode::FORBIDDEN, -403, OFF));
    }
    let client = client(&peer, request.headers());
    let request = body::parsed::<Request>(request, &app).await?;
    let (job, _) = job(&app, request)?;
    let rules = app.runner.engine.rules(&job).clone();
    let job = Job { learn: true, ..job };
    let ticket = admitted(&app)?;
    let done = app.runner.run(ticket, job, client, None).await.map_err(not_run)?;
    long(Diagnosis::of(done, &rules)?, &app.unsent)
}
