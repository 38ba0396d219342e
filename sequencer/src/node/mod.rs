//! The node: opens the stores, checks L1, starts the tasks, and stops them in order.
//!
//! Owns the wiring and nothing else. Each task has one loop and one owner: L1 watcher, block
//! builder, JSON-RPC, poster, proposer. Sealing waits for none of the others.

mod audit;
mod batching;
mod build_loop;
mod chain;
mod follower;
mod health;
mod history;
mod metrics;
mod pool;
mod posting;
mod pressure;
mod rpc_source;
mod source;
mod stages;

pub(crate) use audit::note;
pub use batching::Batcher;
pub use chain::NodeChain;
pub use follower::Follower;
pub use rpc_source::{RpcSource, SourceFault};

use crate::{
    admin,
    builder::{Builder, BuilderConfig},
    l1::{BLOCKS_BEHIND, BLOCKS_MAX, L1Chain, Watcher, WatcherError},
    l1_client::{ClientError, L1Client},
    metrics::Metrics,
    pressure::Gauge,
    rpc::{RpcContext, RpcOptions, serve},
    settings::Config,
    store::{ChainIdentity, ChainStore, ChainStoreError, Ledger, LedgerError, chain::ChainOptions},
    txpool::Pool,
};
use alloy::primitives::B256;
use batcher::{
    archive::{ArchiveError, PayloadArchive},
    control::Control,
    encoder::BlockId,
    l1::L1Error,
    poster::PostError,
    proposer::ProposeError,
    tracker::{Heads, TrackError},
};
use build_loop::BuildLoop;
use executor::{Genesis, L1Attributes, Transaction};
use health::Health;
use metrics::{NodeValues, PostingValues, SealedCounters};
use posting::Posting;
use pressure::Unposted;
use source::StoreSource;
use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// L1 or the genesis file cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The chain store cannot be used.
    #[error("chain store: {0}")]
    Store(#[from] ChainStoreError),
    /// The chain cannot be opened.
    #[error("chain store: {}", error.explain(directory))]
    OpenStore {
        /// The chain directory.
        directory: PathBuf,
        /// Why.
        error: Box<ChainStoreError>,
    },
    /// The ledger cannot be used.
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The genesis state cannot be computed.
    #[error("genesis state: {0}")]
    Genesis(#[from] executor::ViewError),
    /// The payload archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// L1 cannot be read.
    #[error("L1: {0}")]
    L1(#[from] L1Error),
    /// The port is taken or may not be used.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Address asked for.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A connection to the sequencer cannot be set up.
    #[error("no HTTP client for sequencer-url can be made")]
    SequencerClient,
    /// A sequencer's directory was given to a follower.
    #[error(
        "{} is a sequencer's: a follower would undo every block there that is not on L1 yet; give it a directory of its own",
        directory.display()
    )]
    SequencersDirectory {
        /// The data directory.
        directory: PathBuf,
    },
    /// A derived block cannot be had or kept.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// The L1 watcher stopped.
    #[error(transparent)]
    Watcher(#[from] WatcherError),
    /// The poster stopped.
    #[error("poster: {0}")]
    Post(#[from] PostError),
    /// The sequencer whose blocks are to be posted is that of another chain.
    #[error(transparent)]
    Source(#[from] SourceFault),
    /// A batcher was given a node's directory: each has a ledger and an archive of its own.
    #[error("{} holds the chain of a sequencer; give the batcher a directory of its own", .0.display())]
    SequencerDirectory(PathBuf),
    /// The proposer stopped.
    #[error("proposer: {0}")]
    Propose(#[from] ProposeError),
    /// A task panicked; the others were stopped.
    #[error("a task of the node failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// A node whose stores are open, whose L1 is checked and whose port is taken.
#[derive(Debug)]
pub struct Node {
    config: Config,
    genesis: Genesis,
    store: ChainStore,
    ledger: Ledger,
    client: L1Client,
    archive: PayloadArchive,
    l1: Arc<L1Chain>,
    listener: TcpListener,
    admin: Option<TcpListener>,
}

impl Node {
    /// Opens and checks everything. Nothing runs yet.
    ///
    /// # Errors
    /// [`NodeError`] naming what is missing or does not match.
    pub async fn open(config: Config) -> Result<Self, NodeError> {
        let Parts { genesis, store, ledger, client, archive, listener } =
            Parts::open(&config).await?;
        let admin = admin::listen(&config.process).await?;
        let l1 = Arc::new(load_l1(&client, &genesis, &store, &ledger).await?);
        Ok(Self { config, genesis, store, ledger, client, archive, l1, listener, admin })
    }

    /// Address that JSON-RPC listens on.
    ///
    /// # Errors
    /// [`io::Error`] of the operating system.
    pub fn rpc_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Hash of the chain's head.
    #[must_use]
    pub fn head_hash(&self) -> B256 {
        self.store.head().hash
    }

    /// Runs until `shutdown` is cancelled or a task fails.
    ///
    /// # Errors
    /// The [`NodeError`] of the first task that failed; the others are stopped then.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), NodeError> {
        audit::started(&self.ledger, self.store.head()).await;
        let (pool, journal) = pool::open(&self.config, &self.genesis, &self.store).await?;
        let control = Control::default();
        let health = Arc::new(Health::new(self.config.block_time, control.clone()));
        let mut tasks = JoinSet::<Result<(), NodeError>>::new();

        let inputs = self.posting_inputs(control.clone());
        let posting = posting::start(inputs.clone(), &mut tasks, &shutdown).await?;
        let heads = posting.heads.clone();
        self.start_admin(inputs, heads.clone(), &mut tasks, &shutdown);
        let (pressure, unposted) = self.watch_posting(&posting, &mut tasks, &shutdown).await?;
        let watcher = self.watcher();
        tasks.spawn(until(shutdown.clone(), async move { Ok(watcher.run().await?) }));
        let past = (&self.config, &self.genesis, &self.store, &self.client);
        history::start(past, &mut tasks, &shutdown);
        let stages = stages::tell(self.store.clone(), heads.clone());
        tasks.spawn(until(shutdown.clone(), waiting(stages)));
        if let Some(journal) = journal.clone() {
            tasks.spawn(pool::keep(pool.clone(), journal, shutdown.clone()));
        }
        let builder = self.builder(pool.clone(), pressure.clone());
        let block_time = self.config.block_time;
        let new_transaction = Arc::new(Notify::new());
        let counters = SealedCounters::default();
        let metrics = self.metrics(&counters, &pool, &pressure, PostingValues { posting, control });
        let building = BuildLoop {
            block_time,
            new_transaction: new_transaction.clone(),
            health: health.clone(),
            ledger: self.ledger.clone(),
            counters,
            unposted,
            shutdown: shutdown.clone(),
        };
        tasks.spawn(building.run(builder));

        let chain = NodeChain::new(&self.genesis, self.store.clone(), heads, block_time);
        let readiness = {
            let (l1, pressure) = (self.l1.clone(), pressure.clone());
            Arc::new(move || health.readiness(&l1, pressure.read().as_ref()))
        };
        let options = RpcOptions {
            readiness,
            new_transaction,
            journal,
            clients: self.config.clients,
            archive: Some(self.archive),
            pressure,
            metrics: Arc::new(move || metrics.encode()),
            ..RpcOptions::default()
        };
        let context = Arc::new(RpcContext::new(chain, pool, options));
        let closing = shutdown.clone().cancelled_owned();
        let listener = self.listener;
        tasks.spawn(async move {
            serve(listener, context, closing).await;
            Ok(())
        });

        let result = finish(&mut tasks, &shutdown).await;
        fold(self.store.clone()).await;
        audit::stopped(&self.ledger, &result).await;
        self.ledger.close().await;
        result
    }

    fn watcher(&self) -> Watcher {
        Watcher {
            reader: self.client.block_reader(&self.genesis),
            ledger: self.ledger.clone(),
            chain: self.l1.clone(),
            anchor_number: self.genesis.l1.origin_number,
            poll: self.config.l1_poll,
        }
    }

    /// Listens to the operator, where there is one.
    fn start_admin(
        &mut self,
        inputs: posting::Inputs,
        heads: watch::Receiver<Heads>,
        tasks: &mut JoinSet<Result<(), NodeError>>,
        shutdown: &CancellationToken,
    ) {
        let (Some(listener), Some(admin)) = (self.admin.take(), &self.config.process.admin) else {
            return;
        };
        let posting::Inputs { control, source, ledger, .. } = inputs;
        let senders = posting::senders(&self.config);
        let operator = admin::Operator {
            control,
            heads,
            source,
            ledger,
            tasks: senders,
            pausing: Arc::default(),
        };
        tasks.spawn(admin::run(listener, operator, admin.token, shutdown.clone()));
    }

    fn builder(&self, pool: Arc<Mutex<Pool>>, pressure: Gauge) -> Builder {
        let config = BuilderConfig {
            block_time: self.config.block_time,
            mini_block_interval: self.config.mini_block_interval,
            empty_blocks: self.config.empty_blocks,
            l1_confirmations: self.config.l1_confirmations,
            pressure,
        };
        Builder::new(config, &self.genesis, self.store.clone(), pool, self.l1.clone())
    }

    /// Watches how far L1 is behind, where that is not switched off.
    async fn watch_posting(
        &self,
        posting: &Posting,
        tasks: &mut JoinSet<Result<(), NodeError>>,
        shutdown: &CancellationToken,
    ) -> Result<(Gauge, Option<Arc<Unposted>>), NodeError> {
        let Some(limits) = self.config.pressure else { return Ok((Gauge::default(), None)) };
        let (store, ledger, heads) =
            (self.store.clone(), self.ledger.clone(), posting.heads.clone());
        let (watch, unposted, gauge) = pressure::Watch::new(limits, store, ledger, heads).await?;
        tasks.spawn(until(shutdown.clone(), watch.run()));
        Ok((gauge, Some(unposted)))
    }

    fn metrics(
        &self,
        counters: &SealedCounters,
        pool: &Arc<Mutex<Pool>>,
        pressure: &Gauge,
        posting: PostingValues,
    ) -> Metrics {
        let mut metrics = Metrics::new();
        counters.register(&mut metrics);
        metrics.registry().register_collector(Box::new(NodeValues {
            store: self.store.clone(),
            pool: pool.clone(),
            l1: self.l1.clone(),
            pressure: pressure.clone(),
        }));
        metrics.registry().register_collector(Box::new(posting));
        metrics
    }

    fn posting_inputs(&self, control: Control) -> posting::Inputs {
        posting::Inputs {
            config: self.config.clone(),
            genesis: self.genesis.clone(),
            client: self.client.clone(),
            ledger: self.ledger.clone(),
            source: Arc::new(StoreSource(self.store.clone())),
            control,
            lock: None,
        }
    }
}

/// What a node and a follower open and check before anything runs.
#[derive(Debug)]
struct Parts {
    genesis: Genesis,
    store: ChainStore,
    ledger: Ledger,
    client: L1Client,
    archive: PayloadArchive,
    listener: TcpListener,
}

impl Parts {
    async fn open(config: &Config) -> Result<Self, NodeError> {
        let genesis = L1Client::read_genesis(&config.genesis)?;
        let (_, _, genesis_hash) = genesis.build()?;
        let listener = batching::listen(config.rpc_listen).await?;
        let archive = PayloadArchive::new(config.data_dir.join("blobs"));
        let beacon = config.l1_beacon_url.as_ref();
        let client = L1Client::connect(&config.l1_rpc_urls, beacon, Some(archive.clone()))?;
        let client = client.with_archives(&config.process.archive_urls)?;
        // Before anything is written: a wrong genesis file must not leave its chain behind.
        match client.check(&genesis).await {
            // A chain that has started goes on without L1 and catches up; a new one needs it.
            Err(ClientError::Unreachable(error)) if config.chain_directory().exists() => {
                tracing::warn!(%error, "L1 is unreachable; starting without it");
            }
            checked => checked?,
        }
        let store = open_store(config, &genesis).await?;
        store.set_proof_window(config.proof_blocks);
        archive.prepare()?;
        let identity = ChainIdentity { chain_id: genesis.rules.chain_id, genesis_hash };
        let ledger = Ledger::connect(&config.ledger_url, &identity).await?;
        Ok(Self { genesis, store, ledger, client, archive, listener })
    }
}

/// Brings what the order log has into the chain database, so that the next start has nothing to
/// replay. Where that fails, it replays.
async fn fold(store: ChainStore) {
    match tokio::task::spawn_blocking(move || store.fold_all()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "blocks stay in the order log"),
        Err(error) => tracing::warn!(%error, "blocks stay in the order log"),
    }
}

/// A task whose end ends nothing else.
async fn waiting(task: impl Future<Output = Result<(), NodeError>>) -> Result<(), NodeError> {
    task.await?;
    std::future::pending().await
}

/// Runs a task until it ends or the node stops.
async fn until(
    shutdown: CancellationToken,
    task: impl Future<Output = Result<(), NodeError>>,
) -> Result<(), NodeError> {
    tokio::select! {
        result = task => result,
        () = shutdown.cancelled() => Ok(()),
    }
}

/// Waits for the first task to end, stops the others, and waits for them.
async fn finish(
    tasks: &mut JoinSet<Result<(), NodeError>>,
    shutdown: &CancellationToken,
) -> Result<(), NodeError> {
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.map_err(NodeError::from).and_then(|result| result);
        if let Err(error) = ended {
            tracing::error!(%error, "stopping");
            result = result.and(Err(error));
        }
        shutdown.cancel();
    }
    result
}

async fn open_store(config: &Config, genesis: &Genesis) -> Result<ChainStore, NodeError> {
    let directory = config.chain_directory();
    let genesis = genesis.clone();
    let options = ChainOptions {
        trie_bytes_max: config.trie_bytes_max,
        log_segments_kept: config.log_segments_kept,
        ..ChainOptions::default()
    };
    let started = Instant::now();
    let opened = tokio::task::spawn_blocking(move || {
        ChainStore::open_with(&directory, &genesis, options)
            .map_err(|error| NodeError::OpenStore { directory, error: Box::new(error) })
    });
    let store = opened.await??;
    let head = store.head();
    let elapsed = started.elapsed();
    tracing::info!(number = head.number, hash = %head.hash, ?elapsed, "chain store open");
    Ok(store)
}

/// L1 blocks from the head's origin to the ledger's tip; on the first start, the anchor.
async fn load_l1(
    client: &L1Client,
    genesis: &Genesis,
    store: &ChainStore,
    ledger: &Ledger,
) -> Result<L1Chain, NodeError> {
    if ledger.l1_tip().await?.is_none() {
        let mut anchor = client.block_reader(genesis).block(genesis.l1.origin_number).await?;
        // The anchor's own deposits are before the chain.
        anchor.deposits.clear();
        let id = BlockId { number: anchor.origin.number, hash: anchor.origin.hash };
        if id != (BlockId { number: genesis.l1.origin_number, hash: genesis.l1.origin_hash }) {
            return Err(L1Error::Reorged.into());
        }
        ledger.append_l1_block(&anchor.origin, &[]).await?;
    }
    // From far enough below the head's origin that a reorg while the node was away is followed.
    // The ledger may also end below it: in the middle of a reorg, or when it was lost; then the
    // watcher reads on, and the builder waits until it knows what became of the origin.
    let anchor = genesis.l1.origin_number;
    let tip = ledger.l1_tip().await?.map_or(anchor, |tip| tip.number);
    let origin = head_origin(store)?.unwrap_or(anchor).min(tip);
    let from = origin.saturating_sub(BLOCKS_BEHIND).max(anchor);
    let blocks = ledger.l1_blocks_from(from, BLOCKS_MAX).await?;
    // What does not fit into memory is read from L1 again once there is room.
    if let Some(last) = blocks.last() {
        ledger.rollback_l1_to(last.origin.number).await?;
    }
    Ok(L1Chain::new(blocks))
}

fn head_origin(store: &ChainStore) -> Result<Option<u64>, ChainStoreError> {
    let block = store.block(store.head().number)?;
    let first = block.as_ref().and_then(|block| block.transactions.first());
    let attributes = first.and_then(Transaction::as_deposit).and_then(L1Attributes::from_deposit);
    Ok(attributes.map(|attributes| attributes.number))
}
