//! Starts the poster and the proposer where their keys are given, and keeps the heads that the poster
//! finds in the ledger: the next start goes on from the finalized one instead of genesis.

use super::{NodeError, audit, health::Health, source::StoreSource, until};
use crate::{
    l1_client::L1Client,
    settings::{BatchData, Config, Key},
    store::Ledger,
};
use batcher::{
    carrier::DataAvailability,
    poster::{Heads, PostError, Posted, Poster, PosterConfig},
    proposer::{Proposer, ProposerConfig},
    source::BlockSource,
    tracker::{TrackError, Tracker, TrackerStart},
    txmgr::{TxConfig, TxManager},
};
use executor::Genesis;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Without inclusion for this long a transaction is replaced with higher fees.
const BUMP_AFTER: Duration = Duration::from_secs(60);

/// What both need.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) genesis: Genesis,
    pub(super) client: L1Client,
    pub(super) ledger: Ledger,
    pub(super) source: Arc<StoreSource>,
}

impl Inputs {
    fn tx_manager(&self, key: &Key) -> TxManager {
        let config =
            TxConfig { poll: self.config.l1_poll, bump_after: BUMP_AFTER, ..TxConfig::default() };
        let (provider, chain_id) = (self.client.provider(), self.genesis.l1.chain_id);
        let store = Arc::new(self.ledger.clone());
        TxManager::new(provider, Arc::new(key.0.clone()), store, chain_id, config)
    }

    /// The finalized head of the run before, if the node has its block; else genesis. What it says
    /// of L1 is not checked here, because L1 may be away: see [`post`].
    async fn tracker_start(&self) -> Result<TrackerStart, NodeError> {
        let (_, header, hash) = self.genesis.build()?;
        let genesis = TrackerStart::genesis(&self.genesis, header, hash);
        let Some(Heads { finalized, .. }) = self.ledger.heads().await? else { return Ok(genesis) };
        let number = finalized.block.number;
        let block = self.source.block(number).await.map_err(PostError::from)?;
        let start = block.and_then(|block| TrackerStart::finalized(finalized, &block));
        match &start {
            Some(_) => tracing::info!(number, l1_block = ?finalized.l1_block, "tracking L1 from"),
            None if number > 0 => tracing::warn!(number, "not our finalized block: from genesis"),
            None => {}
        }
        Ok(start.unwrap_or(genesis))
    }

    async fn poster(&self, key: &Key) -> Result<(Poster, watch::Receiver<Heads>), NodeError> {
        let tracker = Tracker::new(
            self.genesis.rules.clone(),
            self.tracker_start().await?,
            self.client.inbox_reader(self.genesis.l1.inbox),
            self.client.block_reader(&self.genesis),
            self.source.clone(),
        );
        let availability = match self.config.batch_data {
            BatchData::Blob => DataAvailability::Blob,
            BatchData::Calldata => DataAvailability::Calldata,
            BatchData::Cheaper => DataAvailability::Cheaper,
        };
        let chain_id = self.genesis.rules.chain_id;
        let config = PosterConfig {
            inbox: self.genesis.l1.inbox,
            availability,
            encoder: availability.encoder_config(chain_id, self.config.batch_age_secs),
            poll: self.config.l1_poll,
        };
        Ok(Poster::new(config, tracker, self.tx_manager(key), self.source.clone()))
    }
}

/// What the poster publishes.
#[derive(Clone, Debug)]
pub(super) struct Posting {
    pub(super) heads: watch::Receiver<Heads>,
    pub(super) posted: watch::Receiver<Posted>,
}

/// Starts what has a key. Returns what the poster publishes.
pub(super) async fn start(
    inputs: &Inputs,
    tasks: &mut JoinSet<Result<(), NodeError>>,
    health: &Arc<Health>,
    shutdown: &CancellationToken,
) -> Result<Option<Posting>, NodeError> {
    let Some(key) = &inputs.config.batcher_key else {
        tracing::warn!("no batcher key: nothing is posted to L1");
        return Ok(None);
    };
    let (poster, heads) = inputs.poster(key).await?;
    let posted = poster.posted();
    let posting = post(poster, heads.clone(), inputs.ledger.clone(), shutdown.clone());
    tasks.spawn(until_halted("poster", posting, health.clone(), shutdown.clone()));
    if let Some(key) = &inputs.config.proposer_key {
        let config = ProposerConfig {
            outputs: inputs.genesis.l1.outputs,
            interval_blocks: inputs.config.output_interval_blocks,
            poll: inputs.config.l1_poll,
        };
        let (provider, tx) = (inputs.client.provider(), inputs.tx_manager(key));
        let proposer = Proposer::new(config, provider, tx, inputs.source.clone(), heads.clone());
        let closing = shutdown.clone().cancelled_owned();
        let proposing = async move { Ok(proposer.run(closing).await?) };
        tasks.spawn(until_halted("proposer", proposing, health.clone(), shutdown.clone()));
    }
    Ok(Some(Posting { heads, posted }))
}

/// Runs a task whose failure must not stop sequencing: it halts, `/ready` says why, and everything
/// else goes on until the operator has looked and starts the node again.
async fn until_halted(
    name: &'static str,
    task: impl Future<Output = Result<(), NodeError>>,
    health: Arc<Health>,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    if let Err(error) = until(shutdown.clone(), task).await {
        tracing::error!(%error, "{name} halted; sequencing goes on");
        health.halted(name, &error);
        shutdown.cancelled().await;
    }
    Ok(())
}

/// Runs the poster and keeps its heads in the ledger.
///
/// A deep reorg is L1 taking back what was final, found at any time, also at the first look after a
/// restart. Posting halts, for somebody to look at; the heads are forgotten, so that the next start
/// reads the Inbox from genesis and believes L1 as it is then.
async fn post(
    poster: Poster,
    heads: watch::Receiver<Heads>,
    ledger: Ledger,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let keeping = keep_heads(&ledger, heads);
    let (posted, ()) = tokio::join!(poster.run(shutdown.cancelled_owned()), keeping);
    let Err(error) = posted else { return Ok(()) };
    audit::note(&ledger, "posting halted", &error.to_string()).await;
    if matches!(error, PostError::Track(TrackError::DeepReorg(_))) {
        ledger.forget_heads().await?;
    }
    Err(error.into())
}

/// Writes every change of the heads until the poster ends. One that cannot be written is passed
/// over: older heads in the ledger only make the next start read more of L1.
async fn keep_heads(ledger: &Ledger, mut heads: watch::Receiver<Heads>) {
    while heads.changed().await.is_ok() {
        let changed = *heads.borrow_and_update();
        if let Err(error) = ledger.set_heads(&changed).await {
            tracing::warn!(%error, "the heads are not in the ledger");
        }
    }
}
