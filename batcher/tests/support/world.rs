//! A whole rollup: contracts on an anvil, a chain that follows its blocks, and the parts under test
//! wired together as the node does it.

use super::{
    anvil::{Anvil, account},
    chain::{Chain, FakeL1, SharedChain, genesis},
};
use alloy::{
    eips::{BlockNumberOrTag, eip7840::BlobParams},
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider, ext::AnvilApi},
    rpc::types::anvil::ReorgOptions,
};
use batcher::{
    carrier::DataAvailability,
    derive::{Derivation, Outcome, Step},
    encoder::{EncoderConfig, SourceBlock},
    l1::{
        AnvilBlobs, BlobFeeSchedule, FirstOf, InboxPosition, InboxReader, L1BlockReader, L1Error,
        PostedAppend,
    },
    poster::{PostError, Poster, PosterConfig, Progress},
    proposer::{Proposer, ProposerConfig},
    tracker::{Heads, Tracker, TrackerStart},
    txmgr::{MemoryStore, SubmissionStore, TxConfig, TxManager},
};
use contracts::{Inbox, Outputs, Portal};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// Chain id of anvil.
pub(crate) const L1_CHAIN_ID: u64 = 31_337;

/// The rollup.
pub(crate) struct World {
    pub(crate) anvil: Anvil,
    pub(crate) provider: DynProvider,
    pub(crate) inbox: Address,
    pub(crate) outputs: Address,
    pub(crate) portal: Address,
    pub(crate) chain: SharedChain,
    pub(crate) store: Arc<MemoryStore>,
    l1: Mutex<FakeL1>,
    anchor: u64,
}

/// A clock on which more time passes between two looks than any channel is allowed to age.
pub(crate) fn later_secs() -> u64 {
    static CLOCK: AtomicU64 = AtomicU64::new(0);
    CLOCK.fetch_add(1_000, Ordering::Relaxed)
}

impl World {
    /// Deploys everything, on an L1 where a block is final when two are on top; `None` where there is no
    /// anvil.
    pub(crate) async fn new() -> Option<Self> {
        Self::with_epochs_of(1).await
    }

    /// The same where a block is final two epochs of so many blocks later.
    pub(crate) async fn with_epochs_of(slots: u64) -> Option<Self> {
        let anvil = Anvil::start_with(&["--slots-in-an-epoch", &slots.to_string()])?;
        let provider = anvil.provider();
        let reader = L1BlockReader::new(provider.clone(), Address::ZERO, schedule());
        let anchor = reader.block_id(BlockNumberOrTag::Latest).await.unwrap().unwrap().number;
        let anchor = reader.block(anchor).await.unwrap().origin;
        let chain = Chain::new(genesis(&anchor));
        let genesis_hash = chain.blocks[0].hash;
        let config_hash = chain.genesis.config_hash(genesis_hash);
        let owner = account(0).address();
        let chain_id = chain.genesis.rules.chain_id;
        let sequencer = account(1).address();
        let inbox =
            Inbox::deploy(provider.clone(), owner, sequencer, config_hash, chain_id).await.unwrap();
        let one = U256::from(1);
        let proposer = account(2).address();
        let (root, time) = (B256::repeat_byte(1), anchor.timestamp);
        let outputs = Outputs::deploy_builder(
            provider.clone(),
            owner,
            proposer,
            *inbox.address(),
            root,
            time,
            one,
            one,
            one,
        );
        let outputs = outputs.deploy().await.unwrap();
        let portal = Portal::deploy(provider.clone(), outputs).await.unwrap();
        Some(Self {
            anvil,
            inbox: *inbox.address(),
            outputs,
            portal: *portal.address(),
            chain: SharedChain::new(chain),
            store: Arc::default(),
            l1: Mutex::default(),
            anchor: anchor.number,
            provider,
        })
    }

    pub(crate) fn block_reader(&self) -> L1BlockReader {
        self.block_reader_through(&self.provider)
    }

    pub(crate) fn block_reader_through(&self, provider: &DynProvider) -> L1BlockReader {
        L1BlockReader::new(provider.clone(), self.portal, schedule())
    }

    pub(crate) fn inbox_reader(&self) -> InboxReader {
        self.inbox_reader_through(&self.provider)
    }

    pub(crate) fn inbox_reader_through(&self, provider: &DynProvider) -> InboxReader {
        let anvil = Arc::new(AnvilBlobs::new(provider.clone()));
        InboxReader::new(provider.clone(), self.inbox, FirstOf::new(None, vec![anvil]))
    }

    /// The manager of the sequencer's account (1) or the proposer's (2).
    pub(crate) fn manager(&self, index: u32, store: Arc<dyn SubmissionStore>) -> TxManager {
        let config = TxConfig { poll: Duration::from_millis(10), ..TxConfig::default() };
        TxManager::new(self.provider.clone(), Arc::new(account(index)), store, L1_CHAIN_ID, config)
    }

    pub(crate) fn poster(&self, availability: DataAvailability) -> Poster {
        let encoder = availability.encoder_config(420_420, 60);
        self.poster_of(availability, encoder, self.store.clone()).0
    }

    /// A poster as after a start of the process: nothing of an earlier one but its store.
    pub(crate) fn poster_of(
        &self,
        availability: DataAvailability,
        encoder: EncoderConfig,
        store: Arc<dyn SubmissionStore>,
    ) -> (Poster, watch::Receiver<Heads>) {
        self.poster_reading(availability, encoder, store, self.inbox_reader())
    }

    /// A poster whose reader of the Inbox has an archive.
    pub(crate) fn poster_on(&self, availability: DataAvailability, inbox: InboxReader) -> Poster {
        let encoder = availability.encoder_config(420_420, 60);
        self.poster_reading(availability, encoder, self.store.clone(), inbox).0
    }

    fn poster_reading(
        &self,
        availability: DataAvailability,
        encoder: EncoderConfig,
        store: Arc<dyn SubmissionStore>,
        inbox: InboxReader,
    ) -> (Poster, watch::Receiver<Heads>) {
        let source = Arc::new(self.chain.clone());
        let (start, rules) = (self.genesis(), self.chain.0.lock().unwrap().genesis.rules.clone());
        let tracker = Tracker::new(rules, start, inbox, self.block_reader(), source.clone());
        let poll = Duration::from_millis(10);
        let config = PosterConfig { inbox: self.inbox, availability, encoder, poll };
        Poster::new(config, tracker, self.manager(1, store), source)
    }

    /// Where an earlier run says to start.
    pub(crate) fn resume(&self, heads: &Heads, block: &SourceBlock) -> Option<TrackerStart> {
        TrackerStart::resume(&self.genesis(), heads, block)
    }

    /// Where a first run starts.
    pub(crate) fn genesis(&self) -> TrackerStart {
        let chain = self.chain.0.lock().unwrap();
        let (header, hash) = chain.genesis_header();
        TrackerStart::genesis(&chain.genesis, header, hash)
    }

    pub(crate) fn tracker(&self, start: TrackerStart) -> Tracker {
        self.tracker_through(&self.provider, start)
    }

    /// A tracker that reads L1 through another provider.
    pub(crate) fn tracker_through(&self, provider: &DynProvider, start: TrackerStart) -> Tracker {
        let rules = self.chain.0.lock().unwrap().genesis.rules.clone();
        let (inbox, l1) =
            (self.inbox_reader_through(provider), self.block_reader_through(provider));
        Tracker::new(rules, start, inbox, l1, Arc::new(self.chain.clone()))
    }

    pub(crate) fn proposer(&self, interval_blocks: u64, heads: watch::Receiver<Heads>) -> Proposer {
        let poll = Duration::from_millis(10);
        let config = ProposerConfig { outputs: self.outputs, interval_blocks, poll };
        let tx = self.manager(2, self.store.clone());
        Proposer::new(config, self.provider.clone(), tx, Arc::new(self.chain.clone()), heads)
    }

    /// Seals an L2 block on the next L1 block, if there is one.
    pub(crate) async fn seal(&self, transfers: usize, data_bytes: usize) -> SourceBlock {
        let epoch = self.chain.0.lock().unwrap().epoch;
        let reader = self.block_reader();
        let latest = reader.block_id(BlockNumberOrTag::Latest).await.unwrap().unwrap();
        let origin = latest.number.min(epoch.number + 1);
        let block = reader.block(origin).await.unwrap();
        let mut l1 = self.l1.lock().unwrap();
        l1.blocks.insert(origin, (block.origin, block.deposits));
        self.chain.0.lock().unwrap().seal(&l1, origin, (transfers, data_bytes))
    }

    /// Steps once for the blocks to be offered and once, later, for the channel to be closed.
    pub(crate) async fn post(&self, poster: &mut Poster) -> Result<Progress, PostError> {
        match poster.step(later_secs()).await? {
            Progress::Idle => poster.step(later_secs()).await,
            progress => Ok(progress),
        }
    }

    /// Steps until there is nothing left to post; returns what the steps did.
    pub(crate) async fn settle(&self, poster: &mut Poster) -> Vec<Progress> {
        let mut done = Vec::new();
        let mut idle = 0;
        for _ in 0..100 {
            match poster.step(later_secs()).await.unwrap() {
                // The first time may only have offered blocks.
                Progress::Idle if idle == 1 => return done,
                Progress::Idle => idle += 1,
                progress => {
                    done.push(progress);
                    idle = 0;
                }
            }
        }
        panic!("never idle: {done:?}");
    }

    pub(crate) async fn position(&self) -> InboxPosition {
        let reader = self.inbox_reader();
        let latest = reader.block_id(BlockNumberOrTag::Latest).await.unwrap().unwrap();
        reader.state(latest).await.unwrap().position
    }

    /// L1 transactions that the sequencer has sent, successful or not.
    pub(crate) async fn sequencer_nonce(&self) -> u64 {
        self.provider.get_transaction_count(account(1).address()).await.unwrap()
    }

    /// What an outsider derives from L1 alone, executed: the chain and the appends that are empty.
    pub(crate) async fn derived(&self) -> (Vec<SourceBlock>, usize) {
        let genesis = self.chain.0.lock().unwrap().genesis.clone();
        let mut follower = Chain::new(genesis.clone());
        let (header, hash) = follower.genesis_header();
        let mut derivation = Derivation::from_genesis(&genesis, header, hash);
        let (inbox, l1) = (self.inbox_reader(), self.block_reader());
        let latest = inbox.block_id(BlockNumberOrTag::Latest).await.unwrap().unwrap();
        let start = InboxPosition::default();
        let mut loaded = FakeL1::default();
        let mut dropped = 0;
        for posted in appends(&inbox, start, self.anchor, latest.number).await.unwrap() {
            let outcomes = derivation.push_append(&posted.append);
            dropped += outcomes.iter().filter(|o| matches!(o, Outcome::Dropped(_))).count();
            loop {
                match derivation.next_block(&loaded) {
                    Step::Idle => break,
                    Step::NeedL1(number) => {
                        let block = l1.block(number).await.unwrap();
                        loaded.blocks.insert(number, (block.origin, block.deposits));
                    }
                    Step::Block(derived) => {
                        let block = follower.execute(&derived.input, derived.epoch);
                        derivation.advance(block.header, block.hash).unwrap();
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        (follower.blocks, dropped)
    }

    /// Asserts that L1 alone gives exactly the chain.
    pub(crate) async fn assert_all_derivable(&self) {
        let (derived, _) = self.derived().await;
        let blocks = self.chain.0.lock().unwrap().blocks.clone();
        assert!(derived == blocks, "derived {} of {} blocks", derived.len(), blocks.len());
    }

    /// Replaces the last `depth` L1 blocks by empty ones.
    pub(crate) async fn reorg(&self, depth: u64) {
        let options = ReorgOptions { depth, tx_block_pairs: Vec::new() };
        self.provider.anvil_reorg(options).await.unwrap();
    }

    pub(crate) async fn mine(&self, blocks: u64) {
        self.provider.anvil_mine(Some(blocks), None).await.unwrap();
    }
}

/// All appends of L1 blocks `from..=to` that come after `position`.
pub(crate) async fn appends(
    inbox: &InboxReader,
    position: InboxPosition,
    from: u64,
    to: u64,
) -> Result<Vec<PostedAppend>, L1Error> {
    let mut ahead = inbox.appends_ahead(position, from, to);
    let mut appends = Vec::new();
    while let Some(posted) = ahead.next().await {
        appends.push(posted?);
    }
    Ok(appends)
}

fn schedule() -> BlobFeeSchedule {
    BlobFeeSchedule::constant(BlobParams::bpo1())
}
