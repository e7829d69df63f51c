//! Takes connections, and never waits long for anybody: head, body and answer each have their time.

mod patient;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;
use tracing::{debug, warn};

use crate::Http;
use patient::Patient;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Serves until `stop` is done; then takes no more, and returns those connections that have a request in hand.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    http: Http,
    stop: impl Future<Output = ()>,
) -> GracefulShutdown {
    let room = Arc::new(Semaphore::new(http.connections));
    let open = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            // Who comes when the house is full waits in the kernel's queue until somebody leaves.
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = &mut stop => return open,
            next = next => next,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, from))) => connection(stream, from, place, &router, http, &open),
            (_, Err(error)) => {
                // Mostly: no descriptors are left (accept(2)). Some will be free soon.
                warn!(%error, "can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // Nobody closes it.
            (Err(_), Ok(_)) => return open,
        }
    }
}

fn connection(
    stream: TcpStream,
    from: SocketAddr,
    place: OwnedSemaphorePermit,
    router: &Router,
    http: Http,
    open: &GracefulShutdown,
) {
    // Answers are small and whole: nothing is gained by waiting for more to send.
    let _ = stream.set_nodelay(true);
    let io = TokioIo::new(Patient::new(stream, http.patience));
    let router = router.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(from));
        let answer = router.clone().oneshot(request.map(Body::new));
        async move {
            Ok::<_, Infallible>(match answer.await {
                Ok(response) => response,
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(http.patience)
        .max_buf_size(64 << 10)
        .serve_connection(io, service);
    let watched = open.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = watched.await {
            debug!(peer = %from, %error, "a connection broke off");
        }
        drop(place);
    });
}
