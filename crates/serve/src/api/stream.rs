//! A run's output as it comes: server-sent events, for clients that accept `text/event-stream`.
//!
//! `event: stdout` and `event: stderr` have a JSON string as data; the last one, `event: end`, has what would have
//! been the whole answer. Lines that begin with a colon keep the connection alive.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use callgate_exec::{Listener, Stream};
use hyper::body::Frame;
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::run::answered;
use crate::answer::{Refusal, RunData, text};
use crate::app::App;
use crate::gate::Ticket;
use crate::job::Job;
use crate::runner::Client;
use crate::unsent::Unsent;

/// The longest silence.
const BEAT: Duration = Duration::from_secs(5);

/// Whether the client asks for events.
pub(crate) fn wanted(headers: &HeaderMap) -> bool {
    let accepted = |value: &header::HeaderValue| {
        let kinds = value.to_str().unwrap_or_default().split(',');
        kinds
            .map(|kind| kind.split(';').next().unwrap_or_default().trim())
            .any(|kind| kind == "text/event-stream")
    };
    headers.get_all(header::ACCEPT).iter().any(accepted)
}

/// Runs the job and answers with its events. When the client goes, the run is ended.
pub(crate) fn events(app: Arc<App>, ticket: Ticket, job: Job, client: Client, left_out: bool) -> Response {
    // What it holds is bounded by the room that there is for answers.
    let (tell, told) = unbounded_channel();
    let task = tokio::spawn(follow(app, ticket, job, client, left_out, tell));
    let body = Events {
        told,
        task: task.abort_handle(),
    };
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (head, Body::new(body)).into_response()
}

async fn follow(
    app: Arc<App>,
    ticket: Ticket,
    job: Job,
    client: Client,
    left_out: bool,
    tell: UnboundedSender<Bytes>,
) {
    let (piece, mut pieces) = unbounded_channel();
    let listener = Listener::new(move |stream, bytes: &[u8]| {
        // Nobody hears it any more when the run is about to be ended.
        let _ = piece.send((stream, bytes.to_vec()));
    });
    let mut teller = Teller {
        unsent: &app.unsent,
        tell,
        texts: Default::default(),
        told: 0,
    };
    let run = app.runner.run(ticket, job, client, Some(listener));
    tokio::pin!(run);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let done = loop {
        tokio::select! {
            biased;
            Some((stream, bytes)) = pieces.recv() => if let Err(refusal) = teller.say(stream, &bytes, false) {
                // With its future the run ends, too.
                return teller.end(Err(refusal));
            },
            done = &mut run => break done,
            _ = beat.tick() => teller.beat(),
        }
    };
    let mut rest = || {
        while let Ok((stream, bytes)) = pieces.try_recv() {
            teller.say(stream, &bytes, false)?;
        }
        teller.say(Stream::Stdout, &[], true)?;
        teller.say(Stream::Stderr, &[], true)
    };
    let answer = rest().and_then(|()| answered(done, left_out));
    teller.end(answer);
}

/// Tells a client what comes, as long as there is room for what it has not taken.
struct Teller<'a> {
    unsent: &'a Unsent,
    tell: UnboundedSender<Bytes>,
    /// What of each stream is not a whole character yet.
    texts: [Text; 2],
    /// How many bytes were told.
    told: usize,
}

impl Teller<'_> {
    /// The next bytes of a stream; with the last of them, what is left.
    fn say(&mut self, stream: Stream, bytes: &[u8], last: bool) -> Result<(), Refusal> {
        let [out, err] = &mut self.texts;
        let (name, text) = match stream {
            Stream::Stdout => ("stdout", out),
            Stream::Stderr => ("stderr", err),
        };
        let more = text.next(bytes, last);
        match more.is_empty() {
            true => Ok(()),
            false => self.event(name, &Value::from(more).to_string()),
        }
    }

    /// The whole answer; where there is no room for it, why.
    fn end(mut self, answer: Result<RunData, Refusal>) {
        if let Err(refusal) = self.event("end", &text(answer)) {
            self.send(Bytes::from(event("end", &text::<RunData>(Err(refusal)))));
        }
    }

    fn event(&mut self, name: &str, data: &str) -> Result<(), Refusal> {
        let bytes = self.unsent.bytes(event(name, data), self.told)?;
        self.told = self.told.saturating_add(bytes.len());
        self.send(bytes);
        Ok(())
    }

    fn beat(&self) {
        self.send(Bytes::from_static(b":\n\n"));
    }

    /// Nobody hears it any more when the task is about to be ended.
    fn send(&self, bytes: Bytes) {
        let _ = self.tell.send(bytes);
    }
}

fn event(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// Bytes that become text piece by piece: a character can be cut in two.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    /// What is whole now; with the last piece, all.
    fn next(&mut self, bytes: &[u8], last: bool) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.0) {
            // No error length: the end of the bytes is the beginning of a character.
            Err(error) if error.error_len().is_none() && !last => error.valid_up_to(),
            Err(error) if !last => {
                // What follows the wrong bytes may end within a character as well.
                let tail = self.0.len().saturating_sub(3).max(error.valid_up_to() + 1);
                let cut = (tail..self.0.len()).find(|at| {
                    let rest = self.0.get(*at..).unwrap_or_default();
                    std::str::from_utf8(rest).is_err_and(|e| e.valid_up_to() == 0 && e.error_len().is_none())
                });
                cut.unwrap_or(self.0.len())
            }
            _ => self.0.len(),
        };
        let rest = self.0.split_off(whole);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }
}

/// The body of the answer. Its end is the task's: nobody else wants the run.
struct Events {
    told: UnboundedReceiver<Bytes>,
    task: AbortHandle,
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.told
            .poll_recv(cx)
            .map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_whole_however_they_are_cut() {
        let text = "aé€😀\u{fffd}z";
        for size in 1..=5 {
            let mut pieces = Text::default();
            let told: String = text
                .as_bytes()
                .chunks(size)
                .map(|piece| pieces.next(piece, false))
                .collect();
            assert_eq!(told + &pieces.next(&[], true), text, "{size}");
        }
        let mut wrong = Text::default();
        assert_eq!(wrong.next(b"a\xff\xe2\x82", false), "a\u{fffd}");
        assert_eq!(wrong.next(b"\xacb\xf0", false), "€b");
        assert_eq!(wrong.next(b"", true), "\u{fffd}");
    }

    #[test]
    fn events_are_for_those_who_ask() {
        let accepting = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, header::HeaderValue::from_static(value));
            wanted(&headers)
        };
        assert!(accepting("text/event-stream") && accepting("application/json, text/event-stream;q=0.9"));
        assert!(!accepting("*/*") && !accepting("application/json") && !wanted(&HeaderMap::new()));
    }
}
