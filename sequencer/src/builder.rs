//! The block builder: at every slot it takes the next L1 origin if there is one, the origin's
//! deposits, what the pool offers, executes, and commits.
//!
//! Owns the choice of origin and timestamp (by the same rules that derivation checks) and the
//! answer to an L1 reorg: blocks built on a lost L1 block are undone and their transactions go back
//! to the pool. Does not wait for L1, the batcher or RPC. Nothing is acknowledged here; readers see
//! a block only once the store has it durably.

mod conditions;
mod pace;
#[cfg(test)]
mod tests;

use crate::{
    l1::{L1Chain, Standing},
    settings::EmptyBlocks,
    store::{ChainStore, ChainStoreError, ChainView},
    txpool::{Pool, Terms},
};
use alloy::primitives::{Address, B256, U256, map::B256Set};
use batcher::{
    derive::rules::{Epoch, Violation, latest_timestamp, next_origin_allowed},
    format::{BLOCK_BYTES_MAX, Batch},
};
use executor::{
    BlockInput, ChainRules, ExecuteError, ExecutedBlock, Execution, Genesis, Header, Knowledge,
    L1Attributes, L1Origin, Options, RollupRules, Skipped, Transaction,
};
use pace::Pace;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Most transactions taken from the pool for one block; the rest stays for the next.
const BLOCK_TRANSACTIONS_MAX: usize = 200_000;

/// Share of the block time that may be spent executing, in percent: the rest is for the state root
/// and the commit. When it is used up the block is sealed with what it has.
const EXECUTION_SHARE_PERCENT: u32 = 60;

/// Times that the pool is asked for one block. It counts a transaction's gas limit, execution the gas
/// used: with limits of three times the use, eight rounds fill 94 percent of a block, one fills 33.
const OFFERS_MAX: usize = 8;

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
#[derive(Clone, Copy, Debug)]
pub struct BuilderConfig {
    /// Time between blocks.
    pub block_time: Duration,
    /// Whether blocks without transactions are made.
    pub empty_blocks: EmptyBlocks,
    /// Depth of an L1 block before it is used.
    pub l1_confirmations: u64,
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

/// The block that is being built, as far as transactions are chosen by it.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u64,
    timestamp: u64,
    base_fee_wei: u64,
    deadline: Instant,
}

/// What the pool offers, and the terms of those that have conditions.
struct Offer {
    transactions: Vec<Transaction>,
    conditional: HashMap<B256, Arc<Terms>>,
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
            pace: Pace::new(execution_budget(config.block_time), genesis.rules.gas_limit),
        }
    }

    // The lock is held for queue operations only, never while executing.
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Builds and commits the next block at `now_secs`, if one is due.
    ///
    /// # Errors
    /// [`BuildError`]; the chain is then as it was.
    pub fn build_next(&mut self, now_secs: u64) -> Result<Option<ExecutedBlock>, BuildError> {
        self.undo_lost_origins()?;
        let parent = self.parent()?;
        let plan = self.plan(&parent, now_secs)?;
        let follows_l1 = plan.epoch.is_first();
        let due = match self.config.empty_blocks {
            EmptyBlocks::Always => true,
            EmptyBlocks::FollowL1 => follows_l1 || !self.pool().is_empty(),
        };
        if !due {
            return Ok(None);
        }
        let (origin, epoch) = (plan.origin, plan.epoch);
        let hurry = self.store.hurry();
        let block = self.execute(&parent, plan)?;
        self.store.commit(&block)?;
        drop(hurry);
        self.settle_pool(&block);
        self.l1.release(epoch.number);
        let (header, hash) = (block.header.clone(), block.hash);
        self.parent = Some(Parent { header, hash, epoch, origin });
        Ok(Some(block))
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
        while number > 0 {
            match self.l1.standing(epoch.number, epoch.hash) {
                Standing::Canonical => break,
                Standing::Lost => {}
                // The watcher reads that part of L1 (again): nothing is undone on a guess.
                Standing::NotRead => {
                    self.l1.release(epoch.number);
                    return Err(BuildError::UnknownOrigin(epoch.number));
                }
            }
            number -= 1;
            epoch = self.epoch_of(number)?;
        }
        if number == head {
            return Ok(());
        }
        let removed = self.store.rollback_to(number)?;
        self.parent = None;
        let transactions: Vec<_> = removed
            .into_iter()
            .flat_map(|block| block.transactions)
            .filter(|transaction| transaction.as_signed().is_some())
            .collect();
        let count = transactions.len();
        tracing::warn!(
            from = head,
            to = number,
            count,
            "L1 reorg: blocks undone, transactions kept"
        );
        self.pool().reinsert(transactions, Instant::now());
        Ok(())
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

    fn execute(&mut self, parent: &Parent, plan: Plan) -> Result<ExecutedBlock, BuildError> {
        let deadline = Instant::now() + execution_budget(self.config.block_time);
        let attributes = (&plan.origin, plan.epoch.sequence_number);
        let input = BlockInput::rollup(
            &self.rules,
            (&parent.header, parent.hash),
            attributes,
            plan.timestamp,
            plan.deposits,
        );
        let view = self.store.view()?;
        let frame = Frame {
            number: input.env.number,
            timestamp: input.env.timestamp,
            base_fee_wei: input.env.base_fee_wei.unwrap_or(0),
            deadline,
        };
        let options = Options { knowledge: Some(&self.knowledge), ..Options::default() };
        let mut execution = Execution::begin(&view, self.rules.clone(), input.env, options)?;
        execution.extend(&input.transactions)?;
        let mut pace = self.pace;
        self.fill(&view, &mut execution, &mut pace, &frame)?;
        let block = execution.seal()?;
        self.pace = pace;
        Ok(block)
    }

    /// Executes what the pool offers, until the pool, the gas or the time ends. One chunk is executed
    /// however late it is: users get their turn even in blocks whose deposits take all the time.
    fn fill(
        &self,
        view: &ChainView,
        execution: &mut Execution<'_, ChainView>,
        pace: &mut Pace,
        frame: &Frame,
    ) -> Result<(), BuildError> {
        let mut offered = Vec::new();
        for _ in 0..OFFERS_MAX {
            let offer = self.offer(frame.base_fee_wei, execution.gas_left(), &offered);
            if !self.execute_offer(view, execution, pace, frame, &offer)? {
                return Ok(());
            }
            if offer.transactions.is_empty() {
                break;
            }
            offered.extend(offer.transactions);
            if self.pool().counts().ready <= offered.len() {
                break;
            }
        }
        Ok(())
    }

    /// Executes an offer in chunks, but for those whose conditions do not hold when it is their turn:
    /// these leave the pool. Returns whether there is time for more.
    fn execute_offer(
        &self,
        view: &ChainView,
        execution: &mut Execution<'_, ChainView>,
        pace: &mut Pace,
        frame: &Frame,
        offer: &Offer,
    ) -> Result<bool, BuildError> {
        let mut rest = &offer.transactions[..];
        while let Some(first) = rest.first() {
            let hash = first.hash();
            if let Some(terms) = offer.conditional.get(&hash)
                && let Some(unmet) = conditions::find_unmet(terms, frame, execution, view)?
            {
                let now = Instant::now();
                self.pool().reject(&hash, unmet, now);
                if now > frame.deadline {
                    return Ok(false);
                }
                rest = &rest[1..];
                continue;
            }
            let gas_limits = conditions::up_to_next(rest, &offer.conditional);
            let gas_limits = gas_limits.iter().map(Transaction::gas_limit);
            let (chunk, later) = rest.split_at(pace.chunk(gas_limits));
            let started = Instant::now();
            execution.extend(chunk)?;
            self.store.foresee(view, execution.touched());
            let now = Instant::now();
            pace.note(chunk.len(), now - started);
            if now > frame.deadline {
                return Ok(false);
            }
            rest = later;
        }
        Ok(true)
    }

    /// What the pool offers for a block beside what it has offered before: as much as a batch can
    /// carry. Nothing is offered twice for one block; the order within a sender keeps.
    fn offer(&self, base_fee_wei: u64, gas_left: u64, offered: &[Transaction]) -> Offer {
        let bytes_of = |tx: &Transaction| Batch::transaction_bytes_max(tx.raw().len());
        let seen: B256Set = offered.iter().map(Transaction::hash).collect();
        let mut bytes = Batch::OVERHEAD_BYTES_MAX + offered.iter().map(bytes_of).sum::<usize>();
        // The pool counts those again that it has offered before. Where it counts wrongly, because
        // its order has changed meanwhile, execution does not admit what does not fit.
        let gas = offered.iter().map(Transaction::gas_limit).fold(gas_left, u64::saturating_add);
        let pool = self.pool();
        // Nothing but gas is charged.
        let transactions: Vec<_> = pool
            .best(base_fee_wei, gas, Instant::now(), &|_| U256::ZERO)
            .filter(|transaction| !seen.contains(&transaction.hash()))
            .take(BLOCK_TRANSACTIONS_MAX.saturating_sub(offered.len()))
            .take_while(|transaction| {
                bytes += bytes_of(transaction);
                bytes <= BLOCK_BYTES_MAX
            })
            .cloned()
            .collect();
        // Under the same lock: one that is replaced meanwhile has its conditions all the same.
        let conditional = pool.conditional(&transactions);
        Offer { transactions, conditional }
    }

    /// Tells the pool what became of its transactions.
    fn settle_pool(&self, block: &ExecutedBlock) {
        let nonce = |account: Option<executor::Account>| account.map_or(0, |a| a.nonce);
        // From the state, not from the transactions: EIP-7702 counts authorities' nonces too.
        let mined: Vec<(Address, u64)> = block
            .diff
            .accounts
            .iter()
            .filter(|(_, diff)| nonce(diff.before) != nonce(diff.after))
            .map(|(address, diff)| (*address, nonce(diff.after)))
            .collect();
        let now = Instant::now();
        let mut pool = self.pool();
        let users = block.transactions.iter().filter(|tx| tx.as_signed().is_some());
        pool.note_ordered(users.map(Transaction::hash), block.header.number, now);
        pool.remove_mined(&mined);
        for Skipped { transaction, reason } in &block.skipped {
            // The pool knows which reasons pass; it keeps those transactions for a later block.
            pool.skip(&transaction.hash(), reason.clone(), now);
        }
        pool.expire(now);
    }
}

/// Time for executing, of the time between blocks.
fn execution_budget(block_time: Duration) -> Duration {
    block_time * EXECUTION_SHARE_PERCENT / 100
}
