//! The loop that keeps the chain store at what L1 determines: it reads on, goes back where L1 was
//! reorganised, publishes the heads and writes down from where the next start goes on.
//!
//! Owns the choice of that place: where the heads in the ledger say to start, if L1 and the store still
//! have it; else genesis. Whatever the store has above it is compared, not executed again. Nothing that fails ends the follower: it is said, and tried again.

use super::{NodeError, Status, StoreSource};
use crate::{
    derived::{Counts, Progress, Rates, StoredChain},
    l1_client::L1Client,
    store::{ChainStore, Ledger},
};
use alloy::eips::BlockNumberOrTag;
use batcher::{
    l1::{InboxReader, L1BlockReader, L1Error, Missing, Standing},
    source::BlockSource,
    tracker::{Heads, SafeHead, TrackError, Tracker, TrackerStart},
};
use executor::Genesis;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Least wait after something failed.
const RETRY: Duration = Duration::from_secs(1);

/// The loop's state.
pub(super) struct Deriving {
    genesis: Genesis,
    inbox: InboxReader,
    blocks: L1BlockReader,
    store: ChainStore,
    ledger: Ledger,
    source: Arc<StoreSource>,
    chain: StoredChain,
    counts: Arc<Counts>,
    status: Arc<Status>,
    heads: watch::Sender<Heads>,
    poll: Duration,
}

/// The heads of the run before, as far as the store has their blocks.
pub(super) async fn known_heads(ledger: &Ledger, source: &StoreSource) -> Result<Heads, NodeError> {
    let Some(heads) = ledger.heads().await? else { return Ok(Heads::default()) };
    let known = async |head: SafeHead| -> Result<SafeHead, NodeError> {
        let block = source.block(head.block.number).await.map_err(TrackError::from)?;
        let is_ours = block.is_some_and(|block| block.hash == head.block.hash);
        Ok(if is_ours { head } else { SafeHead::default() })
    };
    Ok(Heads {
        safe: known(heads.safe).await?,
        finalized: known(heads.finalized).await?,
        start: known(heads.start).await?,
    })
}

impl Deriving {
    /// A loop over an open store, which nobody else adds blocks to.
    pub(super) fn new(
        (genesis, client): (&Genesis, &L1Client),
        (store, ledger, source): (ChainStore, Ledger, Arc<StoreSource>),
        status: Arc<Status>,
        heads: watch::Sender<Heads>,
        poll: Duration,
    ) -> Self {
        let counts = Arc::<Counts>::default();
        Self {
            genesis: genesis.clone(),
            inbox: client.inbox_reader(genesis.l1.inbox),
            blocks: client.block_reader(genesis),
            chain: StoredChain::new(store.clone(), counts.clone()),
            store,
            ledger,
            source,
            counts,
            status,
            heads,
            poll,
        }
    }

    /// Runs until it is dropped.
    pub(super) async fn run(self) -> Result<(), NodeError> {
        let started = Instant::now();
        let progress = Progress::new(self.counts.clone(), self.genesis.l1.origin_number);
        let mut tracker = tokio::select! {
            tracker = self.catch_up() => tracker,
            never = progress.show() => match never {},
        };
        self.say_summary(started.elapsed());
        tokio::select! {
            () = self.follow(&mut tracker) => Ok(()),
            never = progress.show_lines() => match never {},
        }
    }

    /// Reads on until all of L1 was read once.
    async fn catch_up(&self) -> Tracker {
        let mut tracker = self.tracker().await;
        while !self.step(&mut tracker).await {}
        tracker
    }

    async fn follow(&self, tracker: &mut Tracker) {
        loop {
            if self.step(tracker).await {
                tokio::time::sleep(self.poll).await;
            }
        }
    }

    fn say_summary(&self, elapsed: Duration) {
        let (blocks, transactions) = (self.counts.blocks(), self.counts.transactions());
        let rates = Rates::of(blocks, transactions, elapsed);
        let head = self.store.head();
        tracing::info!(
            number = head.number,
            hash = %head.hash,
            blocks,
            transactions,
            known_blocks = self.counts.known(),
            elapsed = format_args!("{:.1}s", elapsed.as_secs_f64()),
            blocks_per_sec = format_args!("{:.1}", rates.blocks),
            transactions_per_sec = format_args!("{:.0}", rates.transactions),
            "caught up with L1"
        );
    }

    /// A tracker from where the last run ended; tries until L1 answers.
    async fn tracker(&self) -> Tracker {
        loop {
            match self.start().await {
                Ok(start) => {
                    let (number, l1_block) = (start.head.header.number, start.l1_block.number);
                    tracing::info!(
                        number,
                        l1_block,
                        head = self.store.head().number,
                        "deriving from"
                    );
                    let (rules, chain) = (self.genesis.rules.clone(), Arc::new(self.chain.clone()));
                    let (inbox, blocks) = (self.inbox.clone(), self.blocks.clone());
                    return Tracker::over(rules, start, inbox, blocks, chain);
                }
                Err(error) => {
                    self.status.failed(&error);
                    tokio::time::sleep(self.poll.max(RETRY)).await;
                }
            }
        }
    }

    /// Where to go on: as the run before says, where both L1 and the store still have it. An endpoint
    /// that is behind is waited for.
    async fn start(&self) -> Result<TrackerStart, NodeError> {
        let (_, header, hash) = self.genesis.build()?;
        let genesis = TrackerStart::genesis(&self.genesis, header, hash);
        let Some(heads) = self.ledger.heads().await? else { return Ok(genesis) };
        let block = self.source.block(heads.start.block.number).await;
        let block = block.map_err(TrackError::from)?;
        let start = block.and_then(|block| TrackerStart::resume(&genesis, &heads, &block));
        let Some(start) = start else { return Ok(genesis) };
        for block in [heads.start.l1_block, heads.finalized.l1_block] {
            match self.inbox.standing(block).await? {
                Standing::Canonical => {}
                Standing::Lost => return Ok(genesis),
                Standing::NotRead => {
                    return Err(L1Error::Missing(Missing::Block(block.number)).into());
                }
            }
        }
        Ok(start)
    }

    /// Reads on once; whether all of L1 is read.
    async fn step(&self, tracker: &mut Tracker) -> bool {
        match self.try_step(tracker).await {
            Ok(is_caught_up) => is_caught_up,
            Err(NodeError::Track(TrackError::DeepReorg(number))) => {
                self.status.failed(&TrackError::DeepReorg(number).into());
                // Genesis may be gone, too.
                tokio::time::sleep(self.poll.max(RETRY)).await;
                *tracker = self.tracker().await;
                false
            }
            Err(error) => {
                self.status.failed(&error);
                tokio::time::sleep(self.poll.max(RETRY)).await;
                false
            }
        }
    }

    async fn try_step(&self, tracker: &mut Tracker) -> Result<bool, NodeError> {
        let latest = self.inbox.block_id(BlockNumberOrTag::Latest).await?;
        let latest = latest.ok_or(L1Error::Missing(Missing::Tag(BlockNumberOrTag::Latest)))?;
        self.status.answered(tracker.scanned(), latest);
        self.counts.read_l1(tracker.scanned().number, latest.number);
        let is_caught_up = tracker.sync().await?;
        let safe = tracker.safe_head();
        if is_caught_up {
            // After a reorg L1 may determine less than it did.
            self.chain.cut(safe.block.number).await?;
        }
        self.publish(tracker).await?;
        self.status.read(tracker.scanned(), is_caught_up);
        self.counts.read_l1(tracker.scanned().number, latest.number);
        Ok(is_caught_up)
    }

    /// Tells the heads, and writes down from where the next start goes on.
    async fn publish(&self, tracker: &mut Tracker) -> Result<(), NodeError> {
        let heads = tracker.read_heads().await?;
        if self.heads.send_if_modified(|old| std::mem::replace(old, heads) != heads) {
            self.ledger.set_heads(&heads).await?;
        }
        Ok(())
    }
}
