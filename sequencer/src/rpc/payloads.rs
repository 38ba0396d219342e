//! `/v1/da/{hash}`: payloads that were posted to L1, from the node's archive.
//!
//! Raw bytes, checked against the hash when they are read: a blob by its versioned hash, calldata by its
//! keccak-256. Takes from its client's budget what the check costs. Owns the route, not the archive.

use super::{body, clients::Connected, error::Limit};
use alloy::primitives::{B256, Bytes};
use axum::{
    Extension, Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use batcher::archive::PayloadArchive;
use serde_json::json;
use std::sync::Arc;

/// Units of reading a payload whose bytes are known: a file of 128 KiB, and its keccak.
const READ_COST: u64 = 1_000;
/// Units of a blob that this process reads for the first time: its KZG commitment.
const CHECK_COST: u64 = 40_000;
/// What is under a hash never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// The route.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(archive: PayloadArchive) -> Router<S> {
    Router::new().route("/v1/da/{hash}", get(payload)).with_state(archive)
}

fn refused(status: StatusCode, reason: &str) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (status, headers, Json(json!({ "error": reason }))).into_response()
}

async fn payload(
    State(archive): State<PayloadArchive>,
    Extension(connected): Extension<Arc<Connected>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(hash) = hash.strip_prefix("0x").and_then(|hex| hex.parse::<B256>().ok()) else {
        let reason = "expected 0x and 64 hexadecimal digits: a blob's versioned hash, or calldata's \
                      keccak-256";
        return refused(StatusCode::BAD_REQUEST, reason);
    };
    let tag = format!("\"{hash}\"");
    let has = |value: &header::HeaderValue| value.to_str().is_ok_and(|it| it.contains(&tag));
    if headers.get_all(header::IF_NONE_MATCH).iter().any(has) {
        let headers = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, FOREVER)];
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let cost = if archive.is_checked(hash) { READ_COST } else { CHECK_COST };
    if let Err(limit) = connected.client.spend(cost) {
        return over_limit(&limit);
    }
    match archive.read(hash).await {
        Ok(Some(bytes)) => found(&connected, &tag, bytes),
        Ok(None) => refused(StatusCode::NOT_FOUND, &format!("payload {hash} is not archived here")),
        Err(error) => {
            tracing::error!(%hash, %error, "a payload cannot be served");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "the archive cannot be read")
        }
    }
}

fn found(connected: &Connected, tag: &str, bytes: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CACHE_CONTROL, FOREVER),
        (header::ETAG, tag),
    ];
    match body::send(&connected.client, bytes.0) {
        Ok(body) => (headers, body).into_response(),
        Err(limit) => over_limit(&limit),
    }
}

fn over_limit(limit: &Limit) -> Response {
    let mut response = refused(StatusCode::TOO_MANY_REQUESTS, &limit.to_string());
    if let Limit::ClientCost { millis } = limit {
        response.headers_mut().insert(header::RETRY_AFTER, (millis / 1_000 + 1).into());
    }
    response
}
