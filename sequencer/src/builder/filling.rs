//! The open block: what the pool offers is executed as it comes, a few milliseconds of it at a time,
//! and each part is made durable and shown before the next is begun.
//!
//! Owns the size and the rhythm of mini-blocks, and telling the pool what became of its transactions.
//! Does not begin or seal the block.

use super::{BuildError, Builder, Pace, Pulse, Wake, batch_bytes_max, conditions};
use crate::{
    store::ChainView,
    txpool::{Pool, Terms},
};
use alloy::primitives::{Address, map::B256Set};
use batcher::format::{BLOCK_BYTES_MAX, Batch};
use executor::{Changes, ExecuteError, Execution, FeeSchedule, Transaction};
use std::{
    sync::{Arc, MutexGuard},
    time::Instant,
};

/// Most transactions taken from the pool for one block; the rest stays for the next.
const BLOCK_TRANSACTIONS_MAX: usize = 200_000;

/// EIP-7702: a transaction of this type counts the nonces of others than its sender.
const SET_CODE_TX_TYPE: u8 = 4;

/// What the pool offers next, and the terms of the first if it has conditions.
struct Offer {
    transactions: Vec<Transaction>,
    terms: Option<Arc<Terms>>,
}

/// A block while it is filled.
pub(super) struct Filling<'b, 'v> {
    builder: &'b Builder,
    view: &'v ChainView,
    execution: Execution<'v, ChainView>,
    pace: Pace,
    base_fee_wei: u64,
    /// Fees beside gas, which the block's first transaction sets.
    fees: Option<FeeSchedule>,
    /// Transactions that the log has.
    durable: usize,
    /// Skipped ones that the pool was told of, and their number.
    refused: B256Set,
    told: usize,
    /// Size of the users' transactions in a batch.
    bytes: usize,
    /// Size at which a throttled block takes no more of them; one may go beyond it, so that the longest
    /// gets in, too.
    bytes_allowed: usize,
}

impl<'b, 'v> Filling<'b, 'v> {
    /// A block that was begun; `is_durable` where the log has what is executed already.
    pub(super) fn new(
        builder: &'b Builder,
        view: &'v ChainView,
        execution: Execution<'v, ChainView>,
        is_durable: bool,
    ) -> Self {
        let (transactions, _) = execution.included();
        let bytes = transactions.iter().map(batch_bytes_max).sum::<usize>();
        let part = builder.bytes_per_block(&builder.config.pressure.orders());
        let bytes_allowed = part.map_or(usize::MAX, |part| part.saturating_sub(builder.bytes_owed));
        let durable = if is_durable { transactions.len() } else { 0 };
        let attributes = transactions.first();
        let fees = attributes.and_then(|first| FeeSchedule::set_by(&builder.rules, first));
        let base_fee_wei = execution.env().base_fee_wei.unwrap_or(0);
        let mut filling = Self {
            builder,
            view,
            execution,
            pace: builder.pace,
            base_fee_wei,
            fees,
            durable,
            refused: B256Set::default(),
            told: 0,
            bytes,
            bytes_allowed,
        };
        if is_durable {
            filling.settle_pool(&Changes::default(), 0);
        }
        filling
    }

    /// What was executed, how fast, and what of it users' transactions take in a batch.
    pub(super) fn end(self) -> (Execution<'v, ChainView>, Pace, usize) {
        (self.execution, self.pace, self.bytes)
    }

    /// Executes what comes until the time does. One part is executed however late it is: users get
    /// their turn even in blocks whose deposits take all the time.
    pub(super) fn fill(
        &mut self,
        deadline: Instant,
        pulse: &mut dyn Pulse,
    ) -> Result<(), BuildError> {
        loop {
            let started = Instant::now();
            let Offer { transactions, terms } = self.offer();
            if transactions.is_empty() {
                // An ordering window may end before anything new comes.
                let closes = self.pool().next_offer_at(started);
                let until = closes.map_or(deadline, |closes| closes.min(deadline));
                let is_over = started >= deadline;
                match if is_over { Wake::Time } else { pulse.wait(until) } {
                    Wake::Transactions => continue,
                    Wake::Time if until < deadline => continue,
                    Wake::Time | Wake::Shutdown => return Ok(()),
                }
            }
            if self.is_admissible(&transactions[0], terms.as_deref())? {
                self.execute(&transactions)?;
            }
            if Instant::now() >= deadline {
                return Ok(());
            }
            let interval = self.builder.config.mini_block_interval;
            let rest = interval.saturating_sub(started.elapsed());
            if !rest.is_zero() {
                // Whatever comes meanwhile is executed together.
                std::thread::park_timeout(rest);
            }
        }
    }

    /// Checks a sender's conditions right before the transaction: one that does not hold drops it.
    fn is_admissible(
        &mut self,
        transaction: &Transaction,
        terms: Option<&Terms>,
    ) -> Result<bool, BuildError> {
        let Some(terms) = terms else { return Ok(true) };
        let Some(unmet) = conditions::find_unmet(terms, &mut self.execution, self.view)? else {
            return Ok(true);
        };
        self.pool().reject(&transaction.hash(), unmet, Instant::now());
        Ok(false)
    }

    /// Executes a mini-block, and shows it when it is durable.
    fn execute(&mut self, offer: &[Transaction]) -> Result<(), BuildError> {
        let store = &self.builder.store;
        let hurry = store.hurry();
        let started = Instant::now();
        self.execution.extend(offer).inspect_err(|error| self.give_up(error))?;
        store.foresee(self.view, self.execution.touched());
        self.pace.note(offer.len(), started.elapsed());
        let changes = self.execution.changes()?;
        let (transactions, receipts) = self.execution.included();
        let first = self.durable;
        // Skipped ones alone are nothing to keep.
        let has_users = transactions[first..].iter().any(|tx| tx.as_signed().is_some());
        if has_users {
            self.bytes += transactions[first..].iter().map(batch_bytes_max).sum::<usize>();
            self.durable = transactions.len();
            let parts = (transactions[first..].to_vec(), receipts[first..].to_vec());
            store.extend_block(parts, changes.clone())?;
        }
        drop(hurry);
        self.settle_pool(&changes, first);
        Ok(())
    }

    /// What breaks the EVM leaves the pool: the block is finished without it.
    fn give_up(&self, error: &ExecuteError) {
        if let ExecuteError::Evm { transaction } | ExecuteError::Panic { transaction } = error
            && self.pool().give_up(transaction, Instant::now())
        {
            tracing::error!(%transaction, %error, "a transaction is dropped: it cannot be executed");
        }
    }

    fn pool(&self) -> MutexGuard<'b, Pool> {
        self.builder.pool()
    }

    /// The next part of what the pool has, as far as gas, the batch's bytes and the pressure allow.
    fn offer(&self) -> Offer {
        let orders = self.builder.config.pressure.orders();
        if !orders.takes_transactions {
            return Offer { transactions: Vec::new(), terms: None };
        }
        let mut bytes = self.bytes;
        let count = BLOCK_TRANSACTIONS_MAX.saturating_sub(self.execution.included().0.len());
        let mut pool = self.pool();
        pool.require_tip(orders.tip_wei_min);
        let fees = self.fees.as_ref();
        let extra_fee_wei =
            |transaction: &Transaction| FeeSchedule::extra_fee_under(fees, transaction);
        let mut transactions: Vec<_> = pool
            .best(self.base_fee_wei, self.execution.gas_left(), Instant::now(), &extra_fee_wei)
            .filter(|transaction| !self.refused.contains(&transaction.hash()))
            .take(count.min(self.pace.transactions_max()))
            .take_while(|transaction| {
                let before = bytes;
                bytes += batch_bytes_max(transaction);
                before < self.bytes_allowed && Batch::OVERHEAD_BYTES_MAX + bytes <= BLOCK_BYTES_MAX
            })
            .cloned()
            .collect();
        // Under the same lock: one that is replaced meanwhile has its conditions all the same.
        let mut conditional = pool.conditional(&transactions);
        drop(pool);
        transactions.truncate(conditions::up_to_next(&transactions, &conditional));
        let chunk = self.pace.chunk(transactions.iter().map(Transaction::gas_limit));
        transactions.truncate(chunk);
        let first = transactions.first().map(Transaction::hash);
        let terms = first.and_then(|hash| conditional.remove(&hash));
        Offer { transactions, terms }
    }

    /// Tells the pool what became of its transactions, those from `first` on.
    fn settle_pool(&mut self, changes: &Changes, first: usize) {
        let (transactions, _) = self.execution.included();
        let included = &transactions[first..];
        let mut nonces: Vec<(Address, u64)> = included
            .iter()
            .filter(|transaction| transaction.as_signed().is_some())
            .map(|transaction| (transaction.sender(), transaction.nonce().saturating_add(1)))
            .collect();
        if included.iter().any(|transaction| transaction.ty() == SET_CODE_TX_TYPE) {
            let accounts = changes.accounts.iter();
            nonces.extend(
                accounts.filter_map(|(address, account)| Some((*address, (*account)?.nonce))),
            );
        }
        let skipped = &self.execution.skipped()[self.told..];
        self.told += skipped.len();
        self.refused.extend(skipped.iter().map(|skipped| skipped.transaction.hash()));
        let now = Instant::now();
        let mut pool = self.builder.pool();
        let users = included.iter().filter(|transaction| transaction.as_signed().is_some());
        pool.note_ordered(users.map(Transaction::hash), self.execution.env().number, now);
        pool.remove_mined(&nonces);
        for skipped in skipped {
            // The pool knows which reasons pass; it keeps those transactions for a later block.
            pool.skip(&skipped.transaction.hash(), skipped.reason.clone(), now);
        }
    }
}
