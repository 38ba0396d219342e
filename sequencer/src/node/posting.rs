//! Starts what has to do with L1 beside the watcher: the poster where its key is given and else the
//! tracker alone, the proposer where its key is given. Keeps the heads that are found in the ledger: the
//! next start goes on from the finalized one instead of genesis.
//!
//! The same for a node and for a batcher in a process of its own; they differ in where blocks come from.
//! A task that halts is started anew when the operator resumes it.

use super::{NodeError, audit, until};
use crate::{
    l1_client::L1Client,
    settings::{BatchData, Config, Key},
    store::{Ledger, PostingLock},
};
use batcher::{
    carrier::DataAvailability,
    control::Control,
    heads::{TRACKER, follow},
    poster::{Action, Backoff, Heads, POSTER, PostError, Poster, PosterConfig},
    proposer::{PROPOSER, Proposer, ProposerConfig},
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

/// What all of them need.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    pub(super) config: Config,
    pub(super) genesis: Genesis,
    pub(super) client: L1Client,
    pub(super) ledger: Ledger,
    pub(super) source: Arc<dyn BlockSource>,
    pub(super) control: Control,
    /// Held by whoever sends.
    pub(super) lock: Option<Arc<PostingLock>>,
}

impl Inputs {
    fn tx_manager(&self, key: &Key) -> TxManager {
        let config =
            TxConfig { poll: self.config.l1_poll, bump_after: BUMP_AFTER, ..TxConfig::default() };
        let (provider, chain_id) = (self.client.provider(), self.genesis.l1.chain_id);
        let store = Arc::new(self.ledger.clone());
        TxManager::new(provider, Arc::new(key.0.clone()), store, chain_id, config)
    }

    /// The heads of the run before as far as they are final, if the chain has the block. What they say of
    /// L1 is not checked here, because L1 may be away: see [`Inputs::ended`].
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

    /// What is told until L1 was read: what was final in the run before.
    async fn first_heads(&self) -> Result<Heads, NodeError> {
        let Some(Heads { finalized, .. }) = self.ledger.heads().await? else {
            return Ok(Heads::default());
        };
        let block = self.source.block(finalized.block.number).await.ok().flatten();
        let is_ours = block.is_some_and(|block| block.id() == finalized.block);
        Ok(if is_ours { Heads { safe: finalized, finalized } } else { Heads::default() })
    }

    /// A tracker, once the chain can be read: a sequencer in another process may start later.
    async fn tracker(&self, task: &'static str) -> Result<Tracker, NodeError> {
        let mut backoff = Backoff::new(self.config.l1_poll);
        let start = loop {
            match self.tracker_start().await {
                Err(NodeError::Post(PostError::Source(error))) => {
                    let wait = backoff.after(Action::Retry);
                    tracing::warn!(%error, retry_in = ?wait, "{task}");
                    self.control.stepped(task, Some(error.to_string()));
                    tokio::time::sleep(wait).await;
                }
                start => break start?,
            }
        };
        Ok(Tracker::new(
            self.genesis.rules.clone(),
            start,
            self.client.inbox_reader(self.genesis.l1.inbox),
            self.client.block_reader(&self.genesis),
            self.source.clone(),
        ))
    }

    fn poster(&self, key: &Key, tracker: Tracker, heads: watch::Sender<Heads>) -> Poster {
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
        let tx = self.tx_manager(key);
        let (poster, _) = Poster::new(config, tracker, tx, self.source.clone());
        poster.controlled(self.control.clone(), heads)
    }

    /// Follows L1, and posts where there is a key.
    async fn follow_l1(
        &self,
        task: &'static str,
        heads: watch::Sender<Heads>,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let tracker = self.tracker(task).await?;
        let closing = shutdown.cancelled_owned();
        let ended = match &self.config.batcher_key {
            Some(key) => Box::pin(self.poster(key, tracker, heads).run(closing)).await,
            None => {
                let poll = self.config.l1_poll;
                Box::pin(follow(tracker, heads, poll, (self.control.clone(), closing))).await
            }
        };
        self.ended(ended).await
    }

    /// A deep reorg is L1 taking back what was final, found at any time, also at the first look after a
    /// restart. The task halts, for somebody to look at; the heads are forgotten, so that the next start
    /// reads the Inbox from genesis and believes L1 as it is then.
    async fn ended(&self, ended: Result<(), PostError>) -> Result<(), NodeError> {
        let Err(error) = ended else { return Ok(()) };
        if matches!(error, PostError::Track(TrackError::DeepReorg(_))) {
            self.ledger.forget_heads().await?;
        }
        Err(error.into())
    }

    async fn propose(
        &self,
        key: &Key,
        heads: watch::Receiver<Heads>,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let config = ProposerConfig {
            outputs: self.genesis.l1.outputs,
            interval_blocks: self.config.output_interval_blocks,
            poll: self.config.l1_poll,
        };
        let (provider, tx) = (self.client.provider(), self.tx_manager(key));
        let proposer = Proposer::new(config, provider, tx, self.source.clone(), heads);
        let proposer = proposer.controlled(self.control.clone());
        Ok(Box::pin(proposer.run(shutdown.cancelled_owned())).await?)
    }
}

/// The tasks that send to L1: those whose key is here.
pub(super) fn senders(config: &Config) -> Vec<&'static str> {
    let keys = [(POSTER, &config.batcher_key), (PROPOSER, &config.proposer_key)];
    keys.into_iter().filter(|(_, key)| key.is_some()).map(|(task, _)| task).collect()
}

/// Starts all of it. Returns the heads on L1.
pub(super) async fn start(
    mut inputs: Inputs,
    tasks: &mut JoinSet<Result<(), NodeError>>,
    shutdown: &CancellationToken,
) -> Result<watch::Receiver<Heads>, NodeError> {
    let Config { batcher_key, proposer_key, .. } = inputs.config.clone();
    if !senders(&inputs.config).is_empty() {
        inputs.lock = Some(Arc::new(inputs.ledger.lock_posting().await?));
    }
    if inputs.ledger.is_paused().await? && inputs.lock.is_some() {
        tracing::warn!("paused by an operator before this start: nothing is sent until resume");
        inputs.control.pause();
    }
    let (sender, heads) = watch::channel(inputs.first_heads().await?);
    tasks.spawn(until(shutdown.clone(), keep_heads(inputs.ledger.clone(), heads.clone())));
    let task = if batcher_key.is_some() { POSTER } else { TRACKER };
    if batcher_key.is_none() {
        tracing::info!("no batcher key: nothing is posted from here; L1 is followed");
    }
    let follow = {
        let (inputs, shutdown) = (inputs.clone(), shutdown.clone());
        move || {
            let (inputs, shutdown, sender) = (inputs.clone(), shutdown.clone(), sender.clone());
            async move { inputs.follow_l1(task, sender, shutdown).await }
        }
    };
    tasks.spawn(supervise(task, follow, inputs.clone(), shutdown.clone()));
    if let Some(key) = proposer_key {
        let propose = {
            let (inputs, shutdown, heads) = (inputs.clone(), shutdown.clone(), heads.clone());
            move || {
                let (inputs, shutdown) = (inputs.clone(), shutdown.clone());
                let (key, heads) = (key.clone(), heads.clone());
                async move { inputs.propose(&key, heads, shutdown).await }
            }
        };
        tasks.spawn(supervise(PROPOSER, propose, inputs, shutdown.clone()));
    }
    Ok(heads)
}

/// Runs a task whose failure must not stop sequencing: it halts, `/ready` says why, and everything
/// else goes on until the operator has looked, and resumes it or starts the process again.
async fn supervise<F: Future<Output = Result<(), NodeError>> + Send>(
    task: &'static str,
    run: impl Fn() -> F + Send,
    inputs: Inputs,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    while let Err(error) = until(shutdown.clone(), run()).await {
        tracing::error!(%error, "{task} halted; everything else goes on");
        let action = match task {
            PROPOSER => "proposing halted",
            POSTER => "posting halted",
            _ => "tracking halted",
        };
        audit::note(&inputs.ledger, action, &error.to_string()).await;
        inputs.control.halt(task, error.to_string());
        tokio::select! {
            () = inputs.control.resumed(task) => tracing::info!("{task} tries again"),
            () = shutdown.cancelled() => return Ok(()),
        }
    }
    Ok(())
}

/// Writes every change of the heads. One that cannot be written is passed over: older heads in the
/// ledger only make the next start read more of L1.
async fn keep_heads(ledger: Ledger, mut heads: watch::Receiver<Heads>) -> Result<(), NodeError> {
    while heads.changed().await.is_ok() {
        let changed = *heads.borrow_and_update();
        if let Err(error) = ledger.set_heads(&changed).await {
            tracing::warn!(%error, "the heads are not in the ledger");
        }
    }
    Ok(())
}
