//! From a body to an answer: single requests and batches, the same for HTTP and WebSocket.
//!
//! A body is processed in order on one thread, so that the transactions of a batch enter the pool
//! in the batch's order; what waits for blocks is awaited afterwards, all at once.

use super::{
    chain::Chain,
    clients::Client,
    context::RpcContext,
    cost::{self, BATCH_COST_MAX, Class},
    error::{Limit, RpcError},
    forward::Forwarding,
    jsonrpc::{
        BATCH_RESPONSE_BYTES_MAX, Body, Outcome, Params, Request, method_not_found, response,
    },
    send::{Admitting, Waiting},
    table::{Answer, Table},
};
use axum::body::Bytes;
use futures::future::join_all;
use serde_json::value::RawValue;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest body that is looked at on an async thread, in bytes; an instant request is far shorter.
pub(super) const INLINE_BYTES_MAX: usize = 1_024;
/// Longest body that is parsed at the priority of sends, in bytes: the longest transaction in hex, or a
/// batch of a thousand ordinary ones. Parsing longer ones is work of its own.
const SEND_BYTES_MAX: usize = 320 * 1024;
/// How long the entries of one batch may take together. Those that are left and are not instant answer
/// -32005: a batch has one thread, and keeps it from others meanwhile.
const BATCH_TIME_MAX: Duration = Duration::from_secs(5);

/// One entry's answer, or the promise of it.
#[derive(Debug)]
enum Part {
    Text(String),
    /// A notification: run and not answered.
    Silent,
    Wait(Box<RawValue>, Waiting),
    Admit(Box<RawValue>, Admitting),
    Forward(Box<RawValue>, Forwarding),
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
            Ok(Answer::Forward(forwarding)) => Self::Forward(id, forwarding),
            Err(error) => Self::Text(response(Some(&id), &Err(error))),
        }
    }
}

impl Part {
    /// Waits for what must be waited for; `None` when nothing is to be said.
    async fn finish<C: Chain>(self, ctx: &RpcContext<C>) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Silent => None,
            Self::Wait(id, waiting) => Some(response(Some(&id), &waiting.finish(ctx).await)),
            Self::Admit(id, admitting) => Some(response(Some(&id), &admitting.finish(ctx).await)),
            Self::Forward(id, forwarding) => {
                let outcome = Forwarding::finish(vec![forwarding]).await.pop()?;
                Some(response(Some(&id), &outcome))
            }
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

    /// Writes a batch's answer where nothing in it has to be waited for: the longest are work.
    fn written(self) -> Self {
        let is_there = |part: &Part| matches!(part, Part::Text(_) | Part::Silent);
        if !self.is_batch || !self.parts.iter().all(is_there) {
            return self;
        }
        let mut texts = self.parts.into_iter().filter_map(|part| match part {
            Part::Text(text) => Some(text),
            _ => None,
        });
        let Some(first) = texts.next() else { return Self::single(Part::Silent) };
        let mut whole = format!("[{first}");
        for text in texts {
            whole.push(',');
            whole.push_str(&text);
        }
        whole.push(']');
        Self::single(Part::Text(whole))
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
        let (mut forwarded, mut own) = (Vec::new(), Vec::new());
        for (place, part) in self.parts.into_iter().enumerate() {
            match part {
                Part::Forward(id, forwarding) => forwarded.push(((place, id), forwarding)),
                other => own.push(async move { (place, other.finish(ctx).await) }),
            }
        }
        let (ids, forwardings): (Vec<_>, Vec<_>) = forwarded.into_iter().unzip();
        // Together, so that the sequencer takes them in their order.
        let (mut texts, outcomes) = tokio::join!(join_all(own), Forwarding::finish(forwardings));
        let answered = ids.into_iter().zip(outcomes);
        texts.extend(
            answered.map(|((place, id), outcome)| (place, Some(response(Some(&id), &outcome)))),
        );
        texts.sort_by_key(|(place, _)| *place);
        let texts: Vec<String> = texts.into_iter().filter_map(|(_, text)| text).collect();
        match (self.is_batch, texts.is_empty()) {
            (_, true) => None,
            (true, false) => Some(format!("[{}]", texts.join(","))),
            (false, false) => texts.into_iter().next(),
        }
    }
}

/// Runs one request.
fn run<C: Chain>(ctx: &RpcContext<C>, request: &Request<'_>, mut budget: Budget<'_>) -> Part {
    let answer = Table::<C>::find(&request.method)
        .ok_or_else(|| method_not_found(&request.method))
        .and_then(|entry| {
            budget.spend(entry.class)?;
            let params = Params::parse(request.params, entry.params_max)?;
            (entry.handler)(ctx, &params)
        });
    let Some(id) = request.id else { return Part::Silent };
    match answer {
        Ok(Answer::Json(result)) => Part::Text(response(Some(id), &Ok(result))),
        Ok(Answer::Wait(waiting)) => Part::Wait(id.to_owned(), waiting),
        Ok(Answer::Admit(admitting)) => Part::Admit(id.to_owned(), admitting),
        Ok(Answer::Forward(forwarding)) => Part::Forward(id.to_owned(), forwarding),
        Err(error) => Part::Text(response(Some(id), &Err(error))),
    }
}

fn run_entry<C: Chain>(ctx: &RpcContext<C>, entry: &RawValue, budget: Budget<'_>) -> Part {
    match Request::parse(entry) {
        Ok(request) => run(ctx, &request, budget),
        Err(id) => Part::Text(response(id, &Err(RpcError::InvalidRequest))),
    }
}

/// What the entries of a batch may take together.
#[derive(Debug)]
struct BatchBudget {
    units_left: u64,
    started: Instant,
}

/// What a request may take.
struct Budget<'b> {
    client: &'b Client,
    batch: Option<&'b mut BatchBudget>,
}

impl Budget<'_> {
    fn spend(&mut self, class: Class) -> Result<(), Limit> {
        let units = class.cost();
        // What is instant is bounded by the length of a batch.
        if let Some(batch) = self.batch.as_mut().filter(|_| class > Class::Instant) {
            if batch.started.elapsed() > BATCH_TIME_MAX {
                return Err(Limit::BatchTime);
            }
            batch.units_left = batch.units_left.checked_sub(units).ok_or(Limit::BatchCost)?;
        }
        self.client.spend(units)
    }
}

/// Processes a body. Blocks: storage and execution happen here.
pub(super) fn process<C: Chain>(ctx: &RpcContext<C>, client: &Client, bytes: &[u8]) -> Processed {
    let entries = match Body::parse(bytes) {
        Ok(Body::Single(entry)) => {
            return Processed::single(run_entry(ctx, entry, Budget { client, batch: None }));
        }
        Ok(Body::Batch(entries)) => entries,
        Err(error) => return Processed::error(error),
    };
    let mut bytes_left = BATCH_RESPONSE_BYTES_MAX;
    let mut batch = BatchBudget { units_left: BATCH_COST_MAX, started: Instant::now() };
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
        // Sends that follow each other are admitted together; anything else sees what they did.
        if !cost::is_send(entry) {
            for part in &mut parts[settled..] {
                *part = std::mem::replace(part, Part::Silent).settle(ctx);
            }
            settled = parts.len();
        }
        let part = run_entry(ctx, entry, Budget { client, batch: Some(&mut batch) });
        if let Part::Text(text) = &part {
            bytes_left = bytes_left.saturating_sub(text.len());
        }
        parts.push(part);
    }
    Processed { is_batch: true, parts }.written()
}

/// Answers on the spot when the body is one request for an instant method.
pub(super) fn process_instant<C: Chain>(
    ctx: &RpcContext<C>,
    client: &Client,
    bytes: &[u8],
) -> Option<Processed> {
    if bytes.len() > INLINE_BYTES_MAX {
        return None;
    }
    let Ok(Body::Single(entry)) = Body::parse(bytes) else { return None };
    let request = Request::parse(entry).ok()?;
    let method = Table::<C>::find(&request.method);
    let is_instant = method.is_none_or(|method| method.class == Class::Instant);
    is_instant.then(|| Processed::single(run(ctx, &request, Budget { client, batch: None })))
}

/// Processes a body off the async threads, within the bounds of work, and finishes it.
pub(super) async fn answer<C: Chain>(
    ctx: &Arc<RpcContext<C>>,
    client: &Arc<Client>,
    body: Bytes,
) -> Option<String> {
    let processed = match process_instant(ctx, client, &body) {
        Some(processed) => processed,
        None => process_blocking(ctx, client, body).await,
    };
    processed.finish(ctx).await
}

/// The blocking part of [`answer`].
pub(super) async fn process_blocking<C: Chain>(
    ctx: &Arc<RpcContext<C>>,
    client: &Arc<Client>,
    body: Bytes,
) -> Processed {
    if let Err(limit) = client.spend(cost::of_bytes(body.len())) {
        return Processed::error(limit.into());
    }
    let known = match body.len() {
        bytes if bytes <= INLINE_BYTES_MAX => Some(cost::of_body::<C>(&body)),
        bytes if bytes <= SEND_BYTES_MAX => None,
        _ => {
            let body = body.clone();
            match ctx.lanes.run(Class::Read, move || cost::of_body::<C>(&body)).await {
                Ok(class) => Some(class.max(Class::Read)),
                Err(error) => return Processed::error(error),
            }
        }
    };
    let class = match known.filter(|class| *class > Class::Instant) {
        Some(class) => class,
        None => match process_light(ctx, client, body.clone()).await {
            Light::Processed(processed) => return processed,
            Light::Heavy(class) => class,
        },
    };
    let (shared, client) = (ctx.clone(), client.clone());
    let work = move || process(&shared, &client, &body);
    ctx.lanes.run(class, work).await.unwrap_or_else(Processed::error)
}

/// A body that was parsed.
enum Light {
    /// It was sends and what costs no more.
    Processed(Processed),
    /// It is work of this class, and is yet to be done.
    Heavy(Class),
}

/// Parses a body, and processes it where no part of it is slow: sends wait behind nothing else.
async fn process_light<C: Chain>(
    ctx: &Arc<RpcContext<C>>,
    client: &Arc<Client>,
    body: Bytes,
) -> Light {
    let Ok(_turn) = ctx.parses.acquire().await else {
        return Light::Processed(Processed::error(RpcError::Internal));
    };
    let (shared, client) = (ctx.clone(), client.clone());
    let work = move || match cost::of_body::<C>(&body) {
        Class::Instant => Light::Processed(process(&shared, &client, &body)),
        class => Light::Heavy(class),
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a request stopped");
        Light::Processed(Processed::error(RpcError::Internal))
    })
}
