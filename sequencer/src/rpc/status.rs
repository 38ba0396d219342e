//! The HTTP server of a process without a chain of its own: `/health`, `/ready`, `/version` and the
//! payload archive, within the same bounds as JSON-RPC.

use super::{
    clients::ClientLimits,
    connections,
    context::{Readiness, RpcOptions},
    payloads,
    server::ready_response,
};
use axum::{Json, Router, routing::get};
use batcher::archive::PayloadArchive;
use serde_json::json;
use std::sync::Arc;
use tokio::{net::TcpListener, sync::watch};

/// Serves until `shutdown` completes; then open requests are finished.
pub async fn serve_status(
    listener: TcpListener,
    (archive, readiness, clients): (
        PayloadArchive,
        Arc<dyn Fn() -> Readiness + Send + Sync>,
        ClientLimits,
    ),
    chain_id: u64,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (close, closing) = watch::channel(false);
    let version = RpcOptions::default().client_version;
    let version = json!({ "version": version, "chainId": chain_id });
    let app = Router::new()
        .merge(payloads::routes(archive))
        .route("/health", get(|| async { "ok" }))
        .route("/ready", get(move || async move { ready_response(&readiness()) }))
        .route("/version", get(move || async move { Json(version) }));
    tokio::spawn(async move {
        shutdown.await;
        close.send_replace(true);
    });
    connections::accept(listener, app, clients, closing).await;
}
