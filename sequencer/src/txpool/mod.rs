//! Pending transactions: bounded, per-sender nonce-ordered queues with a reason for everything that
//! waits and everything that leaves.
//!
//! A synchronous, pure state machine: the caller passes accounts, fees and the time in, and holds
//! the lock. Deliberately absent: state access, persistence (a restart begins with an empty pool),
//! and execution.

mod admission;
mod drops;
mod error;
mod index;
mod order;
mod queue;
mod recent;
#[cfg(test)]
mod tests;

pub use admission::Admission;
pub use drops::{DROPS_MAX, DropReason, Dropped};
pub use error::AddError;
pub use order::{Best, Ordering};

use admission::priority_fee_wei;
use alloy::{
    consensus::Transaction as _,
    primitives::{Address, B256, U256},
};
use drops::Drops;
use executor::{SkipReason, Transaction};
use index::Index;
use queue::{Entry, Queue};
use recent::RecentNonces;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// A replacement must offer this many percent of the replaced fees, on both of them.
pub const REPLACEMENT_PERCENT: u128 = 110;

/// Bounds and policy of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Transactions in the pool. When full, a newcomer that pays more evicts the cheapest; one that
    /// does not is refused.
    pub transactions_max: usize,
    /// Their raw bytes together; same consequence.
    pub bytes_max: usize,
    /// Transactions of one sender; the next is refused, replacements are not.
    pub sender_slots_max: usize,
    /// How long a transaction may wait before [`Pool::expire`] drops it.
    pub ttl: Duration,
    /// Order across senders.
    pub ordering: Ordering,
}

impl Default for Config {
    /// Two full blocks of 100,000 plain transfers, a quarter of a gigabyte at most; a sender may
    /// queue what a load generator sends in a burst; three hours as geth's pool.
    fn default() -> Self {
        Self {
            transactions_max: 200_000,
            bytes_max: 256 * 1024 * 1024,
            sender_slots_max: 4_096,
            ttl: Duration::from_secs(3 * 60 * 60),
            ordering: Ordering::Fcfs,
        }
    }
}

/// What the pool must know of a sender, read from the latest state.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountState {
    /// Next nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance_wei: U256,
    /// Whether it has code that is no EIP-7702 delegation (EIP-3607 then forbids it to send).
    pub is_contract: bool,
}

/// Whether a pooled transaction can be in the next block, and what it waits for if not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A block may take it now.
    Ready,
    /// A transaction with this nonce must come first.
    NonceGap {
        /// The missing nonce.
        missing: u64,
    },
    /// It is in order, and its fee cap is below the base fee.
    FeeBelowBaseFee {
        /// The base fee it was compared with, wei.
        base_fee_wei: u64,
    },
}

/// An admitted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its hash.
    pub hash: B256,
    /// Where it stands.
    pub status: Status,
    /// The transaction it replaced.
    pub replaced: Option<B256>,
    /// Cheaper transactions that made room.
    pub evicted: Vec<B256>,
}

/// How many transactions wait, as txpool_status reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// In nonce order from the account's next nonce on.
    pub ready: usize,
    /// Behind a gap.
    pub parked: usize,
}

/// The pool.
#[derive(Debug)]
pub struct Pool {
    config: Config,
    senders: HashMap<Address, Queue>,
    index: Index,
    recent: RecentNonces,
    drops: Drops,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            senders: HashMap::new(),
            index: Index::default(),
            recent: RecentNonces::default(),
            drops: Drops::default(),
        }
    }

    /// Adds a transaction that passed [`Admission`]. `account` is the sender in the latest state;
    /// nonces that [`Self::remove_mined`] reported and that state does not show yet still count.
    /// `base_fee_wei` only decides the reported [`Status`].
    ///
    /// # Errors
    /// [`AddError`]; the pool is unchanged then, except for transactions whose nonces `account`
    /// shows to be used.
    pub fn add(
        &mut self,
        transaction: Transaction,
        account: AccountState,
        base_fee_wei: u64,
        now: Instant,
    ) -> Result<Added, AddError> {
        let (hash, sender, nonce) = (transaction.hash(), transaction.sender(), transaction.nonce());
        if self.index.contains(&hash) {
            return Err(AddError::AlreadyKnown);
        }
        if account.is_contract {
            return Err(AddError::SenderNotEoa);
        }
        let next = self.next_unmined(sender, account.nonce);
        if nonce < next {
            return Err(AddError::NonceTooLow { next, nonce });
        }
        for used in self.advance(sender, next) {
            let (hash, reason) = (used.transaction.hash(), DropReason::NonceUsed { next });
            self.drops.push(Dropped { hash, reason, at: now });
        }
        let replaced = self.check_queue(&transaction, account.balance_wei)?;
        let evicted = self.room_for(&transaction, replaced)?;
        if let Some(old) = replaced {
            self.remove(&old, DropReason::Replaced { by: hash }, now);
        }
        for victim in &evicted {
            self.remove(victim, DropReason::Evicted, now);
        }
        self.insert(transaction, next, self.index.next_sequence(), now);
        let status = self.status(&hash, base_fee_wei).unwrap_or(Status::Ready);
        Ok(Added { hash, status, replaced, evicted })
    }

    /// Next nonce of the sender as far as anything here knows.
    fn next_unmined(&self, sender: Address, account_nonce: u64) -> u64 {
        let queued = self.senders.get(&sender).map_or(0, Queue::next_nonce);
        account_nonce.max(queued).max(self.recent.get(&sender).unwrap_or(0))
    }

    /// Checks against the sender's own queue; returns what would be replaced.
    fn check_queue(
        &self,
        transaction: &Transaction,
        balance_wei: U256,
    ) -> Result<Option<B256>, AddError> {
        let queue = self.senders.get(&transaction.sender());
        let old = queue.and_then(|queue| queue.get(transaction.nonce()));
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
        let queued_wei =
            queued_wei.saturating_sub(old.map_or(U256::ZERO, Transaction::max_cost_wei));
        let cost_wei = transaction.max_cost_wei();
        if queued_wei.saturating_add(cost_wei) > balance_wei {
            return Err(AddError::InsufficientFunds { balance_wei, queued_wei, cost_wei });
        }
        Ok(old.map(Transaction::hash))
    }

    /// The cheapest transactions that must leave for this one to fit; none of them pays as much.
    fn room_for(
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

    fn insert(&mut self, transaction: Transaction, next: u64, sequence: u64, now: Instant) {
        let sender = transaction.sender();
        let queue = self.senders.entry(sender).or_insert_with(|| Queue::new(next));
        self.index.leave(queue);
        self.index.insert(&transaction, sequence, now);
        queue.insert(Entry { transaction, sequence, added: now });
        self.index.enter(sender, queue);
    }

    fn remove(&mut self, hash: &B256, reason: DropReason, now: Instant) -> Option<Transaction> {
        let (sender, nonce) = self.index.place(hash)?;
        let queue = self.senders.get_mut(&sender)?;
        self.index.leave(queue);
        let removed = queue.remove(nonce);
        self.index.enter(sender, queue);
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        let entry = removed?;
        self.index.remove(&entry);
        self.drops.push(Dropped { hash: *hash, reason, at: now });
        Some(entry.transaction)
    }

    /// Moves a sender's next nonce up and takes out what is used.
    fn advance(&mut self, sender: Address, next: u64) -> Vec<Entry> {
        let Some(queue) = self.senders.get_mut(&sender) else { return Vec::new() };
        if next <= queue.next_nonce() {
            return Vec::new();
        }
        self.index.leave(queue);
        let used = queue.advance(next);
        self.index.enter(sender, queue);
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        for entry in &used {
            self.index.remove(entry);
        }
        used
    }

    /// Tells the pool what blocks, sealed or being built, have used: each sender with its new next
    /// nonce. Returns how many pooled transactions left.
    /// They leave no record here: they are in the chain.
    pub fn remove_mined(&mut self, mined: &[(Address, u64)]) -> usize {
        let mut removed = 0;
        for &(sender, next) in mined {
            self.recent.note(sender, next);
            removed += self.advance(sender, next).len();
        }
        removed
    }

    /// Puts the transactions of removed L2 blocks back, in their order and before everything that
    /// waits, after the head went back. Balances are not checked again: execution does. What no
    /// longer fits the bounds is dropped as evicted.
    pub fn reinsert(&mut self, transactions: Vec<Transaction>, now: Instant) {
        self.recent.clear();
        let signed: Vec<Transaction> =
            transactions.into_iter().filter(|tx| tx.as_signed().is_some()).collect();
        let lowest = lowest_nonces(&signed);
        for (sender, next) in &lowest {
            if let Some(queue) = self.senders.get_mut(sender) {
                self.index.leave(queue);
                queue.rewind(*next);
                self.index.enter(*sender, queue);
            }
        }
        let first = self.index.front_sequences(signed.len());
        for (sequence, transaction) in (first..).zip(signed) {
            let next = lowest.get(&transaction.sender()).copied().unwrap_or(0);
            self.reinsert_one(transaction, next, sequence, now);
        }
    }

    fn reinsert_one(&mut self, transaction: Transaction, next: u64, sequence: u64, now: Instant) {
        let hash = transaction.hash();
        if self.index.contains(&hash) {
            return;
        }
        let queue = self.senders.get(&transaction.sender());
        let rival = queue.and_then(|queue| queue.get(transaction.nonce()));
        // It was acknowledged once; a rival that came later gives way.
        let rival = rival.map(|entry| entry.transaction.hash());
        if let Some(rival) = rival {
            self.remove(&rival, DropReason::Replaced { by: hash }, now);
        }
        let Ok(evicted) = self.room_for(&transaction, None) else {
            self.drops.push(Dropped { hash, reason: DropReason::Evicted, at: now });
            return;
        };
        for victim in &evicted {
            self.remove(victim, DropReason::Evicted, now);
        }
        self.insert(transaction, next, sequence, now);
    }

    /// Tells the pool that execution refused an offered transaction. Drops it with the reason,
    /// unless the reason passes by itself (nonce not reached, fee below base fee, block full).
    pub fn skip(&mut self, hash: &B256, reason: SkipReason, now: Instant) -> bool {
        let passes = matches!(
            reason,
            SkipReason::NonceTooHigh { .. }
                | SkipReason::FeeBelowBaseFee
                | SkipReason::BlockGas { .. }
                | SkipReason::BlockBlobGas
        );
        !passes && self.remove(hash, DropReason::Skipped(reason), now).is_some()
    }

    /// Drops what waited longer than the configured time. Returns how many.
    pub fn expire(&mut self, now: Instant) -> usize {
        let Some(limit) = now.checked_sub(self.config.ttl) else { return 0 };
        let expired = self.index.added_before(limit);
        for hash in &expired {
            self.remove(hash, DropReason::Expired, now);
        }
        expired.len()
    }

    /// Ready transactions in the configured order, for the builder: each pays `base_fee_wei`, and
    /// their gas limits together do not exceed `gas_limit`.
    #[must_use]
    pub fn best(&self, base_fee_wei: u64, gas_limit: u64) -> Best<'_> {
        let heads = self.index.heads();
        Best::new(self.config.ordering, &self.senders, heads, base_fee_wei, gas_limit)
    }

    /// The pooled transaction of this hash.
    #[must_use]
    pub fn get(&self, hash: &B256) -> Option<&Transaction> {
        let (sender, nonce) = self.index.place(hash)?;
        Some(&self.senders.get(&sender)?.get(nonce)?.transaction)
    }

    /// Where a pooled transaction stands at this base fee; `None` when it is not here.
    #[must_use]
    pub fn status(&self, hash: &B256, base_fee_wei: u64) -> Option<Status> {
        let (sender, nonce) = self.index.place(hash)?;
        let queue = self.senders.get(&sender)?;
        let entry = queue.get(nonce)?;
        Some(if nonce >= queue.ready_end() {
            Status::NonceGap { missing: queue.ready_end() }
        } else if entry.transaction.max_fee_per_gas_wei() < u128::from(base_fee_wei) {
            Status::FeeBelowBaseFee { base_fee_wei }
        } else {
            Status::Ready
        })
    }

    /// Why a transaction left unmined, while the record lasts.
    #[must_use]
    pub fn dropped(&self, hash: &B256) -> Option<&Dropped> {
        self.drops.get(hash)
    }

    /// First nonce of the sender that is neither mined nor ready here: what a wallet uses next.
    /// `account_nonce` is that of the latest state.
    #[must_use]
    pub fn next_nonce(&self, sender: Address, account_nonce: u64) -> u64 {
        let known = account_nonce.max(self.recent.get(&sender).unwrap_or(0));
        self.senders.get(&sender).map_or(known, |queue| known.max(queue.ready_end()))
    }

    /// What waits, of one sender or of all: the ready and the parked, each by nonce within a sender;
    /// `None` when there are more than `max`.
    #[must_use]
    pub fn contents(
        &self,
        sender: Option<Address>,
        max: usize,
    ) -> Option<(Vec<Transaction>, Vec<Transaction>)> {
        let queues: Vec<&Queue> = match sender {
            Some(sender) => self.senders.get(&sender).into_iter().collect(),
            None if self.index.len() > max => return None,
            None => self.senders.values().collect(),
        };
        let (mut ready, mut parked) = (Vec::new(), Vec::new());
        for queue in queues {
            for entry in queue.entries().take(max + 1) {
                let transaction = entry.transaction.clone();
                match transaction.nonce() < queue.ready_end() {
                    true => ready.push(transaction),
                    false => parked.push(transaction),
                }
            }
        }
        (ready.len() + parked.len() <= max).then_some((ready, parked))
    }

    /// How many transactions wait.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let ready = self.index.ready();
        Counts { ready, parked: self.index.len() - ready }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }
}

/// The lowest nonce of each account that removed blocks had used: by sending, or by an EIP-7702
/// authorization, which counts the authority's nonce too.
fn lowest_nonces(transactions: &[Transaction]) -> HashMap<Address, u64> {
    let mut lowest: HashMap<Address, u64> = HashMap::new();
    let mut lower = |account: Address, nonce: u64| {
        let next = lowest.entry(account).or_insert(nonce);
        *next = nonce.min(*next);
    };
    for transaction in transactions {
        lower(transaction.sender(), transaction.nonce());
        let signed = transaction.as_signed();
        let authorizations = signed.and_then(|signed| signed.authorization_list());
        for authorization in authorizations.unwrap_or_default() {
            // One that cannot be recovered used no nonce.
            if let Ok(authority) = authorization.recover_authority() {
                lower(authority, authorization.nonce);
            }
        }
    }
    lowest
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
