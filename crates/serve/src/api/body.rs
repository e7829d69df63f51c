//! Reads what a client sends: no more than the limit, no longer than the patience lasts.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Http;
use crate::answer::Refusal;
use crate::app::App;

/// How much of a body that is refused is still read, and dropped: a client that only reads the answer when it
/// has sent everything gets it then. Closed with bytes unread, the connection would be reset under it (tcp(7)).
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
    let object = bytes.trim_ascii_start().starts_with(b"{");
    let parsed = match (object, form) {
        (true, _) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
        (false, true) => serde_urlencoded::from_bytes(&bytes).map_err(|error| error.to_string()),
        // Lists, too, would do for serde, which takes their values in the order of the fields.
        (false, false) => Err("the body is no JSON object: expected {\"language\": …}".to_owned()),
    };
    parsed.map_err(Refusal::bad_request)
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
    let mut refused = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refusal::bad_request(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if refused.is_none() {
            match room(&data, length, limit, bodies) {
                Ok(more) => {
                    match &mut held {
                        Some(held) => held.merge(more),
                        None => held = Some(more),
                    }
                    bytes.extend_from_slice(&data);
                }
                Err(refusal) => {
                    refused = Some(refusal);
                    bytes = Vec::new();
                    held = None;
                }
            }
        }
        if length > limit.saturating_add(DROPPED) {
            break;
        }
    }
    refused.map_or(Ok(bytes), Err)
}

/// Room for more of a body that is `length` long with it.
fn room<'a>(
    data: &[u8],
    length: u64,
    limit: u64,
    bodies: &'a Semaphore,
) -> Result<SemaphorePermit<'a>, Refusal> {
    if length > limit {
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            -413,
            format!("the body is longer than {limit} bytes"),
        ));
    }
    let more = u32::try_from(data.len()).unwrap_or(u32::MAX);
    bodies.try_acquire_many(more).map_err(|_| Refusal::full())
}

/// Reads a body that nobody wants to its end, so that its client reads the answer.
pub(crate) async fn dropped(mut body: Body, http: &Http) {
    let rest = async {
        let mut left = http.body;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Who sends too much or too slowly gets the answer now, if they read it.
    let _ = tokio::time::timeout(http.patience, rest).await;
}
