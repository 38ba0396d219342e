//! What is remembered of L1 transactions, and the store that remembers it.
//!
//! A transaction is stored before it is broadcast, so that after a crash the process knows every
//! transaction that may be on L1. Owns the shape of the record; the node's ledger implements the
//! store in SQL, [`MemoryStore`] is for tests.

use super::{fees::Fees, now_secs, sign::CANCEL_GAS};
use crate::{
    encoder::BlockId,
    format::{ChannelId, blob::blob_count},
    l1::InboxPosition,
};
use alloy::primitives::{Address, B256, Bytes};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Identifies a record; given by the store, ascending.
pub type RecordId = u64;

/// What a transaction is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Appends a frame to the Inbox.
    Append(AppendPurpose),
    /// Proposes an output.
    Output {
        /// L2 block.
        block: BlockId,
        /// Its output root.
        root: B256,
    },
}

/// Which frame is appended, and on what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendPurpose {
    /// The Inbox before the append. A transaction that finds it elsewhere reverts, so each position
    /// is filled at most once.
    pub parent: InboxPosition,
    /// Channel.
    pub channel: ChannelId,
    /// Position of the frame in it.
    pub index: u16,
    /// Whether the frame completes it.
    pub is_last: bool,
    /// Block before the channel's first.
    pub first_parent: BlockId,
    /// Last block of the channel.
    pub last_block: BlockId,
    /// The frame; kept until final, to be posted again after a reorg.
    pub frame: Bytes,
}

/// A call, before nonce and fees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Called contract.
    pub to: Address,
    /// ABI-encoded call.
    pub input: Bytes,
    /// Bytes that travel in blobs.
    pub blob_payload: Option<Bytes>,
    /// Gas limit. Fixed by the caller, who knows what the call costs: estimating would execute it
    /// without its blobs.
    pub gas_limit: u64,
}

/// One signed transaction. Attempts of a record share the nonce and differ in fees; those that do not
/// cancel share the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Hash.
    pub tx_hash: B256,
    /// Fees.
    pub fees: Fees,
    /// EIP-2718 network encoding, with the sidecar.
    pub raw: Bytes,
    /// Whether it does nothing but use the nonce.
    pub is_cancel: bool,
}

impl Attempt {
    /// Most that it can cost, in wei.
    #[must_use]
    pub fn cost_max_wei(&self, record: &Record) -> u128 {
        let payload = record.call.blob_payload.as_ref();
        let (gas_limit, blobs) = match self.is_cancel {
            true => (CANCEL_GAS, usize::from(self.fees.has_blobs())),
            false => (record.call.gas_limit, payload.map_or(0, |p| blob_count(p.len()))),
        };
        self.fees.cost_max_wei(gas_limit, blobs)
    }
}

/// How far a record has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Signed, perhaps not sent.
    Stored,
    /// Accepted by the L1 endpoint at least once.
    Broadcast,
    /// Included and succeeded.
    Confirmed(Inclusion),
    /// Included and reverted.
    Reverted(Inclusion),
    /// An attempt that does nothing was included instead.
    Cancelled(Inclusion),
    /// Its nonce was used by another transaction: it can never be included.
    Dropped,
}

impl Status {
    /// Whether the transaction may still be included for the first time.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Stored | Self::Broadcast)
    }
}

impl Status {
    /// Where L1 has a transaction of the record.
    #[must_use]
    pub fn inclusion(&self) -> Option<&Inclusion> {
        match self {
            Self::Confirmed(inclusion) | Self::Reverted(inclusion) | Self::Cancelled(inclusion) => {
                Some(inclusion)
            }
            Self::Stored | Self::Broadcast | Self::Dropped => None,
        }
    }
}

/// Where a transaction was included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// The attempt that was included.
    pub tx_hash: B256,
    /// L1 block.
    pub l1_block: BlockId,
    /// Gas used.
    pub gas_used: u64,
    /// Wei paid for gas and blobs.
    pub cost_wei: u128,
}

/// A submission with all its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Id; 0 until stored.
    pub id: RecordId,
    /// Sending account.
    pub account: Address,
    /// L1 nonce.
    pub nonce: u64,
    /// What it is for.
    pub purpose: Purpose,
    /// The call.
    pub call: Call,
    /// Attempts, oldest first; at least one.
    pub attempts: Vec<Attempt>,
    /// Status.
    pub status: Status,
}

/// What L1 was paid for one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Who paid.
    pub account: Address,
    /// When its inclusion was recorded: seconds since 1970, by this machine's clock.
    pub at_secs: u64,
    /// Wei.
    pub cost_wei: u128,
}

/// The store failed, grouped by what the caller does. Either way nothing is sent that is not recorded;
/// whether the call counts is not known.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Retry, from what the store then has: it is away, or another writer was in the way.
    #[error("submission store: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Halt: this does not pass by itself.
    #[error("submission store: {0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Remembers records. Every method is durable before it returns.
#[async_trait]
pub trait SubmissionStore: Send + Sync + fmt::Debug {
    /// Adds a record and returns its id, larger than every earlier one.
    async fn insert(&self, record: &Record) -> Result<RecordId, StoreError>;

    /// Replaces the record of the same id (attempts and status change; nothing else does). What an
    /// inclusion cost is remembered once for each transaction, also when the record is forgotten, for at
    /// least a day.
    async fn update(&self, record: &Record) -> Result<(), StoreError>;

    /// The account's records whose status is open, by id.
    async fn open(&self, account: Address) -> Result<Vec<Record>, StoreError>;

    /// The newest confirmed append on `parent`, whatever L1 says about it now.
    async fn confirmed_append(&self, parent: InboxPosition) -> Result<Option<Record>, StoreError>;

    /// Forgets confirmed appends of batch ids below `batch_id`: they are final on L1.
    async fn forget_appends_before(&self, batch_id: u64) -> Result<(), StoreError>;

    /// What all accounts paid since `at_secs`, which is at most a day ago; oldest first.
    async fn costs_since(&self, at_secs: u64) -> Result<Vec<Cost>, StoreError>;
}

/// A store in memory, for tests: it survives a restart only as a clone of its `Arc` does.
#[derive(Debug, Default)]
pub struct MemoryStore {
    // Held for map operations only, never across an await.
    records: Mutex<BTreeMap<RecordId, Record>>,
    // The same.
    costs: Mutex<BTreeMap<B256, Cost>>,
}

impl MemoryStore {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<RecordId, Record>) -> T) -> T {
        f(&mut self.records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn costs(&self) -> MutexGuard<'_, BTreeMap<B256, Cost>> {
        self.costs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_cost(&self, record: &Record) {
        let Some(inclusion) = record.status.inclusion() else { return };
        let (account, cost_wei) = (record.account, inclusion.cost_wei);
        let cost = Cost { account, at_secs: now_secs(), cost_wei };
        self.costs().entry(inclusion.tx_hash).or_insert(cost);
    }

    /// Makes everything that was paid so much longer ago.
    pub fn age_costs(&self, secs: u64) {
        self.costs().values_mut().for_each(|cost| cost.at_secs -= secs);
    }

    /// All records, by id.
    #[must_use]
    pub fn all(&self) -> Vec<Record> {
        self.with(|records| records.values().cloned().collect())
    }
}

#[async_trait]
impl SubmissionStore for MemoryStore {
    async fn insert(&self, record: &Record) -> Result<RecordId, StoreError> {
        self.note_cost(record);
        Ok(self.with(|records| {
            let id = records.last_key_value().map_or(1, |(last, _)| last + 1);
            records.insert(id, Record { id, ..record.clone() });
            id
        }))
    }

    async fn update(&self, record: &Record) -> Result<(), StoreError> {
        self.note_cost(record);
        self.with(|records| records.insert(record.id, record.clone()));
        Ok(())
    }

    async fn open(&self, account: Address) -> Result<Vec<Record>, StoreError> {
        let open = |record: &&Record| record.account == account && record.status.is_open();
        Ok(self.with(|records| records.values().filter(open).cloned().collect()))
    }

    async fn confirmed_append(&self, parent: InboxPosition) -> Result<Option<Record>, StoreError> {
        Ok(self.with(|records| records.values().rev().find(|r| r.appends_on(parent)).cloned()))
    }

    async fn forget_appends_before(&self, batch_id: u64) -> Result<(), StoreError> {
        self.with(|records| {
            records.retain(|_, record| match &record.purpose {
                Purpose::Append(append) => {
                    append.parent.next_batch >= batch_id || record.status.is_open()
                }
                Purpose::Output { .. } => true,
            });
        });
        Ok(())
    }

    async fn costs_since(&self, at_secs: u64) -> Result<Vec<Cost>, StoreError> {
        let costs = self.costs();
        let mut costs: Vec<_> = costs.values().filter(|c| c.at_secs >= at_secs).copied().collect();
        costs.sort_by_key(|cost| cost.at_secs);
        Ok(costs)
    }
}

impl Record {
    fn appends_on(&self, parent: InboxPosition) -> bool {
        let confirmed = matches!(self.status, Status::Confirmed(_));
        let on = matches!(&self.purpose, Purpose::Append(append) if append.parent == parent);
        confirmed && on
    }
}
