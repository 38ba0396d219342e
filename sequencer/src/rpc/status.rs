//! The HTTP server of a process without a chain of its own: `/health`, `/ready`, `/version`, `/metrics` and
//! the payload archive, within the same bounds as JSON-RPC.

use super::{
    clients::ClientLimits,
    connections,
    context::{Readiness, RpcOptions},
    payloads,
    server::{metrics_response, ready_response},
};
use axum::{Json, Router, routing::get};
use batcher::archive::PayloadArchive;
use serde_json::json;
use std::sync::Arc;
use tokio::{net::TcpListener, sync::watch};

/// What such a process has to tell. Neither function may block.
#[expect(missing_debug_implementations, reason = "functions have nothing to show")]
pub struct Told {
    /// Payloads that it keeps.
    pub archive: PayloadArchive,
    /// Asked by `/ready`.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Asked by `/metrics`: the text, in OpenMetrics' format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Serves until `shutdown` completes; then open requests are finished.
pub async fn serve_status(
    listener: TcpListener,
    told: Told,
    (chain_id, clients): (u64, ClientLimits),
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let Told { archive, readiness, metrics } = told;
    let (close, closing) = watch::channel(false);
    let version = RpcOptions::default().client_version;
    let version = json!({ "version": version, "chainId": chain_id });
    let app = Router::new()
        .merge(payloads::routes(archive))
        .route("/health", get(|| async { "ok" }))
        .route("/ready", get(move || async move { ready_response(&readiness()) }))
        .route("/metrics", get(move || async move { metrics_response(metrics()) }))
        .route("/version", get(move || async move { Json(version) }));
    tokio::spawn(async move {
        shutdown.await;
        close.send_replace(true);
    });
    connections::accept(listener, app, clients, closing).await;
}
