//! The HTTP server: POST and WebSocket on `/`, and the operator's endpoints.
//!
//! The status stays 200 for RPC errors; only the transport's own refusals (body too long, too many
//! sockets) have other ones.

use super::{
    chain::Chain,
    context::RpcContext,
    feed::{acknowledge, follow},
    flashblocks,
    process::answer,
    socket, stream,
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State, WebSocketUpgrade},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use serde_json::json;
use std::{future::Future, io, sync::Arc};
use tokio::{net::TcpListener, sync::watch};
use tower_http::cors::CorsLayer;

/// Longest body and longest WebSocket message, in bytes: a full batch of ordinary transactions, or
/// some seventy of the longest. A longer body answers 413, a longer message closes the socket.
pub(super) const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;

/// State of the routes.
#[derive(Debug)]
pub(super) struct Shared<C> {
    pub(super) ctx: Arc<RpcContext<C>>,
    pub(super) closing: watch::Receiver<bool>,
}

impl<C> Clone for Shared<C> {
    fn clone(&self) -> Self {
        Self { ctx: self.ctx.clone(), closing: self.closing.clone() }
    }
}

/// Serves until `shutdown` completes; then sockets are closed and open requests finished.
///
/// # Errors
/// [`io::Error`] when the listener fails.
pub async fn serve<C: Chain>(
    listener: TcpListener,
    ctx: Arc<RpcContext<C>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (close, closing) = watch::channel(false);
    let following = tokio::spawn(follow(ctx.clone(), closing.clone()));
    let acknowledging = tokio::spawn(acknowledge(ctx.clone(), closing.clone()));
    let app = Router::new()
        .route("/", post(http::<C>).get(websocket::<C>))
        .route("/health", get(|| async { "ok" }))
        .route("/v1/stream", get(stream::open::<C>))
        .route("/v1/flashblocks", get(flashblocks::open::<C>))
        .route("/ready", get(ready::<C>))
        .route("/version", get(version::<C>))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(CorsLayer::permissive())
        .with_state(Shared { ctx, closing });
    // Answers are small and each is awaited: Nagle's delay would only add to their latency.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
    });
    let served = axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            shutdown.await;
            close.send_replace(true);
        })
        .await;
    following.abort();
    acknowledging.abort();
    served
}

async fn http<C: Chain>(State(shared): State<Shared<C>>, body: Bytes) -> Response {
    let text = answer(&shared.ctx, body).await.unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

async fn websocket<C: Chain>(
    State(shared): State<Shared<C>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(permit) = shared.ctx.sockets.clone().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let upgrade = upgrade.max_message_size(BODY_BYTES_MAX).max_frame_size(BODY_BYTES_MAX);
    upgrade.on_upgrade(move |socket| async move {
        socket::run(shared.ctx, socket, shared.closing).await;
        drop(permit);
    })
}

async fn ready<C: Chain>(State(shared): State<Shared<C>>) -> Response {
    let readiness = (shared.ctx.options.readiness)();
    let status = match readiness.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({ "ready": readiness.is_ready(), "checks": readiness.checks });
    (status, Json(body)).into_response()
}

async fn version<C: Chain>(State(shared): State<Shared<C>>) -> Response {
    let rules = shared.ctx.chain.rules();
    let version = &shared.ctx.options.client_version;
    Json(json!({ "version": version, "chainId": rules.chain_id() })).into_response()
}
