//! The transaction manager: gets one call of one account onto L1, across crashes, full pools and
//! rising fees.
//!
//! Owns nonces, fees, signing, broadcasting and waiting. One transaction of an account is in flight
//! at a time: pools refuse blob and plain transactions of one account side by side, a nonce gap
//! cannot arise, and each append needs the accumulator of the one before it anyway. Several in
//! flight is a later step.
//!
//! Does not know what a call means: a revert is an outcome, and reading why is the caller's.

pub mod fees;
pub mod sign;
pub mod store;

pub use fees::{FeeCaps, Fees, Market};
pub use sign::L1Signer;
pub use store::{
    AppendPurpose, Attempt, Call, Inclusion, MemoryStore, Purpose, Record, RecordId, Status,
    StoreError, SubmissionStore,
};

use crate::{
    encoder::BlockId,
    kzg::KzgError,
    l1::{L1Error, is_canonical, retry},
};
use alloy::{
    primitives::Address,
    providers::{DynProvider, Provider},
    rpc::types::TransactionReceipt,
    transports::RpcError,
};
use sign::{sidecar, sidecar_of, sign};
use std::{sync::Arc, time::Duration};
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
    /// Most attempts of one record. After the last the manager keeps waiting and says so.
    pub attempts_max: usize,
    /// The most that is offered.
    pub caps: FeeCaps,
}

impl Default for TxConfig {
    fn default() -> Self {
        Self {
            confirmations: 1,
            poll: Duration::from_secs(2),
            bump_after: Duration::from_secs(90),
            attempts_max: 10,
            caps: FeeCaps::default(),
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
    /// Retry later: the signer does not answer. Nothing was stored or sent.
    #[error("signer: {0}")]
    Signer(#[from] alloy::signers::Error),
    /// Retry later: the account cannot pay. What was stored stays open, and is sent when it can.
    #[error("account {0} cannot pay for its L1 transaction")]
    Unfunded(Address),
    /// Resume first: an earlier transaction of this account is still open.
    #[error("an earlier transaction of the account is still open")]
    StillOpen,
    /// Halt: what was sent cannot be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Halt: the endpoint refuses the transaction for what it is (gas, type).
    #[error("L1 refuses the transaction: {0}")]
    Refused(alloy::transports::TransportError),
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
    /// Another transaction took the nonce, or L1 dropped one before it: this one is not waited for.
    Lost,
}

/// Sends the transactions of one account.
#[allow(missing_debug_implementations, reason = "holds a signer, which has no Debug")]
pub struct TxManager {
    provider: DynProvider,
    signer: Arc<L1Signer>,
    store: Arc<dyn SubmissionStore>,
    chain_id: u64,
    config: TxConfig,
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
        Self { provider, signer, store, chain_id, config }
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
            let sent = self.drive(&mut record).await?;
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
        let mut record = self.prepare(purpose, call).await?;
        self.drive(&mut record).await
    }

    /// Signs and stores, sends nothing.
    pub(crate) async fn prepare(&self, purpose: Purpose, call: Call) -> Result<Record, TxError> {
        let account = self.account();
        if !self.store.open(account).await?.is_empty() {
            return Err(TxError::StillOpen);
        }
        let sidecar = sidecar(&call).await?;
        let market = self.market().await?;
        let fees = market.offer(sidecar.is_some(), &self.config.caps);
        let fees = fees.ok_or(TxError::FeesAboveCaps)?;
        let nonce = self.next_nonce().await?;
        let id = (self.chain_id, nonce);
        let attempt = sign(self.signer.as_ref(), id, &call, fees, sidecar).await?;
        let attempts = vec![attempt];
        let status = Status::Stored;
        let mut record = Record { id: 0, account, nonce, purpose, call, attempts, status };
        record.id = self.store.insert(&record).await?;
        Ok(record)
    }

    /// Sends and waits until the record is at its end.
    async fn drive(&self, record: &mut Record) -> Result<Sent, TxError> {
        let mut sent_at = Instant::now();
        let mut is_known = false;
        let mut seen_lost = false;
        loop {
            let sent = self.look(record).await?;
            // An endpoint may know the nonce before the receipt: only a second look is believed.
            if sent == Some(Sent::Lost) && !seen_lost {
                seen_lost = true;
                tokio::time::sleep(self.config.poll).await;
                continue;
            }
            if let Some(sent) = sent {
                record.status = match sent {
                    Sent::Confirmed(inclusion) => Status::Confirmed(inclusion),
                    Sent::Reverted(inclusion) => Status::Reverted(inclusion),
                    Sent::Lost => Status::Dropped,
                };
                self.store.update(record).await?;
                return Ok(sent);
            }
            if sent_at.elapsed() >= self.config.bump_after {
                self.bump(record).await?;
                sent_at = Instant::now();
                is_known = false;
            }
            // A reorg or a full pool forgets transactions, so what is not known is sent again.
            if !is_known || !self.is_in_pool(record).await? {
                self.broadcast(record).await?;
                is_known = true;
            }
            tokio::time::sleep(self.config.poll).await;
        }
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
            let success = receipt.status();
            let sent = if success { Sent::Confirmed } else { Sent::Reverted };
            return Ok(Some(sent(inclusion)));
        }
        // No attempt has a receipt although the nonce is used: unless a reorg happened in between,
        // someone else used it.
        let still_used = self.next_nonce().await? > record.nonce;
        Ok(still_used.then_some(Sent::Lost))
    }

    async fn is_deep(&self, block: BlockId) -> Result<bool, TxError> {
        let latest = retry(async || self.provider.get_block_number().await).await?;
        let depth = (latest + 1).saturating_sub(block.number);
        Ok(depth >= self.config.confirmations.max(1) && is_canonical(&self.provider, block).await?)
    }

    async fn is_in_pool(&self, record: &Record) -> Result<bool, TxError> {
        let Some(attempt) = record.attempts.last() else { return Ok(false) };
        let hash = attempt.tx_hash;
        let found = retry(async || self.provider.get_transaction_by_hash(hash).await).await?;
        Ok(found.is_some())
    }

    async fn broadcast(&self, record: &mut Record) -> Result<(), TxError> {
        let Some(attempt) = record.attempts.last() else { return Ok(()) };
        match self.provider.send_raw_transaction(&attempt.raw).await {
            Ok(_) => {}
            Err(error) => match classify(&error) {
                Refusal::Known => {}
                // Looking at L1 decides what happened to the nonce; the pool comes round.
                Refusal::Transient => {
                    tracing::warn!(%error, nonce = record.nonce, "L1 did not take a transaction");
                    return Ok(());
                }
                Refusal::Unfunded => return Err(TxError::Unfunded(self.account())),
                Refusal::Final => return Err(TxError::Refused(error)),
            },
        }
        if record.status == Status::Stored {
            record.status = Status::Broadcast;
            self.store.update(record).await?;
        }
        Ok(())
    }

    /// Adds an attempt with higher fees, stored before it is sent.
    async fn bump(&self, record: &mut Record) -> Result<(), TxError> {
        let nonce = record.nonce;
        let Some(last) = record.attempts.last() else { return Ok(()) };
        if record.attempts.len() >= self.config.attempts_max {
            tracing::warn!(nonce, attempts = record.attempts.len(), "L1 transaction is stuck");
            return Ok(());
        }
        let market = self.market().await?;
        let Some(fees) = last.fees.replacement(&market, &self.config.caps) else {
            tracing::warn!(nonce, ?market, "a replacement would cost more than the caps allow");
            return Ok(());
        };
        let (id, sidecar) = ((self.chain_id, nonce), sidecar_of(&last.raw));
        let attempt = sign(self.signer.as_ref(), id, &record.call, fees, sidecar).await?;
        tracing::info!(nonce, ?fees, tx = %attempt.tx_hash, "replacing an L1 transaction");
        record.attempts.push(attempt);
        self.store.update(record).await?;
        Ok(())
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

/// What an endpoint's refusal to take a transaction means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It has the transaction already.
    Known,
    /// The pool or the nonce is in the way, or the endpoint cannot be reached: look again.
    Transient,
    /// The account has too little.
    Unfunded,
    /// The transaction itself is not acceptable.
    Final,
}

/// By the words that geth, reth, nethermind and anvil use; JSON-RPC has no codes for them.
fn classify(error: &alloy::transports::TransportError) -> Refusal {
    let RpcError::ErrorResp(payload) = error else { return Refusal::Transient };
    let message = payload.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["already known", "already imported", "alreadyknown"]) {
        Refusal::Known
    } else if says(&["insufficient funds"]) {
        Refusal::Unfunded
    } else if says(&["intrinsic gas", "exceeds block gas", "not supported"]) {
        Refusal::Final
    } else {
        Refusal::Transient
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::rpc::json_rpc::ErrorPayload;

    #[test]
    fn refusals_are_read_by_their_words() {
        let refusal = |message: &'static str| {
            let payload = ErrorPayload { code: -32000, message: message.into(), data: None };
            classify(&RpcError::ErrorResp(payload))
        };
        assert_eq!(refusal("already known"), Refusal::Known);
        assert_eq!(refusal("transaction already imported"), Refusal::Known);
        assert_eq!(refusal("nonce too low"), Refusal::Transient);
        assert_eq!(refusal("replacement transaction underpriced"), Refusal::Transient);
        assert_eq!(refusal("Insufficient funds for gas * price + value"), Refusal::Unfunded);
        assert_eq!(refusal("intrinsic gas too low"), Refusal::Final);
        assert_eq!(refusal("txpool is full"), Refusal::Transient);
    }
}
