//! The paths of the server, and what holds for all of them.

pub(crate) mod body;
pub(crate) mod dependencies;
mod diagnose;
mod run;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::answer::Refusal;
use crate::app::{App, Phase};

/// All paths.
pub(crate) fn router(app: Arc<App>) -> Router {
    let closed = Router::new()
        .route("/v1/sandbox/run", post(run::run))
        .route("/v1/sandbox/diagnose", post(diagnose::diagnose))
        .route("/v1/sandbox/dependencies", get(dependencies::list))
        .route("/v1/sandbox/dependencies/update", post(dependencies::update))
        .route("/v1/sandbox/dependencies/refresh", get(dependencies::refresh))
        .route("/metrics", get(metrics))
        .route_layer(from_fn_with_state(Arc::clone(&app), key));
    Router::new()
        .route("/health", get(health))
        .merge(closed)
        .layer(from_fn_with_state(Arc::clone(&app), count))
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, -404, "no such path") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, -405, "not with this method")
        })
        .with_state(app)
}

/// `"ok"` when runs are taken, as dify-sandbox says it.
async fn health(State(app): State<Arc<App>>) -> Response {
    match app.phase() {
        Phase::Ready => axum::Json("ok").into_response(),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, axum::Json("starting")).into_response(),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, axum::Json("stopping")).into_response(),
    }
}

/// The counters, for Prometheus.
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let gate = &app.runner.gate;
    match app
        .runner
        .metrics
        .text(gate.running(), gate.in_hand(), app.runner.engine.beds())
    {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            -500,
            "the counters can't be written",
        )
        .into_response(),
    }
}

/// Lets nobody in without the key: `X-Api-Key`, or a bearer token, which is what Prometheus can send.
async fn key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let bearer = || {
        let value = headers.get(header::AUTHORIZATION)?.as_bytes();
        value.strip_prefix(b"Bearer ")
    };
    let given = match headers.get("x-api-key") {
        Some(value) => Some(value.as_bytes()),
        None => bearer(),
    };
    match given {
        Some(given) if app.admits(given) => next.run(request).await,
        _ => {
            body::dropped(request.into_body(), &app.http).await;
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                -401,
                "the key is wrong or missing: send it in X-Api-Key",
            )
            .into_response()
        }
    }
}

/// Counts what is answered.
async fn count(State(app): State<Arc<App>>, path: MatchedPath, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    app.runner
        .metrics
        .answered(path.as_str(), response.status().as_u16());
    response
}
