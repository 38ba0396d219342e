//! The transaction manager: gets one call of one account onto L1, across crashes, full pools and
//! rising fees.
//!
//! Owns nonces, fees, signing, broadcasting and waiting. One transaction of an account is in flight
//! at a time: pools refuse blob and plain transactions of one account side by side, a nonce gap
//! cannot arise, and each append needs the accumulator of the one before it anyway. Several in
//! flight is a later step.
//!
//! Does not know what a call means: a revert is an outcome, and reading why is the caller's.

pub mod budget;
pub mod control;
pub mod fees;
pub mod remote;
pub mod sign;
pub mod store;
pub mod wallet;

pub use budget::{Budget, OverBudget};
pub use control::{Cancel, CancelError, Cancelled, Hold, InFlight, TxControl, TxStatus};
pub use fees::{FeeCaps, Fees, Market};
pub use remote::{RemoteSigner, RemoteSignerError};
pub use sign::L1Signer;
pub use store::{
    AppendPurpose, Attempt, Call, Cost, Inclusion, MemoryStore, Purpose, Record, RecordId, Status,
    StoreError, SubmissionStore,
};
pub use wallet::{Wallet, WalletWatch};

use crate::{
    encoder::BlockId,
    format::blob::blob_count,
    kzg::KzgError,
    l1::{
        L1Error, Standing,
        refusal::{Refusal, classify},
        retry, standing,
    },
};
use alloy::{
    eips::eip7594::BlobTransactionSidecarEip7594,
    primitives::Address,
    providers::{DynProvider, Provider},
    rpc::types::TransactionReceipt,
};
use budget::DAY_SECS;
use sign::{Sidecars, cancelling_call, empty_sidecar, sidecar_of, sign};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// How transactions are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxConfig {
    /// Blocks, the including one counted, until a transaction counts as confirmed; at least 1.
    /// A deeper reorg is the poster's to notice.
    pub confirmations: u64,
    /// Wait between two looks at L1.
    pub poll: Duration,
    /// Without inclusion for this long, a replacement with higher fees is sent.
    pub bump_after: Duration,
    /// Most attempts of one record that the market does not ask for. After the last the manager keeps
    /// waiting and says so, and raises only what L1's fees have risen above.
    pub attempts_max: usize,
    /// The most that is offered.
    pub caps: FeeCaps,
    /// The most that is spent.
    pub budget: Budget,
}

impl Default for TxConfig {
    fn default() -> Self {
        Self {
            confirmations: 1,
            poll: Duration::from_secs(2),
            bump_after: Duration::from_secs(90),
            attempts_max: 10,
            caps: FeeCaps::default(),
            budget: Budget::default(),
        }
    }
}

/// A transaction could not be brought to an end, grouped by what the caller does.
#[derive(Debug, thiserror::Error)]
pub enum TxError {
    /// As in [`L1Error`].
    #[error(transparent)]
    L1(#[from] L1Error),
    /// Retry later: L1's fees are above the caps. Nothing was stored or sent.
    #[error("L1 fees are above the caps")]
    FeesAboveCaps,
    /// Retry later: the transaction might cost more than the budget leaves. Nothing was stored or sent.
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// Retry later: the signer does not answer. Nothing was stored or sent.
    #[error("signer: {0}")]
    Signer(#[from] alloy::signers::Error),
    /// Retry later: the account cannot pay. What was stored stays open, and is sent when it can.
    #[error(transparent)]
    Unfunded(Shortfall),
    /// Resume first: an earlier transaction of this account is still open.
    #[error("an earlier transaction of the account is still open")]
    StillOpen,
    /// As in [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Halt: the endpoint refuses the transaction for what it is (gas, type). What L1 never took is given
    /// up, so that whoever goes on decides anew.
    #[error("L1 refuses the transaction: {0}")]
    Refused(alloy::transports::TransportError),
}

/// An account that has less than its transaction may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("account {account} has {has_wei} wei, its L1 transaction may cost {needs_wei} wei")]
pub struct Shortfall {
    /// The account.
    pub account: Address,
    /// Most that the transaction can cost.
    pub needs_wei: u128,
    /// Its balance.
    pub has_wei: u128,
}

impl From<KzgError> for TxError {
    fn from(error: KzgError) -> Self {
        Self::L1(error.into())
    }
}

/// How a submission ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Included and succeeded.
    Confirmed(Inclusion),
    /// Included and reverted.
    Reverted(Inclusion),
    /// Somebody had it cancelled, and what was included instead does nothing.
    Cancelled(Inclusion),
    /// Another transaction took the nonce, or L1 dropped one before it: this one is not waited for.
    Lost,
}

/// What became of sending an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offered {
    /// L1 has it.
    Taken,
    /// It does not; looking at L1 says why.
    Waiting,
    /// Something that pays more is in its place, or L1 asks for more.
    Underpriced,
}

/// Sends the transactions of one account.
#[allow(missing_debug_implementations, reason = "holds a signer, which has no Debug")]
pub struct TxManager {
    provider: DynProvider,
    signer: Arc<L1Signer>,
    store: Arc<dyn SubmissionStore>,
    chain_id: u64,
    config: TxConfig,
    control: TxControl,
    sidecars: Sidecars,
    // Held for a copy only, never across an await.
    waiting: Mutex<Option<Waiting>>,
}

/// How long an attempt waits to be included: it goes on when looking at L1 fails in between.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: RecordId,
    /// Attempts of the record so far.
    attempts: usize,
    since: Instant,
    offered: Offered,
}

impl TxManager {
    /// Sends for `signer` on the L1 chain `chain_id`. No other process may send for this account.
    #[must_use]
    pub fn new(
        provider: DynProvider,
        signer: Arc<L1Signer>,
        store: Arc<dyn SubmissionStore>,
        chain_id: u64,
        config: TxConfig,
    ) -> Self {
        let control = TxControl::new(signer.address());
        let (sidecars, waiting) = (Sidecars::default(), Mutex::default());
        Self { provider, signer, store, chain_id, config, control, sidecars, waiting }
    }

    /// The handle by which others see what this manager does, and have it cancel a transaction.
    #[must_use]
    pub fn control(&self) -> TxControl {
        self.control.clone()
    }

    /// The sending account.
    #[must_use]
    pub fn account(&self) -> Address {
        self.signer.address()
    }

    /// The records.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn SubmissionStore> {
        &self.store
    }

    /// Brings what an earlier run left open to its end. Call it before the first [`Self::submit`],
    /// and after a submit that was cancelled or failed.
    ///
    /// # Errors
    /// [`TxError`]; what was not ended stays open.
    pub async fn resume(&self) -> Result<Vec<(Record, Sent)>, TxError> {
        let mut ended = Vec::new();
        for mut record in self.store.open(self.account()).await? {
            let sent = self.drive(&mut record).await.inspect_err(|error| self.note(error))?;
            ended.push((record, sent));
        }
        Ok(ended)
    }

    /// Stores, sends and waits for a call. Dropping the future is safe at every point:
    /// [`Self::resume`] continues.
    ///
    /// # Errors
    /// [`TxError`]. Unless it says that nothing was stored, the record stays open.
    pub async fn submit(&self, purpose: Purpose, call: Call) -> Result<Sent, TxError> {
        let sent = async {
            let mut record = self.prepare(purpose, call).await?;
            self.drive(&mut record).await
        };
        sent.await.inspect_err(|error| self.note(error))
    }

    /// Shows what is in the way; an error of L1 says nothing about that.
    fn note(&self, error: &TxError) {
        let Some(hold) = error.hold() else { return };
        if hold == Hold::SignerAway && self.control.status().hold != Some(hold) {
            tracing::warn!(%error, account = %self.account(), "nothing was signed");
        }
        self.control.hold(Some(hold));
    }

    /// Signs and stores, sends nothing.
    async fn prepare(&self, purpose: Purpose, call: Call) -> Result<Record, TxError> {
        let account = self.account();
        if !self.store.open(account).await?.is_empty() {
            return Err(TxError::StillOpen);
        }
        let blobs = call.blob_payload.as_ref().map_or(0, |payload| blob_count(payload.len()));
        let market = self.market().await?;
        let fees = market.offer(call.blob_payload.is_some(), &self.config.caps);
        let fees = fees.ok_or(TxError::FeesAboveCaps)?;
        let cost_max_wei = fees.cost_max_wei(call.gas_limit, blobs);
        self.check_payable(cost_max_wei).await?;
        self.check_budget(cost_max_wei).await?;
        let nonce = self.next_nonce().await?;
        let id = (self.chain_id, nonce);
        // Last, and once: it is by far the most work, and everything before may hold for hours.
        let sidecar = self.sidecars.of(&call).await?;
        let attempt = sign(self.signer.as_ref(), id, &call, fees, sidecar).await?;
        self.sidecars.forget();
        let attempts = vec![attempt];
        let status = Status::Stored;
        let mut record = Record { id: 0, account, nonce, purpose, call, attempts, status };
        record.id = self.store.insert(&record).await?;
        Ok(record)
    }

    /// Sends and waits until the record is at its end. While it is not, the record is in flight for
    /// everybody who looks, also between two calls of this.
    async fn drive(&self, record: &mut Record) -> Result<Sent, TxError> {
        self.control.show(record);
        let sent = self.wait_for_end(record).await?;
        record.status = match sent {
            Sent::Confirmed(inclusion) => Status::Confirmed(inclusion),
            Sent::Reverted(inclusion) => Status::Reverted(inclusion),
            Sent::Cancelled(inclusion) => Status::Cancelled(inclusion),
            Sent::Lost => Status::Dropped,
        };
        self.store.update(record).await?;
        self.control.ended();
        self.control.hold(None);
        Ok(sent)
    }

    async fn wait_for_end(&self, record: &mut Record) -> Result<Sent, TxError> {
        // The newest L1 block when the transaction first looked lost.
        let mut lost_at = None;
        loop {
            let sent = self.look(record).await?;
            // An endpoint may know the nonce before the receipt: only a second look in a row is believed,
            // at another block.
            if sent == Some(Sent::Lost) {
                let latest = retry(async || self.provider.get_block_number().await).await?;
                if latest <= *lost_at.get_or_insert(latest) {
                    tokio::time::sleep(self.config.poll).await;
                    continue;
                }
            }
            if let Some(sent) = sent {
                return Ok(sent);
            }
            lost_at = None;
            let cancels = self.control.wants_cancel(record.id) && !is_cancelling(record);
            let Waiting { since, offered, .. } = self.waiting(record);
            let is_due =
                offered == Offered::Underpriced || since.elapsed() >= self.config.bump_after;
            let is_cancelled = cancels && self.cancel(record).await?;
            if is_due && !is_cancelled {
                self.bump(record).await?;
            }
            // A reorg or a full pool forgets transactions, so what is not known is sent again.
            let waiting = self.waiting(record);
            if waiting.offered != Offered::Taken || !self.is_in_pool(record).await? {
                let offered = self.broadcast(record).await?;
                *self.waits() = Some(Waiting { offered, ..waiting });
            }
            tokio::select! {
                () = tokio::time::sleep(self.config.poll) => {}
                () = self.control.asked() => {}
            }
        }
    }

    /// How long the newest attempt of a record waits; one that is new has not been offered.
    fn waiting(&self, record: &Record) -> Waiting {
        let (id, attempts) = (record.id, record.attempts.len());
        let new = Waiting { id, attempts, since: Instant::now(), offered: Offered::Waiting };
        let mut waits = self.waits();
        let known = waits.filter(|known| (known.id, known.attempts) == (id, attempts));
        *waits.insert(known.unwrap_or(new))
    }

    fn waits(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What L1 says about the record; `None` while it is still to be waited for.
    async fn look(&self, record: &Record) -> Result<Option<Sent>, TxError> {
        // The nonce is read first: if it is used up afterwards no receipt can be missing for long.
        let next_nonce = self.next_nonce().await?;
        if next_nonce < record.nonce {
            // L1 dropped an earlier transaction that was confirmed, and this one waits for it. Its sender
            // sees from L1 what is missing and sends that; should both get there, one is refused.
            return Ok(Some(Sent::Lost));
        }
        if next_nonce == record.nonce {
            return Ok(None);
        }
        for attempt in record.attempts.iter().rev() {
            let hash = attempt.tx_hash;
            let receipt = retry(async || self.provider.get_transaction_receipt(hash).await).await?;
            let Some(receipt) = receipt else { continue };
            let Some(inclusion) = inclusion(&receipt) else { return Ok(None) };
            if !self.is_deep(inclusion.l1_block).await? {
                return Ok(None);
            }
            return Ok(Some(match (attempt.is_cancel, receipt.status()) {
                (true, _) => Sent::Cancelled(inclusion),
                (false, true) => Sent::Confirmed(inclusion),
                (false, false) => Sent::Reverted(inclusion),
            }));
        }
        // No attempt has a receipt although the nonce is used: unless a reorg happened in between,
        // someone else used it.
        let still_used = self.next_nonce().await? > record.nonce;
        Ok(still_used.then_some(Sent::Lost))
    }

    async fn is_deep(&self, block: BlockId) -> Result<bool, TxError> {
        let latest = retry(async || self.provider.get_block_number().await).await?;
        let depth = (latest + 1).saturating_sub(block.number);
        Ok(depth >= self.config.confirmations.max(1)
            && standing(&self.provider, block).await? == Standing::Canonical)
    }

    async fn is_in_pool(&self, record: &Record) -> Result<bool, TxError> {
        let Some(attempt) = record.attempts.last() else { return Ok(false) };
        let hash = attempt.tx_hash;
        let found = retry(async || self.provider.get_transaction_by_hash(hash).await).await?;
        Ok(found.is_some())
    }

    /// Sends the newest attempt. Whether it is in the way of something dearer.
    async fn broadcast(&self, record: &mut Record) -> Result<Offered, TxError> {
        let (nonce, Some(attempt)) = (record.nonce, record.attempts.last()) else {
            return Ok(Offered::Waiting);
        };
        if let Err(error) = self.provider.send_raw_transaction(&attempt.raw).await {
            match classify(&error) {
                Refusal::Known => {}
                Refusal::Underpriced => {
                    tracing::warn!(%error, nonce, "an L1 transaction offers too little");
                    return Ok(Offered::Underpriced);
                }
                // Looking at L1 decides what happened to the nonce.
                Refusal::NonceUsed => return Ok(Offered::Waiting),
                Refusal::Transient => {
                    tracing::warn!(%error, nonce, "L1 did not take a transaction");
                    return Ok(Offered::Waiting);
                }
                Refusal::Unfunded => {
                    let has_wei = self.balance_wei().await?;
                    let needs_wei = attempt.cost_max_wei(record);
                    return Err(self.shortfall(needs_wei, has_wei));
                }
                Refusal::Final => {
                    if record.status == Status::Stored {
                        record.status = Status::Dropped;
                        self.store.update(record).await?;
                        self.control.ended();
                    }
                    return Err(TxError::Refused(error));
                }
            }
        }
        if record.status == Status::Stored {
            record.status = Status::Broadcast;
            self.store.update(record).await?;
        }
        self.control.taken(record);
        Ok(Offered::Taken)
    }

    /// Adds an attempt with higher fees, stored before it is sent. Where that cannot be, what was sent is
    /// waited for, and the next look tries again.
    async fn bump(&self, record: &mut Record) -> Result<(), TxError> {
        let Some(last) = record.attempts.last() else { return Ok(()) };
        let market = self.market().await?;
        let attempts = record.attempts.len();
        // Beyond their number attempts are raised only after the market, and the caps end that.
        if attempts >= self.config.attempts_max && last.fees.covers(&market) {
            self.control.hold(Some(Hold::Stuck));
            return Ok(());
        }
        let (is_cancel, sidecar) = (last.is_cancel, sidecar_of(&last.raw));
        let call = if is_cancel { cancelling_call(self.account()) } else { record.call.clone() };
        match self.replace(record, &market, (call, sidecar), is_cancel).await {
            Err(error) if error.hold().is_some() => {
                self.control.hold(error.hold());
                Ok(())
            }
            replaced => replaced,
        }
    }

    /// Adds the attempt that does nothing. `false` where that cannot be; whoever wants it is told.
    async fn cancel(&self, record: &mut Record) -> Result<bool, TxError> {
        let market = self.market().await?;
        let call = cancelling_call(self.account());
        let has_blobs = record.attempts.last().is_some_and(|last| last.fees.has_blobs());
        let sidecar = if has_blobs { Some(empty_sidecar().await?) } else { None };
        let refused = match self.replace(record, &market, (call, sidecar), true).await {
            Ok(()) => return Ok(true),
            Err(TxError::FeesAboveCaps) => CancelError::FeesAboveCaps,
            Err(TxError::Unfunded(_)) => CancelError::Unfunded,
            Err(error) => return Err(error),
        };
        self.control.decide(record.id, Cancel::Refused(refused));
        Ok(false)
    }

    /// Signs and stores an attempt that pools take for the one before it. Nothing is stored when it
    /// would be above the caps or more than the account has.
    async fn replace(
        &self,
        record: &mut Record,
        market: &Market,
        (call, sidecar): (Call, Option<BlobTransactionSidecarEip7594>),
        is_cancel: bool,
    ) -> Result<(), TxError> {
        let nonce = record.nonce;
        let Some(last) = record.attempts.last() else { return Ok(()) };
        let fees = last.fees.replacement(market, &self.config.caps);
        let fees = fees.ok_or(TxError::FeesAboveCaps)?;
        let blobs = sidecar.as_ref().map_or(0, |sidecar| sidecar.blobs.len());
        let cost_max_wei = fees.cost_max_wei(call.gas_limit, blobs);
        self.check_payable(cost_max_wei).await?;
        // What was asked for is cancelled whatever it costs: it is there to stop spending.
        if !is_cancel {
            self.check_budget(cost_max_wei).await?;
        }
        let id = (self.chain_id, nonce);
        let attempt = sign(self.signer.as_ref(), id, &call, fees, sidecar).await?;
        tracing::info!(nonce, ?fees, is_cancel, tx = %attempt.tx_hash, "replacing an L1 transaction");
        record.attempts.push(Attempt { is_cancel, ..attempt });
        self.store.update(record).await?;
        self.control.show(record);
        Ok(())
    }

    /// Refuses what the account could not pay at its highest price: pools would.
    async fn check_payable(&self, needs_wei: u128) -> Result<(), TxError> {
        let has_wei = self.balance_wei().await?;
        if has_wei < needs_wei { Err(self.shortfall(needs_wei, has_wei)) } else { Ok(()) }
    }

    /// Refuses what could take spending over the budget: it is counted at its highest price, what went
    /// before at what it cost.
    async fn check_budget(&self, needs_wei: u128) -> Result<(), TxError> {
        let budget = &self.config.budget;
        if !budget.is_limited() {
            return Ok(());
        }
        let now = now_secs();
        let costs = self.store.costs_since(now.saturating_sub(DAY_SECS)).await?;
        Ok(budget.admit(&costs, now, needs_wei)?)
    }

    fn shortfall(&self, needs_wei: u128, has_wei: u128) -> TxError {
        TxError::Unfunded(Shortfall { account: self.account(), needs_wei, has_wei })
    }

    async fn balance_wei(&self) -> Result<u128, L1Error> {
        let account = self.account();
        let balance = retry(async || self.provider.get_balance(account).await).await?;
        Ok(u128::try_from(balance).unwrap_or(u128::MAX))
    }

    async fn next_nonce(&self) -> Result<u64, L1Error> {
        let account = self.account();
        retry(async || self.provider.get_transaction_count(account).latest().await).await
    }

    /// What L1 asks for now.
    ///
    /// # Errors
    /// [`L1Error`] when no endpoint answers.
    pub async fn market(&self) -> Result<Market, L1Error> {
        let fees = retry(async || self.provider.estimate_eip1559_fees().await).await?;
        let history = |blocks, tag| async move {
            retry(async || self.provider.get_fee_history(blocks, tag, &[]).await).await
        };
        let history = history(1, alloy::eips::BlockNumberOrTag::Latest).await?;
        Ok(Market {
            base_fee_wei: history.next_block_base_fee().unwrap_or(fees.max_fee_per_gas),
            priority_fee_wei: fees.max_priority_fee_per_gas,
            blob_base_fee_wei: history.next_block_blob_base_fee().unwrap_or(1),
        })
    }
}

/// Seconds since 1970.
fn now_secs() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

impl Drop for TxManager {
    /// Whoever waits for something to be cancelled waits no longer.
    fn drop(&mut self) {
        self.control.ended();
    }
}

fn is_cancelling(record: &Record) -> bool {
    record.attempts.last().is_some_and(|attempt| attempt.is_cancel)
}

fn inclusion(receipt: &TransactionReceipt) -> Option<Inclusion> {
    let l1_block = BlockId { number: receipt.block_number?, hash: receipt.block_hash? };
    let gas_wei = u128::from(receipt.gas_used).saturating_mul(receipt.effective_gas_price);
    let blob_gas = u128::from(receipt.blob_gas_used.unwrap_or(0));
    let blob_wei = blob_gas.saturating_mul(receipt.blob_gas_price.unwrap_or(0));
    Some(Inclusion {
        tx_hash: receipt.transaction_hash,
        l1_block,
        gas_used: receipt.gas_used,
        cost_wei: gas_wei.saturating_add(blob_wei),
    })
}
