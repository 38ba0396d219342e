//! What happens, told once to everybody who listens: new and removed blocks, announced
//! transactions, and receipts that somebody waits for.
//!
//! One task follows the head and reads each block once, only while somebody listens. Listeners that
//! fall behind lose events and are told so by the channel. Not a history: that is the chain's.

use super::{
    chain::{Chain, ChainError},
    context::RpcContext,
    error::{Limit, RpcError},
    format,
    relay::{Listener, Relay},
    send::{Included, Level},
};
use crate::store::chain::{ChainEvent, MiniBlock, StoredBlock};
use alloy::primitives::B256;
use executor::Transaction;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{broadcast, oneshot, watch};

/// Block events a listener may be behind; one further behind loses events and is dropped.
const BLOCK_EVENTS_MAX: usize = 256;
/// The same for announced transactions.
const ANNOUNCED_EVENTS_MAX: usize = 16_384;
/// The same for what happens to the chain.
const CHAIN_EVENTS_MAX: usize = 4_096;
/// Announced hashes kept for polled filters; a filter polled too rarely misses the older ones.
const ANNOUNCED_MAX: usize = 16_384;
/// Requests that wait for receipts at once; more are refused.
const WAITERS_MAX: usize = 65_536;
/// Blocks kept to be told as removed after a rollback; a deeper rollback is told by its new blocks
/// alone.
const TAIL_BLOCKS_MAX: usize = 16;

/// A change of the chain.
#[derive(Clone, Debug)]
pub(super) enum BlockEvent {
    /// A new block, with its header as newHeads sends it.
    Added(Arc<StoredBlock>, Arc<str>),
    /// A block that is no longer in the chain.
    Removed(Arc<StoredBlock>),
}

#[derive(Debug, Default)]
struct Announced {
    hashes: VecDeque<B256>,
    /// Announcements ever made.
    count: u64,
}

type Waiters = HashMap<B256, Vec<Waiter>>;

/// Somebody who waits for a transaction.
#[derive(Debug)]
struct Waiter {
    /// Being executed is not enough.
    for_sealed: bool,
    sender: oneshot::Sender<Included>,
}

/// The hub.
#[derive(Debug)]
pub(super) struct Feed {
    blocks: Relay<BlockEvent>,
    transactions: Relay<Transaction>,
    events: Relay<ChainEvent>,
    announced: Mutex<Announced>,
    waiters: Mutex<Waiters>,
}

impl Feed {
    pub(super) fn new() -> Self {
        Self {
            blocks: Relay::new(BLOCK_EVENTS_MAX),
            transactions: Relay::new(ANNOUNCED_EVENTS_MAX),
            events: Relay::new(CHAIN_EVENTS_MAX),
            announced: Mutex::default(),
            waiters: Mutex::default(),
        }
    }

    pub(super) fn blocks(&self) -> Listener<BlockEvent> {
        self.blocks.listen()
    }

    pub(super) fn transactions(&self) -> Listener<Transaction> {
        self.transactions.listen()
    }

    /// What happens to the chain.
    pub(super) fn events(&self) -> Listener<ChainEvent> {
        self.events.listen()
    }

    fn announcements(&self) -> MutexGuard<'_, Announced> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a newly admitted transaction.
    pub(super) fn announce(&self, transaction: Transaction) {
        let mut announced = self.announcements();
        if announced.hashes.len() == ANNOUNCED_MAX {
            announced.hashes.pop_front();
        }
        announced.hashes.push_back(transaction.hash());
        announced.count += 1;
        drop(announced);
        self.transactions.tell(transaction);
    }

    /// How many transactions were announced.
    pub(super) fn announced(&self) -> u64 {
        self.announcements().count
    }

    /// Hashes announced from position `next` on, as far as they are kept, and the next position.
    pub(super) fn announced_since(&self, next: u64) -> (Vec<B256>, u64) {
        let announced = self.announcements();
        let missed = announced.count.saturating_sub(next);
        let kept = announced.hashes.len();
        let wanted = usize::try_from(missed).unwrap_or(usize::MAX).min(kept);
        (announced.hashes.iter().skip(kept - wanted).copied().collect(), announced.count)
    }

    /// Registers for a transaction that is not executed yet.
    pub(super) fn wait_for(
        &self,
        hash: B256,
        level: Level,
    ) -> Result<oneshot::Receiver<Included>, RpcError> {
        let mut waiters = self.waiters();
        if waiters.len() >= WAITERS_MAX {
            // Those whose clients went away without a receipt.
            waiters.retain(|_, senders| senders.iter().any(|waiter| !waiter.sender.is_closed()));
        }
        if waiters.len() >= WAITERS_MAX {
            return Err(Limit::Waiters(WAITERS_MAX).into());
        }
        let (sender, receiver) = oneshot::channel();
        let for_sealed = level > Level::Durable;
        waiters.entry(hash).or_default().push(Waiter { for_sealed, sender });
        Ok(receiver)
    }

    /// Drops the waiters for a transaction whose receivers are gone.
    pub(super) fn forget_waiters(&self, hash: &B256) {
        let mut waiters = self.waiters();
        let Some(senders) = waiters.get_mut(hash) else { return };
        senders.retain(|waiter| !waiter.sender.is_closed());
        if senders.is_empty() {
            waiters.remove(hash);
        }
    }

    fn is_followed(&self) -> bool {
        self.blocks.is_heard() || !self.waiters().is_empty()
    }

    /// Answers those who wait for what a mini-block has.
    fn executed(&self, mini_block: &Arc<MiniBlock>) {
        let mut waiters = self.waiters();
        if waiters.is_empty() {
            return;
        }
        for (index, transaction) in mini_block.transactions.iter().enumerate() {
            let hash = transaction.hash();
            let Some(waiting) = waiters.remove(&hash) else { continue };
            let (patient, content): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|waiter| waiter.for_sealed);
            for waiter in content {
                // An error means that the client went away.
                let _ = waiter.sender.send(Included::Open(mini_block.clone(), index));
            }
            if !patient.is_empty() {
                waiters.insert(hash, patient);
            }
        }
    }

    fn added(&self, block: &Arc<StoredBlock>) {
        let mut waiters = self.waiters();
        if !waiters.is_empty() {
            for (index, transaction) in block.transactions.iter().enumerate() {
                for waiter in waiters.remove(&transaction.hash()).into_iter().flatten() {
                    // An error means that the client went away.
                    let _ = waiter.sender.send(Included::Sealed(block.clone(), index));
                }
            }
        }
        drop(waiters);
        let header = format::header(&block.header, block.hash, None);
        match serde_json::to_string(&header) {
            Ok(json) => self.blocks.tell(BlockEvent::Added(block.clone(), json.into())),
            Err(error) => tracing::error!(%error, "a header cannot be written"),
        }
    }
}

/// What the follower has told so far.
#[derive(Debug)]
struct Follower {
    /// Next block to tell.
    next: u64,
    /// The newest told blocks, oldest first.
    tail: VecDeque<Arc<StoredBlock>>,
}

impl Follower {
    /// Tells everything up to the head. Blocks on storage.
    fn catch_up<C: Chain>(&mut self, ctx: &RpcContext<C>) -> Result<(), ChainError> {
        let head = ctx.chain.heads().latest;
        if !ctx.feed.is_followed() {
            self.tail.clear();
            self.next = head + 1;
            return Ok(());
        }
        self.retract(ctx, head)?;
        while self.next <= head {
            let Some(block) = ctx.chain.block(self.next)? else { return Ok(()) };
            let block = Arc::new(block);
            if self.tail.back().is_some_and(|parent| parent.hash != block.header.parent_hash) {
                // The chain went back while we read; the next change of the head tells the rest.
                return Ok(());
            }
            ctx.feed.added(&block);
            self.next += 1;
            if self.tail.len() == TAIL_BLOCKS_MAX {
                self.tail.pop_front();
            }
            self.tail.push_back(block);
        }
        Ok(())
    }

    /// Tells what is no longer in the chain, newest first.
    fn retract<C: Chain>(&mut self, ctx: &RpcContext<C>, head: u64) -> Result<(), ChainError> {
        while let Some(last) = self.tail.back() {
            let number = last.header.number;
            let canonical = ctx.chain.header(number)?.map(|(_, hash)| hash);
            if number <= head && canonical == Some(last.hash) {
                break;
            }
            self.next = number;
            if let Some(removed) = self.tail.pop_back() {
                ctx.feed.blocks.tell(BlockEvent::Removed(removed));
            }
        }
        self.next = self.next.min(head + 1);
        Ok(())
    }
}

/// Hands events on to those who listen, until the node closes. To be run on threads
/// that step back.
pub(super) async fn relay<C: Chain>(ctx: Arc<RpcContext<C>>, mut closing: watch::Receiver<bool>) {
    let feed = &ctx.feed;
    let own = futures::future::join(feed.blocks.run(), feed.transactions.run());
    let events = async {
        if let Some(events) = ctx.chain.subscribe_events() {
            feed.events.hand_on(events).await;
        }
    };
    tokio::select! {
        _ = futures::future::join(own, events) => {}
        _ = closing.changed() => {}
    }
}

/// Acknowledges what is executed, until the node closes. A task of its own: following the head reads
/// blocks, and nobody who waits for a millisecond should wait for that.
pub(super) async fn acknowledge<C: Chain>(
    ctx: Arc<RpcContext<C>>,
    mut closing: watch::Receiver<bool>,
) {
    let Some(mut events) = ctx.chain.subscribe_events() else { return };
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = closing.changed() => return,
        };
        match event {
            Ok(ChainEvent::MiniBlock(mini_block)) => ctx.feed.executed(&mini_block),
            Ok(_) => {}
            // Those that were missed are in the open block, or sealed: the head's follower has them.
            Err(broadcast::error::RecvError::Lagged(_)) => {
                let open = ctx.chain.open_block();
                let mini_blocks = open.iter().flat_map(|open| open.mini_blocks());
                mini_blocks.for_each(|mini_block| ctx.feed.executed(mini_block));
            }
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Follows the head until the node closes.
pub(super) async fn follow<C: Chain>(ctx: Arc<RpcContext<C>>, mut closing: watch::Receiver<bool>) {
    let mut heads = ctx.chain.subscribe_head();
    let mut follower = Follower { next: ctx.chain.heads().latest + 1, tail: VecDeque::new() };
    loop {
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            _ = closing.changed() => return,
        }
        let shared = ctx.clone();
        let caught_up = tokio::task::spawn_blocking(move || {
            let result = follower.catch_up(&shared);
            (follower, result)
        });
        match caught_up.await {
            Ok((back, result)) => {
                follower = back;
                if let Err(error) = result {
                    tracing::error!(%error, "subscriptions cannot read the chain");
                }
            }
            Err(error) => {
                tracing::error!(%error, "subscriptions stopped");
                return;
            }
        }
    }
}
