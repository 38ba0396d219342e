//! Bodies: how a request's is read and how an answer's is sent, with bounds on time and memory.
//!
//! Both count against the bytes that a client may make us keep. Knows no JSON.

use super::{
    clients::{Client, FREE_BYTES, Hold},
    error::Limit,
    server::BODY_BYTES_MAX,
};
use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
};
use futures::StreamExt;
use http_body::{Frame, SizeHint};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Bytes of an answer that are given to the connection at once; what is still here is still counted.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why a body was not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// Answered by a status: too long, too slow, or broken off.
    Status(StatusCode),
    /// Answered by an error of JSON-RPC.
    Limit(Limit),
}

/// A whole body, if it comes within `arrival`, and what counts it as long as it is worked on.
pub(super) async fn read(
    client: &Arc<Client>,
    body: Body,
    arrival: Duration,
) -> Result<(Bytes, Hold), Unread> {
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Unread::Status(StatusCode::PAYLOAD_TOO_LARGE));
    }
    match tokio::time::timeout(arrival, collect(client, body)).await {
        Ok(read) => read,
        Err(_) => Err(Unread::Status(StatusCode::REQUEST_TIMEOUT)),
    }
}

async fn collect(client: &Arc<Client>, body: Body) -> Result<(Bytes, Hold), Unread> {
    let mut hold = Hold::new(client.clone());
    let mut parts = body.into_data_stream();
    let broken = |_| Unread::Status(StatusCode::BAD_REQUEST);
    let Some(first) = parts.next().await.transpose().map_err(broken)? else {
        return Ok((Bytes::new(), hold));
    };
    let Some(second) = parts.next().await.transpose().map_err(broken)? else {
        return Ok((first, hold));
    };
    let mut whole = Vec::from(first);
    let mut next = Some(second);
    while let Some(part) = next {
        if whole.len() + part.len() > BODY_BYTES_MAX {
            return Err(Unread::Status(StatusCode::PAYLOAD_TOO_LARGE));
        }
        if whole.len() + part.len() > FREE_BYTES {
            hold.add(part.len()).map_err(Unread::Limit)?;
            if let Some(until) = client.read(part.len()) {
                tokio::time::sleep_until(until.into()).await;
            }
        }
        whole.extend_from_slice(&part);
        next = parts.next().await.transpose().map_err(broken)?;
    }
    Ok((whole.into(), hold))
}

/// An answer on its way.
struct Sending {
    rest: Bytes,
    _hold: Hold,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(CHUNK_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// The body of an answer.
///
/// # Errors
/// [`Limit::HeldBytes`] when the client has too many answers to read already.
pub(super) fn send(client: &Arc<Client>, bytes: impl Into<Bytes>) -> Result<Body, Limit> {
    let bytes = bytes.into();
    if bytes.len() <= FREE_BYTES {
        return Ok(bytes.into());
    }
    let mut hold = Hold::new(client.clone());
    hold.add(bytes.len())?;
    Ok(Body::new(Sending { rest: bytes, _hold: hold }))
}
