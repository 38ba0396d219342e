//! The poster: gets L2 blocks into the Inbox, each once, and again when L1 drops them.
//!
//! Every step starts from what L1 has now (the [`Tracker`]) and decides what comes next there, so
//! that start, restart and reorg are one path: finish what may be in flight; post again a frame
//! that was confirmed on exactly this Inbox position before and is not there any more; else post
//! the encoder's next frame. The Inbox itself refuses a second append on the same position.
//!
//! A channel of several frames that a restart interrupts is posted anew from its first frame.
//! Does not seal blocks and does not propose outputs.

mod action;
mod gate;

pub use action::{Action, Backoff};
pub use gate::{Finding, GateError, Suspect};

use crate::{
    archive::ArchiveError,
    carrier::{
        APPEND_BLOBS_GAS, APPEND_CALLDATA_GAS, CALLDATA_BYTE_GAS, Carrier, DataAvailability,
    },
    control::Control,
    encoder::{BlockId, EncodeError, Encoder, EncoderConfig, SourceBlock, Submission},
    format::{ChannelId, blob},
    heads::tell,
    l1::InboxPosition,
    source::{BlockSource, SourceError},
    tracker::{Heads, TrackError, Tracker},
    txmgr::{AppendPurpose, Call, Inclusion, Purpose, Sent, TxError, TxManager},
};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256, Bytes},
    sol_types::SolCall,
};
use contracts::Inbox;
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// By this name it is shown.
pub const POSTER: &str = "poster";

/// Blocks offered to the encoder in one step: bounds a step's work after a long pause.
const BLOCKS_PER_STEP_MAX: u32 = 4_096;

/// How blocks are posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosterConfig {
    /// The Inbox.
    pub inbox: Address,
    /// What carries the frames.
    pub availability: DataAvailability,
    /// When channels close.
    pub encoder: EncoderConfig,
    /// Wait between two steps with nothing to do.
    pub poll: Duration,
}

/// What was posted since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Posted {
    /// Appends that are on L1, those that were posted again among them.
    pub batches: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// What they cost, for gas and blobs.
    pub cost_wei: u128,
}

/// Posting failed; [`PostError::action`] says what follows.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// While reading L1.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// While sending.
    #[error(transparent)]
    Tx(#[from] TxError),
    /// While reading L2.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// While encoding.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What is to be posted was not passed by the gate.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// What is to be posted cannot be archived first.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The encoder panicked.
    #[error("the encoder stopped")]
    EncoderStopped,
    /// The L2 chain is built on an L1 block that was reorganised out: the node has to rebuild.
    #[error("L2 block {0} has an L1 origin that is not canonical")]
    StaleOrigin(u64),
    /// The Inbox takes appends from another account.
    #[error("the inbox takes appends from {inbox}, this is {account}")]
    NotSequencer {
        /// Who may append.
        inbox: Address,
        /// Who tried.
        account: Address,
    },
    /// An append reverted on the very Inbox that it was made for: the next one would as well, and is paid.
    #[error(
        "append {batch_id} reverted although the inbox was as it expects, in L1 transaction {tx_hash}"
    )]
    Reverted {
        /// The append.
        batch_id: u64,
        /// The transaction.
        tx_hash: B256,
    },
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// L1 is not read to its end yet.
    CatchingUp,
    /// Nothing to post.
    Idle,
    /// A frame is on L1.
    Posted(Inclusion),
    /// A frame that L1 had dropped is there again.
    Reposted(Inclusion),
    /// The append did not take effect: the Inbox had moved on, or the nonce was taken, or somebody
    /// had it cancelled. The next step sees why.
    Overtaken,
}

/// The task's state.
#[allow(missing_debug_implementations, reason = "holds a signer, which has no Debug")]
pub struct Poster {
    config: PosterConfig,
    tracker: Tracker,
    encoder: Encoder,
    tx: TxManager,
    source: Arc<dyn BlockSource>,
    heads: watch::Sender<Heads>,
    control: Control,
    posted: watch::Sender<Posted>,
    /// The channel that the gate has let through last.
    passed: Option<ChannelId>,
    /// Where what shows a mistake is kept.
    evidence: Option<PathBuf>,
    /// Nothing of an earlier run or step can be in flight.
    is_settled: bool,
}

impl Poster {
    /// Posts what `source` has. The receiver sees every change of the heads.
    #[must_use]
    pub fn new(
        config: PosterConfig,
        tracker: Tracker,
        tx: TxManager,
        source: Arc<dyn BlockSource>,
    ) -> (Self, watch::Receiver<Heads>) {
        let encoder = Encoder::new(config.encoder, tracker.safe_head().block);
        let (heads, receiver) = watch::channel(tracker.heads());
        let poster = Self {
            config,
            tracker,
            encoder,
            tx,
            source,
            heads,
            control: Control::default(),
            posted: watch::Sender::default(),
            passed: None,
            evidence: None,
            is_settled: false,
        };
        (poster, receiver)
    }

    /// Keeps below this directory what shows that a channel must not be posted.
    #[must_use]
    pub fn keeping_evidence(mut self, directory: PathBuf) -> Self {
        self.evidence = Some(directory);
        self
    }

    /// Listens to an operator, and tells heads and what was posted to those who listen already.
    #[must_use]
    pub fn controlled(
        mut self,
        control: Control,
        (heads, posted): (watch::Sender<Heads>, watch::Sender<Posted>),
    ) -> Self {
        control.show_sender(POSTER, self.tx.control());
        (self.control, self.heads, self.posted) = (control, heads, posted);
        self
    }

    /// Loads the KZG setup and steps until `shutdown` completes, waiting where there is nothing to
    /// do.
    ///
    /// # Errors
    /// The first [`PostError`] whose action is [`Action::Halt`].
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), PostError> {
        let steps = async {
            if self.config.availability != DataAvailability::Calldata {
                crate::kzg::load().await.map_err(TxError::from)?;
            }
            let mut backoff = Backoff::new(self.config.poll);
            loop {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let now_secs = now.map_or(0, |now| now.as_secs());
                let stepped = self.step(now_secs).await;
                self.control.stepped(POSTER, stepped.as_ref().err().map(ToString::to_string));
                let wait = match stepped {
                    Ok(Progress::Idle | Progress::Overtaken) => backoff.reset(),
                    Ok(progress) => {
                        tracing::debug!(?progress, "poster");
                        backoff.reset();
                        continue;
                    }
                    Err(error) if error.action() == Action::Halt => return Err(error),
                    // Its control says once what keeps the account from sending.
                    Err(PostError::Tx(error)) if error.hold().is_some() => {
                        tracing::debug!(%error, "poster");
                        backoff.reset()
                    }
                    Err(error) => {
                        let wait = backoff.after(error.action());
                        tracing::warn!(%error, retry_in = ?wait, "poster");
                        wait
                    }
                };
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = self.control.asked() => {}
                }
            }
        };
        tokio::select! {
            halted = steps => halted,
            () = shutdown => Ok(()),
        }
    }

    /// One round: read L1, publish the heads, post at most one frame. `now_secs` is the clock that
    /// a channel's age is measured by.
    ///
    /// # Errors
    /// [`PostError`]; the next step is safe after any of them.
    pub async fn step(&mut self, now_secs: u64) -> Result<Progress, PostError> {
        if !self.is_settled {
            self.settle().await?;
        }
        let is_caught_up = self.tracker.sync().await?;
        self.publish().await?;
        if !is_caught_up {
            return Ok(Progress::CatchingUp);
        }
        let safe = self.tracker.safe_head();
        if self.control.is_paused() {
            return Ok(Progress::Idle);
        }
        if let Some(dropped) = self.dropped_append(safe.position).await? {
            let progress = self.post(dropped).await?;
            return Ok(match progress {
                Progress::Posted(inclusion) => Progress::Reposted(inclusion),
                other => other,
            });
        }
        self.encoder.align(safe.block, &self.tracker.history(), self.tracker.open_channel());
        self.drop_lost_blocks(safe.block).await?;
        self.feed(now_secs).await?;
        let Some(submission) = self.encoder.next_submission() else { return Ok(Progress::Idle) };
        self.pass_gate(&submission).await?;
        let id = submission.id;
        let progress = self.post(purpose(safe.position, submission)).await?;
        if let Progress::Posted(_) = progress {
            self.encoder.confirm(id);
        }
        Ok(progress)
    }

    /// Brings what may be in flight to its end.
    async fn settle(&mut self) -> Result<(), PostError> {
        let ended = self.tx.resume().await?;
        self.is_settled = true;
        for (record, sent) in ended {
            if let (Purpose::Append(append), Sent::Reverted(inclusion)) = (record.purpose, sent) {
                self.check_revert(append.parent, &inclusion).await?;
            }
        }
        Ok(())
    }

    /// An append that reverted because the Inbox had moved on is overtaken; any other reverts again.
    async fn check_revert(
        &self,
        parent: InboxPosition,
        inclusion: &Inclusion,
    ) -> Result<(), PostError> {
        let (tx_hash, batch_id) = (inclusion.tx_hash, parent.next_batch);
        // After the block: the Inbox only grows, so it was there before it as well.
        let state = self.tracker.inbox().state(inclusion.l1_block).await;
        let state = state.map_err(TrackError::from)?;
        if state.position == parent && state.sequencer == self.tx.account() {
            return Err(PostError::Reverted { batch_id, tx_hash });
        }
        tracing::warn!(batch_id, l1_block = inclusion.l1_block.number, %tx_hash, "an append reverted");
        Ok(())
    }

    async fn publish(&mut self) -> Result<(), PostError> {
        let heads = self.tracker.read_heads().await?;
        if tell(&self.heads, heads) {
            let batch_id = heads.finalized.position.next_batch;
            let forgotten = self.tx.store().forget_appends_before(batch_id).await;
            forgotten.map_err(TxError::from)?;
        }
        Ok(())
    }

    /// A frame that was confirmed on `position` once, when its blocks are still the node's and what it
    /// would be sent by today takes as much.
    async fn dropped_append(
        &self,
        position: InboxPosition,
    ) -> Result<Option<AppendPurpose>, PostError> {
        let record = self.tx.store().confirmed_append(position).await.map_err(TxError::from)?;
        let Some(Purpose::Append(append)) = record.map(|record| record.purpose) else {
            return Ok(None);
        };
        if append.frame.len() > self.config.availability.frame_bytes_max() {
            return Ok(None);
        }
        let block = self.source.block(append.last_block.number).await?;
        let is_ours = block.is_some_and(|block| block.hash == append.last_block.hash);
        Ok(is_ours.then_some(append))
    }

    /// When the node's chain changed above the safe head, what was encoded of it is void.
    async fn drop_lost_blocks(&mut self, safe: BlockId) -> Result<(), PostError> {
        let tip = self.encoder.tip();
        if tip != safe && self.source.block(tip.number).await?.is_none_or(|b| b.hash != tip.hash) {
            tracing::warn!(tip = tip.number, safe = safe.number, "L2 was reorganised");
            self.encoder.reset(safe, self.tracker.history());
        }
        Ok(())
    }

    /// Offers the node's blocks to the encoder.
    async fn feed(&mut self, now_secs: u64) -> Result<(), PostError> {
        let wanted = self.control.flush_to();
        let head = self.source.head().await?;
        self.control.flushed(wanted, self.tracker.safe_head().block.number, head.number);
        if self.config.availability == DataAvailability::Cheaper {
            let market = self.tx.market().await.map_err(TxError::from)?;
            let carrier = self.config.availability.carrier_of_full(&market);
            self.encoder.fill_frames_of(carrier.frame_bytes_max());
        }
        for _ in 0..BLOCKS_PER_STEP_MAX {
            let number = self.encoder.tip().number + 1;
            if number > head.number {
                break;
            }
            let Some(block) = self.source.block(number).await? else { break };
            let height = head.number;
            let added = self.encode(move |encoder| {
                encoder.observe_head(height);
                encoder.add_block(&block, now_secs)
            });
            match added.await? {
                Ok(()) => {}
                Err(EncodeError::Full) => break,
                Err(error @ EncodeError::NotNext { .. }) => {
                    // The node's chain changes while it is read.
                    let safe = self.tracker.safe_head().block;
                    self.encoder.reset(safe, self.tracker.history());
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let flush_to = self.control.flush_to().map(|to| to.min(head.number));
        let flush_to = flush_to.filter(|to| self.encoder.tip().number >= *to);
        let step = move |encoder: &mut Encoder| match flush_to {
            Some(to) => encoder.close_through(to).and_then(|()| encoder.step(now_secs)),
            None => encoder.step(now_secs),
        };
        Ok(self.encode(step).await??)
    }

    /// Lets the encoder work on a thread where it holds nobody up: a channel takes up to a second.
    async fn encode<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Encoder) -> T + Send + 'static,
    ) -> Result<T, PostError> {
        let idle = Encoder::new(self.config.encoder, self.tracker.safe_head().block);
        let mut encoder = std::mem::replace(&mut self.encoder, idle);
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&mut encoder);
            (encoder, done)
        });
        let (encoder, done) = working.await.map_err(|_| PostError::EncoderStopped)?;
        self.encoder = encoder;
        Ok(done)
    }

    async fn post(&mut self, append: AppendPurpose) -> Result<Progress, PostError> {
        self.check_origin(append.last_block).await?;
        let inbox = self.tracker.inbox();
        let latest = inbox.block_id(BlockNumberOrTag::Latest).await.map_err(TrackError::from)?;
        let Some(latest) = latest else { return Ok(Progress::Overtaken) };
        let state = inbox.state(latest).await.map_err(TrackError::from)?;
        if state.position != append.parent {
            return Ok(Progress::Overtaken);
        }
        let account = self.tx.account();
        if state.sequencer != account {
            return Err(PostError::NotSequencer { inbox: state.sequencer, account });
        }
        let call = self.call(&append).await?;
        // Before it is sent: L1 may drop it again, and forgets it one day.
        if let Some(archive) = self.tracker.inbox().archive() {
            let in_blobs = call.blob_payload.is_some();
            let carrier = if in_blobs { Carrier::Blob } else { Carrier::Calldata };
            archive.keep_frame(&append.frame, carrier).await?;
        }
        let (parent, bytes) = (append.parent, append.frame.len());
        let batch_id = parent.next_batch;
        let Some(_passed) = self.control.begin(POSTER, "an append") else {
            return Ok(Progress::Idle);
        };
        // Until the manager is done with it, the transaction may be in flight.
        self.is_settled = false;
        let sent = self.tx.submit(Purpose::Append(append), call).await?;
        self.is_settled = true;
        match sent {
            Sent::Confirmed(inclusion) => {
                let Inclusion { tx_hash, l1_block, gas_used, cost_wei } = inclusion;
                let l1_block = l1_block.number;
                tracing::info!(batch_id, bytes, l1_block, %tx_hash, gas_used, cost_wei, "batch posted");
                self.posted.send_modify(|posted| {
                    posted.batches += 1;
                    posted.bytes += bytes as u64;
                    posted.cost_wei += cost_wei;
                });
                Ok(Progress::Posted(inclusion))
            }
            Sent::Reverted(inclusion) => {
                self.check_revert(parent, &inclusion).await?;
                Ok(Progress::Overtaken)
            }
            Sent::Cancelled(inclusion) => {
                tracing::warn!(batch_id, tx_hash = %inclusion.tx_hash, "an append was cancelled");
                Ok(Progress::Overtaken)
            }
            Sent::Lost => Ok(Progress::Overtaken),
        }
    }

    /// A block on a reorganised L1 block would be dropped by derivation; it is not worth posting.
    async fn check_origin(&self, last_block: BlockId) -> Result<(), PostError> {
        let number = last_block.number;
        let block = self.source.block(number).await?;
        let block = block.filter(|block| block.hash == last_block.hash);
        let Some(origin) = block.as_ref().and_then(SourceBlock::attributes) else {
            return Err(PostError::StaleOrigin(number));
        };
        let canonical = self.tracker.inbox().block_id(origin.number.into()).await;
        match canonical.map_err(TrackError::from)? {
            Some(l1_block) if l1_block.hash == origin.hash => Ok(()),
            _ => Err(PostError::StaleOrigin(number)),
        }
    }

    async fn call(&self, append: &AppendPurpose) -> Result<Call, PostError> {
        let (to, acc, frame) = (self.config.inbox, append.parent.acc, append.frame.clone());
        let carrier = match self.config.availability {
            DataAvailability::Blob => Carrier::Blob,
            DataAvailability::Calldata => Carrier::Calldata,
            cheaper => {
                let market = self.tx.market().await.map_err(TxError::from)?;
                cheaper.carrier(frame.len(), &market)
            }
        };
        Ok(match carrier {
            Carrier::Blob => {
                let count = blob::blob_count(frame.len());
                let call = Inbox::appendBlobsCall {
                    parentAcc: acc,
                    nBlobs: alloy::primitives::U256::from(count),
                    meta: Bytes::new(),
                };
                let input = call.abi_encode().into();
                Call { to, input, blob_payload: Some(frame), gas_limit: APPEND_BLOBS_GAS }
            }
            Carrier::Calldata => {
                let gas_limit = APPEND_CALLDATA_GAS + CALLDATA_BYTE_GAS * frame.len() as u64;
                let input = Inbox::appendCalldataCall { parentAcc: acc, data: frame }.abi_encode();
                Call { to, input: input.into(), blob_payload: None, gas_limit }
            }
        })
    }
}

fn purpose(parent: InboxPosition, submission: Submission) -> AppendPurpose {
    AppendPurpose {
        parent,
        channel: submission.channel,
        index: submission.index,
        is_last: submission.is_last,
        first_parent: submission.parent,
        last_block: submission.last_block,
        frame: submission.frame,
    }
}
