//! `GET /v1/stream`: everything that happens to transactions, in one order, over WebSocket or as
//! server-sent events.
//!
//! Every event has a cursor, which is a number, larger than that of the event before, and the same
//! for everybody and for ever. `?cursor=N` goes on after the event with that cursor, wherever that is
//! in what is kept; without it the stream begins now. A client is never dropped for being slow: it
//! is read to at its own pace, from the order log where need be. Not a subscription to state: that
//! is eth_subscribe.

use super::{chain::Chain, clients::Connected, context::RpcContext, relay::Missed, server::Shared};
use crate::store::{
    chain::{ChainEvent, FollowError, Followed},
    log::Stage,
};
use alloy::primitives::{Address, B256, Bytes, U8, U64};
use axum::{
    Extension, Json,
    extract::{
        Query, State, WebSocketUpgrade,
        ws::{
            CloseFrame, Message, Utf8Bytes, WebSocket, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use executor::{Receipt, Transaction};
use futures::{SinkExt, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

/// Streams at once; one more answers 503. Each takes a task and one batch of events.
pub(super) const STREAMS_MAX: usize = 1_024;
/// Readings of the order log at once: each takes the memory of a segment, 64 MiB. Others wait.
pub(super) const READINGS_MAX: usize = 2;
/// Events between the reader of a stream and its client. When it is full the reader waits.
const QUEUE_MAX: usize = 256;
/// How long a client may leave a message unread before it is let go; it can come back with its
/// cursor.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a reading waits for a client that does not read, before it leaves its turn to others. It
/// is taken up again when the client has read what waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Readings of the log one after another by which a stream tries to reach the present.
const LAGS_MAX: usize = 1_000;

/// Where a stream begins.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Start {
    /// Cursor of the last event that the client has seen; 0 for the very first. Absent: now.
    cursor: Option<u64>,
}

/// One message.
#[derive(Clone, Debug, Serialize)]
struct Told {
    cursor: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum What {
    /// Transactions have a place, durably.
    Ordered { block_number: U64, transactions: Vec<OrderedTransaction> },
    /// And this came of them.
    Executed { block_number: U64, receipts: Vec<ExecutedTransaction> },
    /// The block is sealed.
    Sealed { block_number: U64, block_hash: B256, timestamp: U64, transactions: U64 },
    /// Its batch is on L1.
    Batched { block_number: U64, block_hash: B256 },
    /// L1 determines it.
    Safe { block_number: U64, block_hash: B256 },
    /// Finalized L1 determines it.
    Finalized { block_number: U64, block_hash: B256 },
    /// Everything that was said of this block and later ones does not count any more.
    Retracted { from_block: U64 },
}

impl What {
    const fn name(&self) -> &'static str {
        match self {
            Self::Ordered { .. } => "ordered",
            Self::Executed { .. } => "executed",
            Self::Sealed { .. } => "sealed",
            Self::Batched { .. } => "batched",
            Self::Safe { .. } => "safe",
            Self::Finalized { .. } => "finalized",
            Self::Retracted { .. } => "retracted",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderedTransaction {
    transaction_hash: B256,
    transaction_index: U64,
    from: Address,
    raw: Bytes,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ExecutedTransaction {
    transaction_hash: B256,
    transaction_index: U64,
    status: U8,
    cumulative_gas_used: U64,
    contract_address: Option<Address>,
    logs: Vec<ExecutedLog>,
}

#[derive(Clone, Debug, Serialize)]
struct ExecutedLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
}

/// A record of the order log makes two events at most: cursors are twice its position, and one more.
const EVENTS_PER_RECORD: u64 = 2;

/// Position of the last record of which nothing is left after the event with this cursor.
const fn seen(cursor: u64) -> u64 {
    (cursor.saturating_add(1) / EVENTS_PER_RECORD).saturating_sub(1)
}

/// The events of one record.
fn told(position: u64, followed: Followed) -> Vec<Told> {
    let cursor = EVENTS_PER_RECORD * position;
    let one = |what| vec![Told { cursor, what }];
    match followed {
        Followed::MiniBlock { number, first_index, transactions, receipts } => {
            let executed = executed(number, first_index, &transactions, receipts);
            let ordered = ordered(number, first_index, transactions);
            vec![Told { cursor, what: ordered }, Told { cursor: cursor + 1, what: executed }]
        }
        Followed::Sealed { head, transactions } => one(What::Sealed {
            block_number: U64::from(head.number),
            block_hash: head.hash,
            timestamp: U64::from(head.timestamp),
            transactions: U64::from(transactions),
        }),
        Followed::Retracted { from } => one(What::Retracted { from_block: U64::from(from) }),
        Followed::Stage { number, hash: block_hash, stage } => {
            let block_number = U64::from(number);
            one(match stage {
                Stage::Batched => What::Batched { block_number, block_hash },
                Stage::Safe => What::Safe { block_number, block_hash },
                Stage::Finalized => What::Finalized { block_number, block_hash },
            })
        }
    }
}

fn ordered(number: u64, first_index: usize, transactions: Vec<Transaction>) -> What {
    let transactions = (first_index..).zip(transactions);
    let transactions = transactions.map(|(index, transaction)| OrderedTransaction {
        transaction_hash: transaction.hash(),
        transaction_index: U64::from(index),
        from: transaction.sender(),
        raw: transaction.raw().clone(),
    });
    What::Ordered { block_number: U64::from(number), transactions: transactions.collect() }
}

fn executed(
    number: u64,
    first_index: usize,
    transactions: &[Transaction],
    receipts: Vec<Receipt>,
) -> What {
    let log = |log: &alloy::primitives::Log| ExecutedLog {
        address: log.address,
        topics: log.data.topics().to_vec(),
        data: log.data.data.clone(),
    };
    let receipts = (first_index..).zip(transactions).zip(receipts);
    let receipts = receipts.map(|((index, transaction), receipt)| ExecutedTransaction {
        transaction_hash: transaction.hash(),
        transaction_index: U64::from(index),
        status: U8::from(u8::from(receipt.success)),
        cumulative_gas_used: U64::from(receipt.cumulative_gas_used),
        contract_address: receipt.contract_address(transaction),
        logs: receipt.logs.iter().map(log).collect(),
    });
    What::Executed { block_number: U64::from(number), receipts: receipts.collect() }
}

/// Opens a stream: a WebSocket where the client asks for one, else server-sent events.
pub(super) async fn open<C: Chain>(
    State(shared): State<Shared<C>>,
    Extension(connected): Extension<Arc<Connected>>,
    Query(start): Query<Start>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Shared { ctx, closing } = shared;
    let Ok(permit) = ctx.streams.clone().try_acquire_owned() else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "too many streams");
    };
    // Sent by browsers when they connect again.
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let (last, oldest) = ctx.chain.positions();
    let after = match last_seen.or(start.cursor) {
        None => EVENTS_PER_RECORD * last + 1,
        Some(cursor) => cursor,
    };
    if after / EVENTS_PER_RECORD > last {
        let at = EVENTS_PER_RECORD * last + 1;
        let reason = format!("cursor {after} is ahead of the stream, which is at {at}");
        return refused(StatusCode::BAD_REQUEST, &reason);
    }
    if seen(after) < oldest {
        let oldest = EVENTS_PER_RECORD * oldest + 1;
        let reason = format!("cursor {after} is not kept any more; the oldest is {oldest}");
        return refused(StatusCode::GONE, &reason);
    }
    let (events, queue) = mpsc::channel(QUEUE_MAX);
    let reader = Reader { ctx: ctx.clone(), after, events, closing };
    let reading = ctx.clone();
    tokio::spawn(async move {
        reading.aside.run(reader.run()).await;
        drop((permit, connected));
    });
    match upgrade {
        Ok(upgrade) => upgrade.on_upgrade(move |socket| async move {
            ctx.aside.run(write(socket, queue)).await;
        }),
        Err(_) => Sse::new(sse(queue)).keep_alive(KeepAlive::default()).into_response(),
    }
}

fn refused(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

fn sse(queue: mpsc::Receiver<Told>) -> impl Stream<Item = Result<Event, Infallible>> {
    let next = |mut queue: mpsc::Receiver<Told>| async move {
        let told = queue.recv().await?;
        let event = Event::default().id(told.cursor.to_string()).event(told.what.name());
        Some((Ok(event.json_data(&told).unwrap_or_default()), queue))
    };
    futures::stream::unfold(queue, next)
}

/// Sends what is queued until the client goes, or does not read for too long.
async fn write(socket: WebSocket, mut queue: mpsc::Receiver<Told>) {
    let (mut sink, mut incoming) = socket.split();
    let ending = loop {
        tokio::select! {
            told = queue.recv() => {
                let Some(told) = told else { break (close_code::AWAY, "the stream ended") };
                let Ok(text) = serde_json::to_string(&told) else { break (close_code::ERROR, "") };
                let sent = tokio::time::timeout(SEND_TIMEOUT, sink.send(Message::Text(text.into())));
                match sent.await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    Err(_) => break (close_code::POLICY, "client does not read"),
                }
            }
            message = incoming.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                // Pings are answered below us; there is nothing else to say to a stream.
                Some(Ok(_)) => {}
            },
        }
    };
    let frame = CloseFrame { code: ending.0, reason: Utf8Bytes::from_static(ending.1) };
    // Whether it arrives is the client's affair.
    let _ = tokio::time::timeout(SEND_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
}

/// Brings one client's events together: what is missing from the log, then what happens.
struct Reader<C> {
    ctx: Arc<RpcContext<C>>,
    /// Cursor of the last event that was sent.
    after: u64,
    events: mpsc::Sender<Told>,
    closing: watch::Receiver<bool>,
}

impl<C: Chain> Reader<C> {
    async fn run(mut self) {
        for _ in 0..LAGS_MAX {
            // In this order: what happens while the log is read is waiting then.
            let mut live = self.ctx.feed.events();
            if !self.read_log().await {
                return;
            }
            loop {
                let event = tokio::select! {
                    event = live.next() => event,
                    () = self.events.closed() => return,
                    _ = self.closing.changed() => return,
                };
                match event {
                    Ok(event) if !self.tell(&event).await => return,
                    Ok(_) => {}
                    Err(Missed) => break,
                }
            }
        }
    }

    /// Sends what just happened; whether the client is there.
    async fn tell(&mut self, event: &ChainEvent) -> bool {
        for told in told(event.position(), Followed::from(event)) {
            if told.cursor <= self.after {
                continue;
            }
            self.after = told.cursor;
            if self.events.send(told).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Sends what the log has after the last event; whether the stream goes on.
    async fn read_log(&mut self) -> bool {
        let (last, _) = self.ctx.chain.positions();
        if self.after > EVENTS_PER_RECORD * last {
            return true;
        }
        loop {
            let Ok(turn) = self.ctx.readings.acquire().await else { return false };
            let (ctx, events, after) = (self.ctx.clone(), self.events.clone(), self.after);
            let reading = tokio::task::spawn_blocking(move || read_some(&ctx, &events, after));
            let Ok((sent, outcome)) = reading.await else { return false };
            drop(turn);
            self.after = sent;
            match outcome {
                Outcome::Complete => return true,
                Outcome::Ended => return false,
                // Whoever reads nothing costs nothing.
                Outcome::Paused => {
                    if self.events.reserve_many(QUEUE_MAX).await.is_err() {
                        return false;
                    }
                }
            }
        }
    }
}

/// How a reading of the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All was sent.
    Complete,
    /// The client does not read.
    Paused,
    /// The client is gone, or the log cannot be read.
    Ended,
}

/// Sends what the log has after a cursor; gives the last cursor that was sent. Blocks.
fn read_some<C: Chain>(
    ctx: &RpcContext<C>,
    events: &mpsc::Sender<Told>,
    after: u64,
) -> (u64, Outcome) {
    let runtime = Handle::current();
    let (mut sent, mut is_paused) = (after, false);
    let result = ctx.chain.follow_from(seen(after), &mut |position, followed| {
        for told in told(position, followed) {
            let cursor = told.cursor;
            if cursor <= after {
                continue;
            }
            // Only where there is no room: a timer for each event would cost more than the event.
            let full = match events.try_send(told) {
                Ok(()) => None,
                Err(mpsc::error::TrySendError::Full(told)) => Some(told),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(FollowError::Ended),
            };
            if let Some(told) = full {
                let waited = runtime.block_on(events.send_timeout(told, PATIENCE));
                is_paused = matches!(waited, Err(mpsc::error::SendTimeoutError::Timeout(_)));
                waited.map_err(|_| FollowError::Ended)?;
            }
            sent = cursor;
        }
        Ok(())
    });
    let outcome = match result {
        Some(Ok(())) => Outcome::Complete,
        Some(Err(FollowError::Ended)) if is_paused => Outcome::Paused,
        Some(Err(FollowError::Ended)) | None => Outcome::Ended,
        Some(Err(error)) => {
            tracing::warn!(%error, "a stream ended");
            Outcome::Ended
        }
    };
    (sent, outcome)
}
