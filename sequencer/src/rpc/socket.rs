//! One WebSocket: requests in order of arrival, subscriptions, and an end for slow readers.
//!
//! Sends to the pool are awaited in order; other calls run beside each other. Everything outgoing
//! goes through one bounded queue: a client that does not read is closed with a reason, and never
//! slows the node down.

use super::{
    chain::Chain,
    clients::{Client, FREE_BYTES, Hold},
    context::RpcContext,
    cost::Class,
    error::{Limit, Refusal, RpcError},
    feed::BlockEvent,
    flashblocks::Flashblock,
    format::{RpcTransaction, block_logs, open_logs},
    jsonrpc::{Body, Outcome, Params, Request, notification, response},
    logs::LogFilter,
    process::{Processed, answer, process_blocking},
    relay::{Listener, Missed},
};
use crate::store::chain::{ChainEvent, MiniBlock, StoredBlock};
use alloy::primitives::U64;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use executor::Transaction;
use futures::{SinkExt, StreamExt, stream::SplitSink};
use serde_json::value::to_raw_value;
use std::{
    cell::{LazyCell, OnceCell},
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

/// Outgoing messages that wait for the client. When full the socket is closed as too slow.
const OUTGOING_MAX: usize = 4_096;
/// Bytes of outgoing messages of one socket that do not count against the bytes its client may hold:
/// with the bound on sockets they are a bound on their own.
const UNCOUNTED_BYTES_MAX: usize = 1024 * 1024;
/// Calls of one socket at work or waiting for a receipt at once; further messages wait in the
/// kernel's buffer. What runs at once over all sockets has its own bound.
const CALLS_MAX: usize = 1_024;
/// How long an answer waits for room before the socket is closed as too slow.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// Subscriptions of one socket; more are refused.
const SUBSCRIPTIONS_MAX: usize = 128;
/// How long a close frame may take to be sent to a client that does not read.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a socket ends.
type Ending = (u16, &'static str);
const TOO_SLOW: Ending = (close_code::POLICY, "client reads too slowly");
const BEHIND: Ending = (close_code::POLICY, "client fell behind its subscriptions");
const GOING_AWAY: Ending = (close_code::AWAY, "server is shutting down");
const TEXT_ONLY: Ending = (close_code::UNSUPPORTED, "JSON text expected");
const CLOSED: Ending = (close_code::NORMAL, "");

/// A filter, counted against the client's bytes.
#[derive(Debug)]
struct Wanted {
    filter: LogFilter,
    _hold: Hold,
}

#[derive(Debug)]
enum Subscription {
    Heads,
    Logs(Wanted),
    Transactions {
        full: bool,
    },
    /// Mini-blocks as Flashblocks.
    Flashblocks,
    /// Transactions as they are executed.
    Executed {
        full: bool,
    },
    /// Their logs.
    PendingLogs(Wanted),
}

/// Where a subscription's notifications come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Blocks,
    Announced,
    Events,
}

impl Subscription {
    const fn source(&self) -> Source {
        match self {
            Self::Heads | Self::Logs(_) => Source::Blocks,
            Self::Transactions { .. } => Source::Announced,
            Self::Flashblocks | Self::Executed { .. } | Self::PendingLogs(_) => Source::Events,
        }
    }
}

/// A socket's state; one task owns it.
#[derive(Debug)]
struct Session<C> {
    ctx: Arc<RpcContext<C>>,
    client: Arc<Client>,
    outgoing: Outgoing,
    calls: Arc<Semaphore>,
    /// Told when an answer found no room in time.
    too_slow: Arc<Notify>,
    subscriptions: BTreeMap<u64, Subscription>,
    blocks: Option<Listener<BlockEvent>>,
    transactions: Option<Listener<Transaction>>,
    events: Option<Listener<ChainEvent>>,
    keys: RandomState,
    ids: u64,
}

/// Serves one socket until it ends.
pub(super) async fn run<C: Chain>(
    ctx: Arc<RpcContext<C>>,
    client: &Arc<Client>,
    socket: WebSocket,
    mut closing: watch::Receiver<bool>,
) {
    let (sink, mut incoming) = socket.split();
    let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
    let (end, ending) = oneshot::channel();
    let writer = tokio::spawn(write(sink, queue, ending));
    let outgoing = Outgoing { queue: outgoing, client: client.clone(), bytes: Arc::default() };
    let mut session = Session {
        ctx,
        client: client.clone(),
        outgoing,
        calls: Arc::new(Semaphore::new(CALLS_MAX)),
        too_slow: Arc::new(Notify::new()),
        subscriptions: BTreeMap::new(),
        blocks: None,
        transactions: None,
        events: None,
        keys: RandomState::new(),
        ids: 0,
    };
    let slow = session.too_slow.clone();
    let reason = loop {
        let result = tokio::select! {
            message = incoming.next() => match message {
                Some(Ok(message)) => session.message(message).await,
                Some(Err(_)) | None => Err(CLOSED),
            },
            event = next(&mut session.blocks) => session.block(event),
            event = next(&mut session.transactions) => session.transaction(event),
            event = next(&mut session.events) => session.event(event),
            () = slow.notified() => Err(TOO_SLOW),
            _ = closing.changed() => Err(GOING_AWAY),
        };
        if let Err(reason) = result {
            break reason;
        }
    };
    // An error means that the writer has ended already.
    let _ = end.send(reason);
    let _ = writer.await;
}

/// The next event; never, while nobody subscribed.
async fn next<T: Clone>(events: &mut Option<Listener<T>>) -> Result<T, Missed> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

/// Sends what is queued until the end is announced or the client is gone.
async fn write(
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Queued>,
    mut ending: oneshot::Receiver<Ending>,
) {
    let reason = loop {
        // The end may come while a send waits for a client that does not read.
        let step = async {
            match queue.recv().await {
                Some(mut queued) => {
                    let text = std::mem::take(&mut queued.text);
                    sink.send(Message::Text(text.into())).await.is_ok()
                }
                None => false,
            }
        };
        tokio::select! {
            biased;
            reason = &mut ending => break reason.unwrap_or(CLOSED),
            sent = step => if !sent { break CLOSED },
        }
    };
    let frame = CloseFrame { code: reason.0, reason: Utf8Bytes::from_static(reason.1) };
    // Whether it arrives is the client's affair.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
}

/// A message that waits for the client; counted until it is sent.
#[derive(Debug)]
struct Queued {
    text: String,
    length: usize,
    bytes: Arc<AtomicUsize>,
    _hold: Hold,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.length, Relaxed);
    }
}

/// The way into the queue.
#[derive(Clone, Debug)]
struct Outgoing {
    queue: mpsc::Sender<Queued>,
    client: Arc<Client>,
    /// What waits in it.
    bytes: Arc<AtomicUsize>,
}

impl Outgoing {
    /// Counts a message. What is long together counts against the client's bytes.
    fn count(&self, text: String) -> Result<Queued, Ending> {
        let (length, mut hold) = (text.len(), Hold::new(self.client.clone()));
        let waiting = self.bytes.fetch_add(length, Relaxed) + length;
        let counted = if waiting > UNCOUNTED_BYTES_MAX { hold.add(length) } else { Ok(()) };
        let queued = Queued { text, length, bytes: self.bytes.clone(), _hold: hold };
        counted.map(|()| queued).map_err(|_| TOO_SLOW)
    }
}

/// A transaction that is in no sealed block, as JSON: whole, or its hash. Written when it is asked for.
struct Written<'t> {
    transaction: &'t Transaction,
    whole: OnceCell<Option<String>>,
    hash: OnceCell<Option<String>>,
}

impl<'t> Written<'t> {
    const fn new(transaction: &'t Transaction) -> Self {
        Self { transaction, whole: OnceCell::new(), hash: OnceCell::new() }
    }

    fn get(&self, full: bool) -> Option<&str> {
        let json = if full {
            let whole = || serde_json::to_string(&RpcTransaction::pending(self.transaction)).ok();
            self.whole.get_or_init(whole)
        } else {
            let hash = || serde_json::to_string(&self.transaction.hash()).ok();
            self.hash.get_or_init(hash)
        };
        json.as_deref()
    }
}

/// Sends answers from beside the socket's own task.
#[derive(Debug)]
struct Replier {
    outgoing: Outgoing,
    too_slow: Arc<Notify>,
}

impl Replier {
    /// Waits for room, because the client caused this message itself; but not for ever.
    async fn reply(&self, text: Option<String>) {
        let Some(text) = text else { return };
        let Ok(queued) = self.outgoing.count(text) else { return self.too_slow.notify_one() };
        let sent = self.outgoing.queue.send_timeout(queued, REPLY_TIMEOUT).await;
        if let Err(mpsc::error::SendTimeoutError::Timeout(_)) = sent {
            self.too_slow.notify_one();
        }
    }
}

impl<C: Chain> Session<C> {
    fn replier(&self) -> Replier {
        Replier { outgoing: self.outgoing.clone(), too_slow: self.too_slow.clone() }
    }

    fn send(&self, text: String) -> Result<(), Ending> {
        let queued = self.outgoing.count(text)?;
        self.outgoing.queue.try_send(queued).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TOO_SLOW,
            mpsc::error::TrySendError::Closed(_) => CLOSED,
        })
    }

    async fn message(&mut self, message: Message) -> Result<(), Ending> {
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
            Message::Binary(_) => return Err(TEXT_ONLY),
            Message::Close(_) => return Err(CLOSED),
        };
        if text.len() > FREE_BYTES
            && let Some(until) = self.client.read(text.len())
        {
            tokio::time::sleep_until(until.into()).await;
        }
        let is_send = match Body::parse(text.as_bytes()) {
            Ok(Body::Single(entry)) => match Request::parse(entry) {
                Ok(request) => match &*request.method {
                    "eth_subscribe" | "eth_unsubscribe" => {
                        let outcome = self.subscription(&request);
                        let Some(id) = request.id else { return Ok(()) };
                        return self.send(response(Some(id), &outcome));
                    }
                    method => method.starts_with("eth_sendRaw"),
                },
                Err(_) => false,
            },
            Ok(Body::Batch(_)) => true,
            Err(error) => return self.finish(Processed::error(error)).await,
        };
        if is_send {
            let processed = process_blocking(&self.ctx, &self.client, text.into()).await;
            return self.finish(processed).await;
        }
        let Ok(permit) = self.calls.clone().acquire_owned().await else { return Err(CLOSED) };
        let (ctx, replier) = (self.ctx.clone(), self.replier());
        let client = self.client.clone();
        tokio::spawn(async move {
            replier.reply(answer(&ctx, &client, text.into()).await).await;
            drop(permit);
        });
        Ok(())
    }

    /// Sends a processed body's answer when it is there, without holding up what comes next.
    async fn finish(&self, processed: Processed) -> Result<(), Ending> {
        let Ok(permit) = self.calls.clone().acquire_owned().await else { return Err(CLOSED) };
        let (ctx, replier) = (self.ctx.clone(), self.replier());
        tokio::spawn(async move {
            replier.reply(processed.finish(&ctx).await).await;
            drop(permit);
        });
        Ok(())
    }

    fn subscription(&mut self, request: &Request<'_>) -> Outcome {
        // A subscription is told many things later.
        self.client.spend(Class::Execute.cost())?;
        let params = Params::parse(request.params, 2)?;
        let result = match &*request.method {
            "eth_subscribe" => to_raw_value(&self.subscribe(&params)?),
            _ => to_raw_value(&self.unsubscribe(&params)?),
        };
        result.map_err(|_| RpcError::Internal)
    }

    fn subscribe(&mut self, params: &Params<'_>) -> Result<U64, RpcError> {
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return Err(Limit::Subscriptions(SUBSCRIPTIONS_MAX).into());
        }
        let subscription = match params.required::<&str>(0)? {
            "newHeads" => Subscription::Heads,
            "logs" => Subscription::Logs(self.wanted(params)?),
            "newPendingTransactions" => {
                Subscription::Transactions { full: params.optional(1)?.unwrap_or(false) }
            }
            "newFlashblocks" => Subscription::Flashblocks,
            "newFlashblockTransactions" => {
                Subscription::Executed { full: params.optional(1)?.unwrap_or(false) }
            }
            "pendingLogs" => Subscription::PendingLogs(self.wanted(params)?),
            _ => return Err(Refusal::SubscriptionKind.into()),
        };
        match subscription.source() {
            Source::Announced => {
                self.transactions.get_or_insert_with(|| self.ctx.feed.transactions());
            }
            Source::Blocks => {
                self.blocks.get_or_insert_with(|| self.ctx.feed.blocks());
            }
            Source::Events => {
                self.events.get_or_insert_with(|| self.ctx.feed.events());
            }
        }
        self.ids += 1;
        let id = self.keys.hash_one(self.ids);
        self.subscriptions.insert(id, subscription);
        Ok(U64::from(id))
    }

    fn wanted(&self, params: &Params<'_>) -> Result<Wanted, RpcError> {
        let filter = LogFilter::parse_optional(params, 1)?;
        let mut hold = Hold::new(self.client.clone());
        hold.add(filter.bytes())?;
        Ok(Wanted { filter, _hold: hold })
    }

    fn unsubscribe(&mut self, params: &Params<'_>) -> Result<bool, RpcError> {
        let id: U64 = params.required(0)?;
        let removed = self.subscriptions.remove(&id.to()).is_some();
        let wants = |source| self.subscriptions.values().any(|it| it.source() == source);
        let [blocks, announced, events] =
            [Source::Blocks, Source::Announced, Source::Events].map(wants);
        self.blocks.take_if(|_| !blocks);
        self.transactions.take_if(|_| !announced);
        self.events.take_if(|_| !events);
        Ok(removed)
    }

    fn block(&self, event: Result<BlockEvent, Missed>) -> Result<(), Ending> {
        match event.map_err(|_| BEHIND)? {
            BlockEvent::Added(block, header) => {
                for (id, subscription) in &self.subscriptions {
                    match subscription {
                        Subscription::Heads => self.notify(*id, &header)?,
                        Subscription::Logs(wanted) => {
                            self.logs(*id, &wanted.filter, &block, false)?
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            BlockEvent::Removed(block) => {
                self.subscriptions.iter().try_for_each(|(id, subscription)| match subscription {
                    Subscription::Logs(wanted) => self.logs(*id, &wanted.filter, &block, true),
                    _ => Ok(()),
                })
            }
        }
    }

    fn logs(
        &self,
        id: u64,
        filter: &LogFilter,
        block: &StoredBlock,
        removed: bool,
    ) -> Result<(), Ending> {
        if !filter.covers(block.header.number) || !filter.may_be_in(&block.header.logs_bloom) {
            return Ok(());
        }
        for mut log in block_logs(block, |log| filter.matches(log)) {
            log.removed = removed;
            if let Ok(json) = serde_json::to_string(&log) {
                self.notify(id, &json)?;
            }
        }
        Ok(())
    }

    /// Tells what was executed.
    fn event(&self, event: Result<ChainEvent, Missed>) -> Result<(), Ending> {
        let ChainEvent::MiniBlock(mini_block) = event.map_err(|_| BEHIND)? else { return Ok(()) };
        // Written once, however many subscriptions want it.
        let flashblock = LazyCell::new(|| serde_json::to_string(&Flashblock::from(&*mini_block)));
        let written: Vec<_> = mini_block.transactions.iter().map(Written::new).collect();
        for (id, subscription) in &self.subscriptions {
            match subscription {
                Subscription::Flashblocks => {
                    if let Ok(json) = &*flashblock {
                        self.notify(*id, json)?;
                    }
                }
                Subscription::Executed { full } => {
                    for written in &written {
                        written.get(*full).map_or(Ok(()), |json| self.notify(*id, json))?;
                    }
                }
                Subscription::PendingLogs(wanted) => {
                    self.open_logs(*id, &wanted.filter, &mini_block)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn open_logs(&self, id: u64, filter: &LogFilter, mini_block: &MiniBlock) -> Result<(), Ending> {
        let rules = self.ctx.chain.rules();
        for log in open_logs(rules, mini_block, |log| filter.matches(log)) {
            if let Ok(json) = serde_json::to_string(&log) {
                self.notify(id, &json)?;
            }
        }
        Ok(())
    }

    fn transaction(&self, event: Result<Transaction, Missed>) -> Result<(), Ending> {
        let transaction = event.map_err(|_| BEHIND)?;
        let written = Written::new(&transaction);
        for (id, subscription) in &self.subscriptions {
            if let Subscription::Transactions { full } = subscription {
                written.get(*full).map_or(Ok(()), |json| self.notify(*id, json))?;
            }
        }
        Ok(())
    }

    fn notify(&self, id: u64, result: &str) -> Result<(), Ending> {
        self.send(notification(&format!("{id:#x}"), result))
    }
}
