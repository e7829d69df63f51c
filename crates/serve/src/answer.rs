//! What clients are answered, in the shapes of dify-sandbox.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use callgate_exec::{LimitHit, Outcome, SetUpFailure, Status, Usage, Violation};
use serde::Serialize;

use crate::unsent::Unsent;

/// Everything is answered in this: `code` 0 and data, or a negative code, a message and no data.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope<T> {
    code: i32,
    message: String,
    data: Option<T>,
}

impl<T> From<Result<T, Refusal>> for Envelope<T> {
    fn from(answer: Result<T, Refusal>) -> Self {
        match answer {
            Ok(data) => Self {
                code: 0,
                message: "success".to_owned(),
                data: Some(data),
            },
            Err(refusal) => Self {
                code: refusal.code,
                message: refusal.message,
                data: None,
            },
        }
    }
}

/// Data.
pub(crate) fn success<T: Serialize>(data: T) -> Response {
    Json(Envelope::from(Ok(data))).into_response()
}

/// Data that can be long: of these no more wait for their clients than there is room for.
pub(crate) fn long<T: Serialize>(data: T, unsent: &Unsent) -> Result<Response, Refusal> {
    let bytes = unsent.bytes(text(Ok(data)), 0)?;
    let json = [(header::CONTENT_TYPE, "application/json")];
    Ok((json, bytes).into_response())
}

/// The whole answer as text, without a status.
pub(crate) fn text<T: Serialize>(answer: Result<T, Refusal>) -> String {
    // Only maps with keys that are no strings can't be written, and there are none in what is answered.
    serde_json::to_string(&Envelope::from(answer)).unwrap_or_default()
}

/// What is not done, and why: the HTTP status, the code in the body, the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: i32,
    message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: i32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    /// The request can't be meant.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, -400, message)
    }

    /// A language that is not run.
    pub(crate) fn unsupported_language() -> Self {
        Self::bad_request("unsupported language")
    }

    /// There are too many requests.
    pub(crate) fn full() -> Self {
        Self::unavailable("Too many requests")
    }

    /// No run is taken now.
    pub(crate) fn unavailable(why: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, -503, why)
    }

    /// What dify-sandbox answers with status 200 and a code below 0: its client shows the message then.
    pub(crate) fn told(code: i32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, code, message)
    }

    /// A run that never began.
    pub(crate) fn nothing_ran(failure: &SetUpFailure) -> Self {
        let advice = failure.advice.as_ref().map(|advice| format!(" ({advice})"));
        Self::told(
            -500,
            format!("nothing ran: {failure}{}", advice.unwrap_or_default()),
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(Envelope::<()>::from(Err(self)))).into_response()
    }
}

/// How a run ended. The first four are dify-sandbox's.
#[derive(Debug, Serialize)]
pub(crate) struct RunData {
    stdout: String,
    stderr: String,
    error: String,
    exit_code: i32,
    /// As in callgate.outcome/1, with the remedy for this server's configuration.
    violation: Option<Violation>,
    usage: Usage,
    /// The streams that were cut: `stdout`, `stderr`.
    truncated: Vec<String>,
    /// The limit that ended the run.
    limit: Option<LimitHit>,
    /// What the client should know.
    notes: Vec<String>,
}

/// The exit code of what did not end by itself.
const NOT_BY_ITSELF: i32 = -1;

impl RunData {
    /// The data of an outcome; a run that never began has none.
    ///
    /// # Errors
    /// The step that failed.
    pub(crate) fn of(outcome: Outcome, ended: bool) -> Result<Self, Refusal> {
        let stderr = outcome.stderr.unwrap_or_default();
        let mut detail = match outcome.status {
            _ if ended => "error: ended by the server\n".to_owned(),
            Status::SetupFailed => {
                return Err(match &outcome.setup {
                    Some(failure) => Refusal::nothing_ran(failure),
                    None => Refusal::told(-500, "nothing ran"),
                });
            }
            Status::Exited => String::new(),
            Status::Timeout => "error: timeout\n".to_owned(),
            Status::Violation => "error: operation not permitted\n".to_owned(),
            Status::Oom => format!("error: out of memory{}\n", limit(outcome.limit.as_ref())),
            Status::Cpu => format!("error: out of CPU time{}\n", limit(outcome.limit.as_ref())),
            Status::FileSize => format!("error: a file grew too large{}\n", limit(outcome.limit.as_ref())),
            Status::Signaled => {
                let signal = outcome.signal.as_deref().unwrap_or("a signal");
                format!("error: killed by {signal}\n")
            }
        };
        if let Some(violation) = &outcome.violation {
            detail.push_str(&line(violation));
        }
        let exit_code = match outcome.status {
            Status::Exited if !ended => outcome.exit_code,
            _ => NOT_BY_ITSELF,
        };
        let error = match exit_code {
            0 => String::new(),
            code if detail.is_empty() && stderr.is_empty() => format!("process exited with code {code}"),
            code => format!("process exited with code {code}\n{detail}{stderr}"),
        };
        Ok(Self {
            stdout: outcome.stdout.unwrap_or_default(),
            stderr,
            error,
            exit_code,
            violation: outcome.violation,
            usage: outcome.usage,
            truncated: outcome.truncated,
            limit: outcome.limit,
            notes: Vec::new(),
        })
    }

    /// Something that the client should know.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

fn limit(limit: Option<&LimitHit>) -> String {
    limit.map_or_else(String::new, |limit| {
        format!(" (the limit is {} {})", limit.value, limit.unit)
    })
}

/// One line that names the call, the place and the remedy.
fn line(violation: &Violation) -> String {
    let place = match (&violation.site, &violation.no_lines) {
        (Some(site), _) => format!(" at {site}"),
        (None, Some(why)) => format!(" (no line can be told: {why})"),
        (None, None) => " (no line can be told: none of Python led to it)".to_owned(),
    };
    let remedy = match &violation.remedy {
        Some(remedy) => format!(
            "; to allow it: {} in the server's configuration, or a policy: {}",
            remedy.dify, remedy.command
        ),
        None => "; no policy can allow it".to_owned(),
    };
    format!(
        "refused: {} ({} number {}){place}{remedy}\n",
        violation.syscall, violation.arch, violation.nr
    )
}
