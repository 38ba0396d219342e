//! The block builder: at every slot it takes the next L1 origin if there is one and the origin's
//! deposits, executes what the pool offers as it comes (`filling`), and seals when the slot ends.
//!
//! Owns the choice of origin and timestamp (by the same rules that derivation checks), the answer to
//! an L1 reorg (blocks built on a lost L1 block are undone and their transactions go back to the
//! pool), and the promise that a block has what its mini-blocks said: a block that was begun is
//! executed again and finished, after a failure and after a restart. Does not wait for L1, the
//! batcher or RPC; what L1 is behind reaches it as orders (`pressure`). Nothing is acknowledged here; readers see what the store has durably.

mod conditions;
mod filling;
mod pace;
#[cfg(test)]
mod tests;

use crate::{
    l1::{L1Chain, Standing},
    pressure::{Gauge, Orders},
    settings::EmptyBlocks,
    store::{ChainStore, ChainStoreError, chain::Unsealed, log::Opening},
    txpool::Pool,
};
use alloy::primitives::B256;
use batcher::{
    derive::rules::{Epoch, Violation, latest_timestamp, next_origin_allowed},
    format::Batch,
};
use executor::{
    BlockEnv, BlockInput, ChainRules, Counters, ExecuteError, Execution, Genesis, Header,
    Knowledge, L1Attributes, L1Origin, Options, RollupRules, Skipped, Transaction,
};
use filling::Filling;
use pace::Pace;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most of the block time that is kept for sealing, in percent; the rest is for executing.
const SEALING_SHARE_PERCENT_MAX: u32 = 40;

/// With more usable L1 blocks than this ahead of L2, blocks are built without waiting for the slot.
const ORIGIN_LAG_MAX: u64 = 8;

/// Why a block was not built. The builder tries again at the next slot; nothing was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ChainStoreError),
    /// Execution failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The stored head is not a block that this builder can continue.
    #[error("block {0} has no L1 attributes")]
    NoAttributes(u64),
    /// The L1 block that L2 builds on is not known (yet).
    #[error("L1 block {0} is not known yet")]
    UnknownOrigin(u64),
    /// The chosen origin breaks a rule that derivation checks.
    #[error("L1 origin: {0}")]
    Origin(#[from] Violation),
}

/// When and how blocks are built.
#[derive(Clone, Debug)]
pub struct BuilderConfig {
    /// Time between blocks.
    pub block_time: Duration,
    /// Least time from one mini-block to the next: under load, more transactions share an fdatasync.
    /// The first one after a pause does not wait.
    pub mini_block_interval: Duration,
    /// Whether blocks without transactions are made.
    pub empty_blocks: EmptyBlocks,
    /// Depth of an L1 block before it is used.
    pub l1_confirmations: u64,
    /// What is to be done because L1 is behind.
    pub pressure: Gauge,
}

/// How the builder waits while a block is open.
pub trait Pulse {
    /// Waits until a transaction was admitted (since the last call), or until the time comes.
    fn wait(&mut self, until: Instant) -> Wake;
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There may be something to execute.
    Transactions,
    /// The time came.
    Time,
    /// The node stops: what is open is sealed now.
    Shutdown,
}

/// A block that was built.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Header.
    pub header: Header,
    /// Its hash.
    pub hash: B256,
    /// Number of the users' transactions.
    pub transactions: usize,
    /// What they take in a batch at most, in bytes before compression; see [`batch_bytes_max`].
    pub bytes: usize,
    /// What was executed and did not get in.
    pub skipped: Vec<Skipped>,
    /// What executing it took.
    pub counters: Counters,
    /// Time from the last mini-block to the durable block.
    pub sealing: Duration,
}

/// What a transaction takes in a batch at most, in bytes before compression; nothing for a deposit, which
/// is on L1 already.
#[must_use]
pub fn batch_bytes_max(transaction: &Transaction) -> usize {
    let bytes = Batch::transaction_bytes_max(transaction.raw().len());
    if transaction.as_signed().is_some() { bytes } else { 0 }
}

/// Builds blocks, one after another.
#[derive(Debug)]
pub struct Builder {
    config: BuilderConfig,
    rules: Arc<ChainRules>,
    rollup: RollupRules,
    anchor: Epoch,
    store: ChainStore,
    pool: Arc<Mutex<Pool>>,
    l1: Arc<L1Chain>,
    parent: Option<Parent>,
    /// What the blocks so far taught about the next ones; lives as long as the node.
    knowledge: Knowledge,
    pace: Pace,
    /// What sealing took lately.
    sealing: Duration,
    /// What the last block took beyond its part of a throttled rate; the next ones take less for it.
    bytes_owed: usize,
}

#[derive(Clone, Debug)]
struct Parent {
    header: Header,
    hash: B256,
    epoch: Epoch,
    origin: L1Origin,
}

/// Origin and place of the block to build.
struct Plan {
    origin: L1Origin,
    epoch: Epoch,
    deposits: Vec<executor::Deposit>,
    timestamp: u64,
}

impl Builder {
    /// A builder on top of the store's head.
    #[must_use]
    pub fn new(
        config: BuilderConfig,
        genesis: &Genesis,
        store: ChainStore,
        pool: Arc<Mutex<Pool>>,
        l1: Arc<L1Chain>,
    ) -> Self {
        let pace = Pace::new(config.block_time, genesis.rules.gas_limit);
        Self {
            config,
            rules: genesis.chain_rules(),
            rollup: genesis.rules.clone(),
            anchor: Epoch::genesis(genesis),
            store,
            pool,
            l1,
            parent: None,
            knowledge: Knowledge::default(),
            pace,
            sealing: Duration::ZERO,
            bytes_owed: 0,
        }
    }

    // The lock is held for queue operations only, never while executing.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds the next block, if one is due at `now_secs`: executes what comes until the slot ends, and
    /// seals it. While sequencing is paused none is due, but a block that was begun is finished, and lost
    /// ones are undone.
    ///
    /// # Errors
    /// [`BuildError`]; what mini-blocks have said stands, and the next call finishes that block.
    pub fn build_next(
        &mut self,
        now_secs: u64,
        slot_end: Instant,
        pulse: &mut dyn Pulse,
    ) -> Result<Option<Sealed>, BuildError> {
        self.undo_lost_origins()?;
        let parent = self.parent()?;
        if let Some(unsealed) = self.store.unsealed() {
            if let Some(sealed) = self.finish(&parent, &unsealed, slot_end, pulse)? {
                return Ok(Some(sealed));
            }
            self.give_up(unsealed.transactions())?;
        }
        let orders = self.config.pressure.orders();
        if !orders.seals {
            return Ok(None);
        }
        let plan = self.plan(&parent, now_secs)?;
        let follows_l1 = plan.epoch.is_first();
        let due = match self.config.empty_blocks {
            EmptyBlocks::Always => true,
            EmptyBlocks::FollowL1 => {
                follows_l1 || (orders.takes_transactions && !self.pool().is_empty())
            }
        };
        if !due {
            return Ok(None);
        }
        let (origin, epoch) = (plan.origin, plan.epoch);
        let attributes = (&plan.origin, epoch.sequence_number);
        let parent = (&parent.header, parent.hash);
        let input =
            BlockInput::rollup(&self.rules, parent, attributes, plan.timestamp, plan.deposits);
        let Some(sealed) = self.build(input, None, slot_end, pulse)? else { return Ok(None) };
        self.l1.release(epoch.number);
        let (header, hash) = (sealed.header.clone(), sealed.hash);
        self.parent = Some(Parent { header, hash, epoch, origin });
        Ok(Some(sealed))
    }

    /// Takes up a block that was begun; `None` where it cannot be what was said of it any more.
    fn finish(
        &mut self,
        parent: &Parent,
        unsealed: &Unsealed,
        slot_end: Instant,
        pulse: &mut dyn Pulse,
    ) -> Result<Option<Sealed>, BuildError> {
        let Opening { parent_hash, timestamp, prevrandao } = unsealed.opening;
        let transactions = unsealed.transactions();
        let attributes = transactions.first().and_then(Transaction::as_deposit);
        let Some(attributes) = attributes.and_then(L1Attributes::from_deposit) else {
            return Ok(None);
        };
        let is_lost = self.is_lost(attributes.number, attributes.hash)?;
        if is_lost || parent_hash != parent.hash {
            return Ok(None);
        }
        let parent = (&parent.header, parent.hash);
        let env = BlockEnv::rollup(&self.rules, parent, prevrandao, timestamp);
        let input = BlockInput { rules: self.rules.clone(), env, transactions };
        let sealed = self.build(input, Some(unsealed), slot_end, pulse)?;
        // Read again, with its origin.
        self.parent = None;
        Ok(sealed)
    }

    /// Nobody shall believe any more what was said of the open block.
    fn give_up(&self, transactions: Vec<Transaction>) -> Result<(), BuildError> {
        tracing::warn!(count = transactions.len(), "mini-blocks retracted, transactions kept");
        self.store.retract()?;
        self.reinsert(transactions);
        Ok(())
    }

    fn reinsert(&self, transactions: Vec<Transaction>) {
        let users = transactions.into_iter().filter(|tx| tx.as_signed().is_some());
        let users: Vec<_> = users.collect();
        self.pool().reinsert(users, Instant::now());
    }

    /// Executes and seals: the input's transactions, or those that mini-blocks have already, and what
    /// comes until the slot ends.
    fn build(
        &mut self,
        input: BlockInput,
        unsealed: Option<&Unsealed>,
        slot_end: Instant,
        pulse: &mut dyn Pulse,
    ) -> Result<Option<Sealed>, BuildError> {
        let deadline = slot_end.checked_sub(self.sealing_share()).unwrap_or(slot_end);
        let view = self.store.view()?;
        let options = Options {
            knowledge: Some(&self.knowledge),
            reports_changes: true,
            ..Options::default()
        };
        let hurry = self.store.hurry();
        let (rules, env) = (self.rules.clone(), input.env.clone());
        let mut execution = Execution::begin(&view, rules, env.clone(), options)?;
        execution.extend(&input.transactions)?;
        let changes = execution.changes()?;
        if unsealed.is_some() {
            let (transactions, receipts) = execution.included();
            let parts = (transactions.to_vec(), receipts.to_vec());
            if !self.store.resume_block(env, parts, changes) {
                return Ok(None);
            }
        } else {
            self.store.begin_block(env, changes);
        }
        drop(hurry);
        let mut filling = Filling::new(self, &view, execution, unsealed.is_some());
        filling.fill(deadline, pulse)?;
        let (execution, pace, bytes) = filling.end();
        let hurry = self.store.hurry();
        let started = Instant::now();
        let block = execution.seal()?;
        let sealed = Sealed {
            header: block.header.clone(),
            hash: block.hash,
            transactions: block.transactions.iter().filter(|tx| tx.as_signed().is_some()).count(),
            bytes,
            skipped: block.skipped.clone(),
            counters: block.counters,
            sealing: Duration::ZERO,
        };
        self.store.seal(block)?;
        drop(hurry);
        self.pace = pace;
        let part = self.bytes_per_block(&self.config.pressure.orders());
        self.bytes_owed = part.map_or(0, |part| (self.bytes_owed + bytes).saturating_sub(part));
        self.pool().expire(Instant::now());
        let sealing = started.elapsed();
        // Slowly down, so that one easy block does not make the next one late.
        self.sealing = sealing.max(self.sealing * 7 / 8);
        Ok(Some(Sealed { sealing, ..sealed }))
    }

    /// How long before its end a slot's execution stops.
    fn sealing_share(&self) -> Duration {
        self.sealing.min(self.config.block_time * SEALING_SHARE_PERCENT_MAX / 100)
    }

    /// A block's part of the rate to which users' transactions are throttled, in bytes.
    fn bytes_per_block(&self, orders: &Orders) -> Option<usize> {
        let per_sec = u128::from(orders.bytes_per_sec_max?);
        let bytes = per_sec * self.config.block_time.as_millis() / 1_000;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX).max(1))
    }

    /// Usable L1 blocks that L2 has not taken yet.
    #[must_use]
    pub fn origin_lag(&self) -> u64 {
        let usable = self.l1.tip_number().saturating_sub(self.config.l1_confirmations);
        self.parent.as_ref().map_or(0, |parent| usable.saturating_sub(parent.epoch.number))
    }

    /// Whether the next block should be built without waiting for its slot.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.origin_lag() > ORIGIN_LAG_MAX
    }

    fn parent(&mut self) -> Result<Parent, BuildError> {
        if let Some(parent) = &self.parent {
            return Ok(parent.clone());
        }
        let head = self.store.head().number;
        let (header, hash) = self.store.header(head)?.ok_or(BuildError::NoAttributes(head))?;
        let epoch = self.epoch_of(head)?;
        let origin = self.l1.block(epoch.number).ok_or(BuildError::UnknownOrigin(epoch.number))?;
        let parent = Parent { header, hash, epoch, origin: origin.origin };
        self.parent = Some(parent.clone());
        Ok(parent)
    }

    fn epoch_of(&self, number: u64) -> Result<Epoch, BuildError> {
        if number == 0 {
            return Ok(self.anchor);
        }
        let block = self.store.block(number)?.ok_or(BuildError::NoAttributes(number))?;
        let first = block.transactions.first().and_then(Transaction::as_deposit);
        let attributes =
            first.and_then(L1Attributes::from_deposit).ok_or(BuildError::NoAttributes(number))?;
        Ok(Epoch {
            number: attributes.number,
            hash: attributes.hash,
            sequence_number: attributes.sequence_number,
        })
    }

    /// Undoes blocks whose L1 origin is no longer on L1.
    fn undo_lost_origins(&mut self) -> Result<(), BuildError> {
        let head = self.store.head().number;
        let mut number = head;
        let mut epoch = match &self.parent {
            Some(parent) => parent.epoch,
            None => self.epoch_of(head)?,
        };
        while number > 0 && self.is_lost(epoch.number, epoch.hash)? {
            number -= 1;
            epoch = self.epoch_of(number)?;
        }
        if number == head {
            return Ok(());
        }
        let open = self.store.unsealed().map(|unsealed| unsealed.transactions());
        let removed = self.store.rollback_to(number)?;
        self.parent = None;
        let removed = removed.into_iter().flat_map(|block| block.transactions);
        let transactions: Vec<_> = removed.chain(open.into_iter().flatten()).collect();
        let count = transactions.len();
        tracing::warn!(
            from = head,
            to = number,
            count,
            "L1 reorg: blocks undone, transactions kept"
        );
        self.reinsert(transactions);
        Ok(())
    }

    /// Whether an L1 block is no longer on L1.
    fn is_lost(&self, number: u64, hash: B256) -> Result<bool, BuildError> {
        match self.l1.standing(number, hash) {
            Standing::Canonical => Ok(false),
            Standing::Lost => Ok(true),
            // The watcher reads that part of L1 (again): nothing is undone on a guess.
            Standing::NotRead => {
                self.l1.release(number);
                Err(BuildError::UnknownOrigin(number))
            }
        }
    }

    /// Chooses origin and timestamp.
    fn plan(&self, parent: &Parent, now_secs: u64) -> Result<Plan, BuildError> {
        let usable = self.l1.tip_number().saturating_sub(self.config.l1_confirmations);
        let next = self.l1.block(parent.epoch.number + 1).filter(|next| {
            next.origin.number <= usable
                && next.origin.timestamp <= now_secs.max(parent.header.timestamp)
        });
        let (origin, deposits) = match next {
            Some(next) => (next.origin, next.deposits),
            None => (parent.origin, Vec::new()),
        };
        let epoch = next_origin_allowed(&parent.epoch, &origin)?;
        // Time stands still at the drift limit while L1 is away, instead of blocks that derivation
        // would drop.
        let timestamp = now_secs
            .min(latest_timestamp(&self.rollup, &origin))
            .max(parent.header.timestamp)
            .max(origin.timestamp);
        Ok(Plan { origin, epoch, deposits, timestamp })
    }
}
