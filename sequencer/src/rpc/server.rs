//! The HTTP server: POST and WebSocket on `/`, and the operator's endpoints.
//!
//! The status stays 200 for RPC errors; only the transport's own refusals (body too long or too slow,
//! too many sockets) have other ones.

use super::{
    body::{self, Unread},
    chain::Chain,
    clients::Connected,
    connections,
    context::{Readiness, RpcContext},
    error::{Limit, RpcError},
    feed::{acknowledge, follow, relay},
    flashblocks,
    jsonrpc::response,
    payloads,
    process::answer,
    socket, stream,
};
use crate::metrics::Metrics;
use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{State, WebSocketUpgrade},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;
use std::{future::Future, sync::Arc};
use tokio::{net::TcpListener, sync::watch};
use tower_http::{
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
    cors::CorsLayer,
};

/// Longest body and longest WebSocket message, in bytes: a full batch of ordinary transactions, or
/// some seventy of the longest. A longer body answers 413, a longer message closes the socket.
pub(super) const BODY_BYTES_MAX: usize = 10 * 1024 * 1024;
/// Answers up to here are not compressed for clients that take gzip: they fit into a packet or two.
const COMPRESSED_BYTES_MIN: u16 = 1_024;

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
pub async fn serve<C: Chain>(
    listener: TcpListener,
    ctx: Arc<RpcContext<C>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (close, closing) = watch::channel(false);
    let limits = ctx.options.clients;
    let following = tokio::spawn(follow(ctx.clone(), closing.clone()));
    let acknowledging = tokio::spawn(acknowledge(ctx.clone(), closing.clone()));
    let (relayed, until) = (ctx.clone(), closing.clone());
    let relaying = tokio::spawn(async move {
        relayed.aside.run(relay(relayed.clone(), until)).await;
    });
    let archive = ctx.options.archive.clone();
    let app = Router::new()
        .merge(archive.map_or_else(Router::new, payloads::routes))
        .route("/", post(http::<C>).get(websocket::<C>))
        .route("/health", get(|| async { "ok" }))
        .route("/v1/stream", get(stream::open::<C>))
        .route("/v1/flashblocks", get(flashblocks::open::<C>))
        .route("/ready", get(ready::<C>))
        .route("/metrics", get(metrics::<C>))
        .route("/version", get(version::<C>))
        .layer(compression())
        .layer(CorsLayer::permissive())
        .with_state(Shared { ctx, closing: closing.clone() });
    tokio::spawn(async move {
        shutdown.await;
        close.send_replace(true);
    });
    connections::accept(listener, app, limits, closing).await;
    following.abort();
    acknowledging.abort();
    relaying.abort();
}

/// Not for streams of events, each of which is to be seen when it happens, and not for payloads, which
/// are compressed already.
fn compression() -> CompressionLayer<impl Predicate> {
    let predicate = SizeAbove::new(COMPRESSED_BYTES_MIN)
        .and(NotForContentType::SSE)
        .and(NotForContentType::const_new("application/octet-stream"));
    CompressionLayer::new().compress_when(predicate)
}

async fn http<C: Chain>(
    State(shared): State<Shared<C>>,
    Extension(connected): Extension<Arc<Connected>>,
    body: Body,
) -> Response {
    let client = &connected.client;
    let refused = |limit: Limit| response(None, &Err(RpcError::from(limit))).into();
    let body = match body::read(client, body, shared.ctx.options.clients.arrival).await {
        Ok((bytes, _hold)) => {
            let text = answer(&shared.ctx, client, bytes).await.unwrap_or_default();
            body::send(client, text).unwrap_or_else(refused)
        }
        Err(Unread::Limit(limit)) => refused(limit),
        Err(Unread::Status(status)) => return status.into_response(),
    };
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

async fn websocket<C: Chain>(
    State(shared): State<Shared<C>>,
    Extension(connected): Extension<Arc<Connected>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(permit) = shared.ctx.sockets.clone().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let upgrade = upgrade.max_message_size(BODY_BYTES_MAX).max_frame_size(BODY_BYTES_MAX);
    upgrade.on_upgrade(move |socket| async move {
        let ctx = shared.ctx.clone();
        let serving = async move {
            socket::run(shared.ctx, &connected.client, socket, shared.closing).await;
            drop(permit);
        };
        ctx.aside.run(serving).await;
    })
}

async fn ready<C: Chain>(State(shared): State<Shared<C>>) -> Response {
    ready_response(&(shared.ctx.options.readiness)())
}

/// 200 when every check passed, else 503; the checks in either case.
pub(super) fn ready_response(readiness: &Readiness) -> Response {
    let status = match readiness.is_ready() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = json!({ "ready": readiness.is_ready(), "checks": readiness.checks });
    (status, Json(body)).into_response()
}

async fn metrics<C: Chain>(State(shared): State<Shared<C>>) -> Response {
    metrics_response((shared.ctx.options.metrics)())
}

/// Metrics as Prometheus reads them.
pub(super) fn metrics_response(text: String) -> Response {
    ([(CONTENT_TYPE, Metrics::CONTENT_TYPE)], text).into_response()
}

async fn version<C: Chain>(State(shared): State<Shared<C>>) -> Response {
    let rules = shared.ctx.chain.rules();
    let version = &shared.ctx.options.client_version;
    Json(json!({ "version": version, "chainId": rules.chain_id() })).into_response()
}
