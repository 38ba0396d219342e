//! From a body to an answer: single requests and batches, the same for HTTP and WebSocket.
//!
//! A body is processed in order on one thread, so that the transactions of a batch enter the pool
//! in the batch's order; what waits for blocks is awaited afterwards, all at once.

use super::{
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::{
        BATCH_RESPONSE_BYTES_MAX, Body, Outcome, Params, Request, method_not_found, response,
    },
    send::{Admitting, SEND_METHODS, Waiting},
    table::{Answer, Table},
};
use axum::body::Bytes;
use futures::future::join_all;
use serde_json::value::RawValue;
use std::sync::Arc;

/// One entry's answer, or the promise of it.
#[derive(Debug)]
enum Part {
    Text(String),
    /// A notification: run and not answered.
    Silent,
    Wait(Box<RawValue>, Waiting),
    Admit(Box<RawValue>, Admitting),
}

impl Part {
    /// Waits on this thread until a send was admitted or refused; for entries of a batch that come
    /// after it and must find it in the pool.
    fn settle<C: Chain>(self, ctx: &RpcContext<C>) -> Self {
        let Self::Admit(id, admitting) = self else { return self };
        match admitting.block(ctx) {
            Ok(Answer::Json(result)) => Self::Text(response(Some(&id), &Ok(result))),
            Ok(Answer::Wait(waiting)) => Self::Wait(id, waiting),
            Ok(Answer::Admit(admitting)) => Self::Admit(id, admitting),
            Err(error) => Self::Text(response(Some(&id), &Err(error))),
        }
    }
}

/// A processed body.
#[derive(Debug)]
pub(super) struct Processed {
    is_batch: bool,
    parts: Vec<Part>,
}

impl Processed {
    fn single(part: Part) -> Self {
        Self { is_batch: false, parts: vec![part] }
    }

    /// Waits on this thread for the admission of what was sent.
    pub(super) fn settled<C: Chain>(self, ctx: &RpcContext<C>) -> Self {
        let parts = self.parts.into_iter().map(|part| part.settle(ctx)).collect();
        Self { parts, ..self }
    }

    /// The whole answer is this error, with id null.
    pub(super) fn error(error: RpcError) -> Self {
        Self::single(Part::Text(response(None, &Err(error))))
    }

    /// Waits for what must be waited for and writes the answer; `None` when nothing is to be said.
    pub(super) async fn finish<C: Chain>(self, ctx: &RpcContext<C>) -> Option<String> {
        let texts = self.parts.into_iter().map(|part| async move {
            match part {
                Part::Text(text) => Some(text),
                Part::Silent => None,
                Part::Wait(id, waiting) => Some(response(Some(&id), &waiting.finish(ctx).await)),
                Part::Admit(id, admitting) => {
                    Some(response(Some(&id), &admitting.finish(ctx).await))
                }
            }
        });
        let texts: Vec<String> = join_all(texts).await.into_iter().flatten().collect();
        match (self.is_batch, texts.is_empty()) {
            (_, true) => None,
            (true, false) => Some(format!("[{}]", texts.join(","))),
            (false, false) => texts.into_iter().next(),
        }
    }
}

/// Runs one request.
fn run<C: Chain>(ctx: &RpcContext<C>, request: &Request<'_>) -> Part {
    let answer = Table::<C>::find(&request.method)
        .ok_or_else(|| method_not_found(&request.method))
        .and_then(|entry| {
            let params = Params::parse(request.params, entry.params_max)?;
            (entry.handler)(ctx, &params)
        });
    let Some(id) = request.id else { return Part::Silent };
    match answer {
        Ok(Answer::Json(result)) => Part::Text(response(Some(id), &Ok(result))),
        Ok(Answer::Wait(waiting)) => Part::Wait(id.to_owned(), waiting),
        Ok(Answer::Admit(admitting)) => Part::Admit(id.to_owned(), admitting),
        Err(error) => Part::Text(response(Some(id), &Err(error))),
    }
}

fn run_entry<C: Chain>(ctx: &RpcContext<C>, entry: &RawValue) -> Part {
    match Request::parse(entry) {
        Ok(request) => run(ctx, &request),
        Err(id) => Part::Text(response(id, &Err(RpcError::InvalidRequest))),
    }
}

/// Processes a body. Blocks: storage, signature recovery and execution happen here.
pub(super) fn process<C: Chain>(ctx: &RpcContext<C>, bytes: &[u8]) -> Processed {
    let entries = match Body::parse(bytes) {
        Ok(Body::Single(entry)) => return Processed::single(run_entry(ctx, entry)),
        Ok(Body::Batch(entries)) => entries,
        Err(error) => return Processed::error(error),
    };
    let mut bytes_left = BATCH_RESPONSE_BYTES_MAX;
    let mut parts: Vec<Part> = Vec::with_capacity(entries.len());
    // Sends before this one are settled.
    let mut settled = 0;
    for entry in entries {
        if bytes_left == 0 {
            let id = Request::parse(entry).ok().and_then(|request| request.id);
            let outcome: Outcome = Err(RpcError::ResponseTooLarge);
            parts.push(Part::Text(response(id, &outcome)));
            continue;
        }
        if !is_send(entry) {
            for part in &mut parts[settled..] {
                *part = std::mem::replace(part, Part::Silent).settle(ctx);
            }
            settled = parts.len();
        }
        let part = run_entry(ctx, entry);
        if let Part::Text(text) = &part {
            bytes_left = bytes_left.saturating_sub(text.len());
        }
        parts.push(part);
    }
    Processed { is_batch: true, parts }
}

/// Sends that follow each other are admitted together; anything else sees what they did.
fn is_send(entry: &RawValue) -> bool {
    Request::parse(entry).is_ok_and(|request| SEND_METHODS.contains(&&*request.method))
}

/// Answers on the spot when the body is one request for an instant method.
pub(super) fn process_instant<C: Chain>(ctx: &RpcContext<C>, bytes: &[u8]) -> Option<Processed> {
    /// Longest body looked at for this, in bytes; an instant request is far shorter.
    const INSTANT_BYTES_MAX: usize = 1_024;
    if bytes.len() > INSTANT_BYTES_MAX {
        return None;
    }
    let Ok(Body::Single(entry)) = Body::parse(bytes) else { return None };
    let request = Request::parse(entry).ok()?;
    let instant = Table::<C>::find(&request.method).is_none_or(|method| method.instant);
    instant.then(|| Processed::single(run(ctx, &request)))
}

/// Processes a body off the async threads, within the bound of work, and finishes it.
pub(super) async fn answer<C: Chain>(ctx: &Arc<RpcContext<C>>, body: Bytes) -> Option<String> {
    let processed = match process_instant(ctx, &body) {
        Some(processed) => processed,
        None => process_blocking(ctx, body).await,
    };
    processed.finish(ctx).await
}

/// The blocking part of [`answer`].
pub(super) async fn process_blocking<C: Chain>(ctx: &Arc<RpcContext<C>>, body: Bytes) -> Processed {
    let Ok(_permit) = ctx.work.acquire().await else {
        return Processed::error(RpcError::Internal);
    };
    let shared = ctx.clone();
    let processed = tokio::task::spawn_blocking(move || process(&shared, &body)).await;
    processed.unwrap_or_else(|error| {
        tracing::error!(%error, "a request stopped");
        Processed::error(RpcError::Internal)
    })
}
