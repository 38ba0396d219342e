//! The bounds of the pool, and who must leave for a newcomer: replacement within a sender, eviction
//! across senders.
//!
//! Only decides; the pool acts.

use super::{
    AddError, Pool,
    admission::priority_fee_wei,
    queue::{Entry, Queue},
};
use alloy::primitives::{B256, U256};
use executor::Transaction;

/// A replacement must offer this many percent of the replaced fees, on both of them.
pub const REPLACEMENT_PERCENT: u128 = 110;

impl Pool {
    /// Checks against the sender's own queue; returns what would be replaced.
    pub(super) fn check_queue(
        &self,
        transaction: &Transaction,
        balance_wei: U256,
        extra_fee_wei: U256,
    ) -> Result<Option<B256>, AddError> {
        let queue = self.senders.get(&transaction.sender());
        let old = queue.and_then(|queue| queue.get(transaction.nonce()));
        let old_cost_wei = old.map_or(U256::ZERO, Entry::cost_max_wei);
        let old = old.map(|entry| &entry.transaction);
        if let Some(old) = old
            && !outbids(transaction, old)
        {
            return Err(AddError::ReplacementUnderpriced);
        }
        let slots = self.config.sender_slots_max;
        if old.is_none() && queue.map_or(0, Queue::len) >= slots {
            return Err(AddError::SenderFull { slots });
        }
        let queued_wei = queue.map_or(U256::ZERO, Queue::cost_wei);
        let queued_wei = queued_wei.saturating_sub(old_cost_wei);
        let cost_wei = transaction.max_cost_wei().saturating_add(extra_fee_wei);
        if queued_wei.saturating_add(cost_wei) > balance_wei {
            return Err(AddError::InsufficientFunds { balance_wei, queued_wei, cost_wei });
        }
        Ok(old.map(Transaction::hash))
    }

    /// The cheapest transactions that must leave for this one to fit; none of them pays as much.
    pub(super) fn room_for(
        &self,
        transaction: &Transaction,
        replaced: Option<B256>,
    ) -> Result<Vec<B256>, AddError> {
        let replaced_bytes =
            replaced.and_then(|hash| self.get(&hash)).map_or(0, |old| old.raw().len());
        let mut count = self.index.len() + 1 - usize::from(replaced.is_some());
        let mut bytes = self.index.bytes() + transaction.raw().len() - replaced_bytes;
        let mut victims = Vec::new();
        let mut cheapest = self.index.cheapest();
        while count > self.config.transactions_max || bytes > self.config.bytes_max {
            let Some((fee_wei, hash)) = cheapest.next() else { return Err(AddError::PoolFull) };
            if fee_wei >= transaction.max_fee_per_gas_wei() {
                return Err(AddError::PoolFull);
            }
            let Some(victim) = self.get(&hash) else { continue };
            if Some(hash) == replaced {
                continue;
            }
            // Its own earlier nonce must not make room: it would only park itself.
            if victim.sender() == transaction.sender() && victim.nonce() < transaction.nonce() {
                return Err(AddError::PoolFull);
            }
            count -= 1;
            bytes -= victim.raw().len();
            victims.push(hash);
        }
        Ok(victims)
    }
}

/// Whether `new` pays at least a tenth more than `old` on both fees, and more at all.
fn outbids(new: &Transaction, old: &Transaction) -> bool {
    let raised = |new_wei: u128, old_wei: u128| {
        let wanted = U256::from(old_wei) * U256::from(REPLACEMENT_PERCENT);
        new_wei > old_wei && U256::from(new_wei) * U256::from(100) >= wanted
    };
    raised(new.max_fee_per_gas_wei(), old.max_fee_per_gas_wei())
        && raised(priority_fee_wei(new), priority_fee_wei(old))
}
