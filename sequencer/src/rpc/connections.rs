//! Connections: accepted within bounds, served by hyper with bounds on time, and ended in good order.
//!
//! `axum::serve` has no timers; this is the same loop with them. Knows no route.

use super::clients::{ClientLimits, Clients, Connected};
use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_io_timeout::TimeoutWriter;

/// Connections at once, or half of the files that this process may open, if that is less. One more is
/// answered 503 and closed.
const CONNECTIONS_MAX: usize = 4_096;
/// How long a client may read nothing of what is sent to it. Then the connection is closed.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
/// Bytes of hyper's buffers of a connection, and so of a request's head.
const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// How long open requests may take when the server ends. Then they are dropped.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);
/// Wait after a connection that could not be accepted, for files to be closed.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What a connection beyond the bounds is told.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Serves `app` until `closing` says so; then open requests are finished. Handlers find the
/// [`Connected`] and the peer's address among the request's extensions; whoever upgrades the connection
/// keeps it.
pub(crate) async fn accept(
    listener: TcpListener,
    app: Router,
    limits: ClientLimits,
    mut closing: watch::Receiver<bool>,
) {
    let clients = Clients::new(limits, connections_max());
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            _ = closing.changed() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                retry(&error).await;
                continue;
            }
        };
        // Answers are small and each is awaited: Nagle's delay would only add to their latency.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        match clients.connect(address.ip()) {
            Some(connected) => {
                open.spawn(serve(
                    stream,
                    app.clone(),
                    connected,
                    (limits.arrival, closing.clone()),
                ));
            }
            None => {
                // Whether it arrives is the client's affair.
                let _ = stream.try_write(REFUSAL);
            }
        }
    }
    drop(listener);
    let finished = async { while open.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_TIME_MAX, finished).await.is_err() {
        tracing::warn!("open requests were dropped");
        open.shutdown().await;
    }
}

async fn retry(error: &io::Error) {
    let is_of_client = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if !is_of_client {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
}

/// Raises the number of files that this process may open as far as it may.
fn connections_max() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    let files = files.and_then(|files| usize::try_from(files).ok());
    files.map_or(CONNECTIONS_MAX, |files| (files / 2).clamp(1, CONNECTIONS_MAX))
}

/// One connection, until either side ends it.
async fn serve(
    stream: TcpStream,
    app: Router,
    connected: Connected,
    (arrival, mut closing): (Duration, watch::Receiver<bool>),
) {
    let app = TowerToHyperService::new(app);
    let connected = Arc::new(connected);
    let peer = stream.peer_addr().ok().map(ConnectInfo);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connected.clone());
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        hyper::service::Service::call(&app, request.map(Body::new))
    });
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(WRITE_STALL_MAX));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(arrival)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        _ = closing.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "a connection ended");
    }
}
