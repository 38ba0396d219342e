//! Starts what has to do with L1 beside the watcher: the poster where somebody signs for it and else
//! the tracker alone, the proposer where somebody signs for that. Keeps the heads that are found in the ledger: the
//! next start goes on from the finalized one instead of genesis.
//!
//! The same for a node and for a batcher in a process of its own; they differ in where blocks come from.
//! A task that halts is started anew when the operator resumes it.

use super::{NodeError, audit, until};
use crate::{
    l1_client::L1Client,
    settings::{Account, Accounts, BatchData, Config},
    store::{Ledger, PostingLock},
};
use batcher::{
    carrier::DataAvailability,
    control::Control,
    heads::{TRACKER, follow},
    poster::{Action, Backoff, POSTER, PostError, Posted, Poster, PosterConfig},
    proposer::{PROPOSER, Proposer, ProposerConfig},
    source::BlockSource,
    tracker::{Heads, TrackError, Tracker, TrackerStart},
    txmgr::{SubmissionStore, TxManager, WalletWatch},
};
use executor::Genesis;
use std::sync::Arc;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

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
    /// Sends for an account, and watches its money as long as that is polled.
    fn tx_manager(&self, account: &Account) -> (TxManager, WalletWatch) {
        let (provider, chain_id) = (self.client.provider(), self.genesis.l1.chain_id);
        // Whoever sends has the lock, and loses it where the database takes it away.
        let store: Arc<dyn SubmissionStore> = match &self.lock {
            Some(lock) => lock.clone(),
            None => Arc::new(self.ledger.clone()),
        };
        let accounts = &self.config.accounts;
        let (signer, sending) = (account.signer(), accounts.sending);
        let manager = TxManager::new(provider.clone(), signer, store.clone(), chain_id, sending);
        let control = manager.control();
        (manager, WalletWatch { provider, store, control, low: accounts.runway_low })
    }

    /// Where the run before says to start, if the chain has that block; else genesis. What it says of
    /// L1 is not checked here, because L1 may be away: see [`Inputs::ended`].
    async fn tracker_start(&self) -> Result<TrackerStart, NodeError> {
        let (_, header, hash) = self.genesis.build()?;
        let genesis = TrackerStart::genesis(&self.genesis, header, hash);
        let Some(heads) = self.ledger.heads().await? else { return Ok(genesis) };
        let (number, l1_block) = (heads.start.block.number, heads.start.l1_block);
        let block = self.source.block(number).await.map_err(PostError::from)?;
        let start = block.and_then(|block| TrackerStart::resume(&genesis, &heads, &block));
        match &start {
            Some(_) => tracing::info!(number, ?l1_block, "tracking L1 from"),
            None if number > 0 => tracing::warn!(number, "not our final block: from genesis"),
            None => {}
        }
        Ok(start.unwrap_or(genesis))
    }

    /// What is told until L1 was read: what was final in the run before.
    async fn first_heads(&self) -> Result<Heads, NodeError> {
        let Some(heads) = self.ledger.heads().await? else { return Ok(Heads::default()) };
        let finalized = heads.finalized;
        let block = self.source.block(finalized.block.number).await.ok().flatten();
        let is_ours = block.is_some_and(|block| block.id() == finalized.block);
        Ok(if is_ours { Heads { safe: finalized, ..heads } } else { Heads::default() })
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

    fn poster(&self, tx: TxManager, tracker: Tracker, telling: Telling) -> Poster {
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
        let (poster, _) = Poster::new(config, tracker, tx, self.source.clone());
        let poster = poster.keeping_evidence(self.config.data_dir.join("suspects"));
        poster.controlled(self.control.clone(), (telling.heads, telling.posted))
    }

    /// Follows L1, and posts where there is a key.
    async fn follow_l1(
        &self,
        task: &'static str,
        telling: Telling,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let tracker = self.tracker(task).await?;
        let closing = shutdown.cancelled_owned();
        let ended = match &self.config.accounts.batcher {
            Some(account) => {
                let (tx, wallet) = self.tx_manager(account);
                let posting = Box::pin(self.poster(tx, tracker, telling).run(closing));
                while_watching(wallet, posting).await
            }
            None => {
                let poll = self.config.l1_poll;
                let control = self.control.clone();
                Box::pin(follow(tracker, telling.heads, poll, (control, closing))).await
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
        account: &Account,
        heads: watch::Receiver<Heads>,
        shutdown: CancellationToken,
    ) -> Result<(), NodeError> {
        let config = ProposerConfig {
            outputs: self.genesis.l1.outputs,
            interval_blocks: self.config.output_interval_blocks,
            poll: self.config.l1_poll,
        };
        let (provider, (tx, wallet)) = (self.client.provider(), self.tx_manager(account));
        let proposer = Proposer::new(config, provider, tx, self.source.clone(), heads);
        let proposer = proposer.controlled(self.control.clone());
        let proposing = Box::pin(proposer.run(shutdown.cancelled_owned()));
        Ok(while_watching(wallet, proposing).await?)
    }
}

/// The account's money is watched as long as the task runs.
async fn while_watching<T>(wallet: WalletWatch, task: impl Future<Output = T>) -> T {
    tokio::select! {
        ended = task => ended,
        never = wallet.run() => match never {},
    }
}

/// The tasks that send to L1: those that somebody signs for here.
pub(super) fn senders(config: &Config) -> Vec<&'static str> {
    let Accounts { batcher, proposer, .. } = &config.accounts;
    let accounts = [(POSTER, batcher), (PROPOSER, proposer)];
    accounts.into_iter().filter(|(_, account)| account.is_some()).map(|(task, _)| task).collect()
}

/// What is told of L1 and of posting.
#[derive(Clone, Debug)]
pub(super) struct Posting {
    pub(super) heads: watch::Receiver<Heads>,
    pub(super) posted: watch::Receiver<Posted>,
}

/// The ends that tell it; they outlive the poster, which may halt and be started anew.
#[derive(Clone)]
struct Telling {
    heads: watch::Sender<Heads>,
    posted: watch::Sender<Posted>,
}

/// Starts all of it.
pub(super) async fn start(
    mut inputs: Inputs,
    tasks: &mut JoinSet<Result<(), NodeError>>,
    shutdown: &CancellationToken,
) -> Result<Posting, NodeError> {
    let Accounts { batcher, proposer, .. } = inputs.config.accounts.clone();
    if !senders(&inputs.config).is_empty() {
        inputs.lock = Some(Arc::new(inputs.ledger.lock_posting().await?));
    }
    if inputs.ledger.is_paused().await? && inputs.lock.is_some() {
        tracing::warn!("paused by an operator before this start: nothing is sent until resume");
        inputs.control.pause();
    }
    let telling = Telling {
        heads: watch::Sender::new(inputs.first_heads().await?),
        posted: watch::Sender::default(),
    };
    let (heads, posted) = (telling.heads.subscribe(), telling.posted.subscribe());
    tasks.spawn(until(shutdown.clone(), keep_heads(inputs.ledger.clone(), heads.clone())));
    let task = if batcher.is_some() { POSTER } else { TRACKER };
    if batcher.is_none() {
        tracing::info!("nobody signs for a batcher: nothing is posted from here; L1 is followed");
    }
    let follow = {
        let (inputs, shutdown) = (inputs.clone(), shutdown.clone());
        move || {
            let (inputs, shutdown, telling) = (inputs.clone(), shutdown.clone(), telling.clone());
            async move { inputs.follow_l1(task, telling, shutdown).await }
        }
    };
    tasks.spawn(supervise(task, follow, inputs.clone(), shutdown.clone()));
    if let Some(account) = proposer {
        let propose = {
            let (inputs, shutdown, heads) = (inputs.clone(), shutdown.clone(), heads.clone());
            move || {
                let (inputs, shutdown) = (inputs.clone(), shutdown.clone());
                let (account, heads) = (account.clone(), heads.clone());
                async move { inputs.propose(&account, heads, shutdown).await }
            }
        };
        tasks.spawn(supervise(PROPOSER, propose, inputs, shutdown.clone()));
    }
    Ok(Posting { heads, posted })
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
