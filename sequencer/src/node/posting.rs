//! Starts the poster and the proposer where somebody signs for them, and keeps the heads that the poster
//! finds in the ledger: the next start goes on from the finalized one instead of genesis.

use super::{NodeError, audit, health::Health, source::StoreSource, until};
use crate::{
    l1_client::L1Client,
    settings::{Account, BatchData, Config},
    store::Ledger,
};
use batcher::{
    carrier::DataAvailability,
    poster::{Heads, PostError, Poster, PosterConfig},
    proposer::{Proposer, ProposerConfig},
    source::BlockSource,
    tracker::{TrackError, Tracker, TrackerStart},
    txmgr::{TxManager, WalletWatch},
};
use executor::Genesis;
use std::sync::Arc;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// What both need.
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) genesis: Genesis,
    pub(super) client: L1Client,
    pub(super) ledger: Ledger,
    pub(super) source: Arc<StoreSource>,
}

impl Inputs {
    /// Sends for an account, whose state `/ready` shows and whose money is watched.
    fn tx_manager(
        &self,
        name: &'static str,
        account: &Account,
        node: &mut Running<'_>,
    ) -> TxManager {
        let (provider, chain_id) = (self.client.provider(), self.genesis.l1.chain_id);
        let store = Arc::new(self.ledger.clone());
        let sending = self.config.accounts.sending;
        let manager =
            TxManager::new(provider.clone(), account.signer(), store.clone(), chain_id, sending);
        let control = manager.control();
        node.health.watch(name, control.clone());
        let low = self.config.accounts.runway_low;
        let watch = WalletWatch { provider, store, control, low };
        let watching = async move {
            watch.run().await;
            Ok(())
        };
        node.tasks.spawn(until(node.shutdown.clone(), watching));
        manager
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

    async fn poster(&self, tx: TxManager) -> Result<(Poster, watch::Receiver<Heads>), NodeError> {
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
        Ok(Poster::new(config, tracker, tx, self.source.clone()))
    }
}

/// The node that posting is a part of.
pub(super) struct Running<'a> {
    pub(super) tasks: &'a mut JoinSet<Result<(), NodeError>>,
    pub(super) health: &'a Arc<Health>,
    pub(super) shutdown: &'a CancellationToken,
}

/// Starts what has an account. Returns the heads that the poster publishes.
pub(super) async fn start(
    inputs: &Inputs,
    mut node: Running<'_>,
) -> Result<Option<watch::Receiver<Heads>>, NodeError> {
    let accounts = &inputs.config.accounts;
    let Some(account) = &accounts.batcher else {
        tracing::warn!("nobody signs for a batcher: nothing is posted to L1");
        return Ok(None);
    };
    let tx = inputs.tx_manager("batcher", account, &mut node);
    let (poster, heads) = inputs.poster(tx).await?;
    let (health, shutdown) = (node.health.clone(), node.shutdown.clone());
    let posting = post(poster, heads.clone(), inputs.ledger.clone(), shutdown.clone());
    node.tasks.spawn(until_halted("poster", posting, health.clone(), shutdown.clone()));
    if let Some(account) = &accounts.proposer {
        let config = ProposerConfig {
            outputs: inputs.genesis.l1.outputs,
            interval_blocks: inputs.config.output_interval_blocks,
            poll: inputs.config.l1_poll,
        };
        let tx = inputs.tx_manager("proposer", account, &mut node);
        let provider = inputs.client.provider();
        let proposer = Proposer::new(config, provider, tx, inputs.source.clone(), heads.clone());
        let closing = shutdown.clone().cancelled_owned();
        let proposing = async move { Ok(proposer.run(closing).await?) };
        node.tasks.spawn(until_halted("proposer", proposing, health, shutdown));
    }
    Ok(Some(heads))
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
