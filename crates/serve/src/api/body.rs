//! Reads what a client sends: no more than the limit, no longer than the patience lasts.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::answer::Refusal;
use crate::app::App;

/// How much of a body that is too long is still read, and dropped: a client that only reads the answer when it
/// has sent everything gets it then.
const DROPPED: u64 = 256 << 20;

/// The body of a request as a value: JSON, or a form if the client says so.
pub(crate) async fn parsed<T: DeserializeOwned>(request: Request, app: &App) -> Result<T, Refusal> {
    let http = &app.http;
    let (parts, body) = request.into_parts();
    let form = is_form(&parts.headers);
    let bytes = match tokio::time::timeout(http.patience, whole(body, http.body, &app.bodies)).await {
        Ok(bytes) => bytes?,
        Err(_) => {
            return Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                -408,
                format!("the body did not come within {} s", http.patience.as_secs()),
            ));
        }
    };
    // `curl -d '{…}'` says that it sends a form; no form begins like that.
    let json = bytes.trim_ascii_start().starts_with(b"{");
    match form && !json {
        true => serde_urlencoded::from_bytes(&bytes).map_err(|error| Refusal::bad_request(error.to_string())),
        false => serde_json::from_slice(&bytes).map_err(|error| Refusal::bad_request(error.to_string())),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"))
}

/// The bytes of a body. While they come they are counted against what all bodies together may hold.
async fn whole(mut body: Body, limit: u64, bodies: &Semaphore) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut length = 0;
    let mut held: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::bad_request(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length <= limit {
            let more = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let more = bodies.try_acquire_many(more).map_err(|_| Refusal::full())?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
            held = None;
        }
        if length > limit.saturating_add(DROPPED) {
            break;
        }
    }
    match length <= limit {
        true => Ok(bytes),
        false => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            -413,
            format!("the body is longer than {limit} bytes"),
        )),
    }
}
