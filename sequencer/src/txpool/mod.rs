//! Pending transactions: bounded, per-sender nonce-ordered queues with a reason for everything that
//! waits and everything that leaves.
//!
//! A synchronous, pure state machine: the caller passes accounts, fees and the time in, and holds
//! the lock. Beside it the [`Journal`], a file from which the pool is filled again after a restart.
//! Deliberately absent: state access, and execution.

mod account;
mod admission;
mod bounds;
mod clock;
mod error;
mod explain;
mod index;
mod journal;
mod lives;
mod order;
mod queue;
mod recent;
mod reinsert;
mod terms;
#[cfg(test)]
mod tests;

pub use account::AccountState;
pub use admission::Admission;
pub use bounds::REPLACEMENT_PERCENT;
pub use error::AddError;
pub use explain::{Explanation, Place};
pub use journal::{JOURNAL_BYTES_MAX, Journal, JournalError};
pub use lives::{DropReason, Dropped, Event, LIVES_MAX, STEPS_MAX, Step};
pub use order::{Best, Ordering};
pub use terms::{
    CONDITIONS_COST_MAX, Conditions, Contradiction, KnownAccount, KnownState, Terms, Unmet,
};

use alloy::primitives::{Address, B256, U256};
use clock::Clock;
use executor::{SkipReason, Transaction};
use index::Index;
use lives::Lives;
use queue::{Entry, Queue};
use recent::RecentNonces;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

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
    /// Length of an ordering window, for [`Ordering::PriorityFee`]: what arrives in one competes by
    /// fee when it closes. With zero there are no windows: all that waits competes at once.
    pub window: Duration,
    /// How long [`Pool::explain`] remembers what became of a transaction.
    pub explain: Duration,
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
            window: Duration::ZERO,
            explain: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// A transaction that passed [`Admission`], and what its sender asks with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// The transaction.
    pub transaction: Transaction,
    /// What is asked; `None` is the usual case.
    pub terms: Option<Arc<Terms>>,
    /// When it was received, in milliseconds since the unix epoch, if that was before a restart.
    pub received_unix_ms: Option<u64>,
}

impl From<Transaction> for Submission {
    fn from(transaction: Transaction) -> Self {
        Self { transaction, terms: None, received_unix_ms: None }
    }
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
    clock: Clock,
    senders: HashMap<Address, Queue>,
    index: Index,
    recent: RecentNonces,
    lives: Lives,
    /// Least effective tip of what is offered, wei per gas.
    tip_wei_min: u64,
    /// Hashes that came back or left unmined since [`Self::take_changed`].
    changed: Vec<B256>,
}

impl Pool {
    /// An empty pool.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            clock: Clock::start(config.window),
            senders: HashMap::new(),
            index: Index::default(),
            recent: RecentNonces::default(),
            lives: Lives::new(config.explain),
            tip_wei_min: 0,
            changed: Vec::new(),
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
        submission: impl Into<Submission>,
        account: AccountState,
        base_fee_wei: u64,
        now: Instant,
    ) -> Result<Added, AddError> {
        self.submit(submission.into(), account, base_fee_wei, now)
    }

    fn submit(
        &mut self,
        submission: Submission,
        account: AccountState,
        base_fee_wei: u64,
        now: Instant,
    ) -> Result<Added, AddError> {
        let transaction = &submission.transaction;
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
        for used in self.advance(sender, next, now) {
            self.note_dropped(used.transaction.hash(), DropReason::NonceUsed { next }, now);
        }
        let extra_fee_wei = account.extra_fee_wei(transaction);
        let replaced = self.check_queue(transaction, account.balance_wei, extra_fee_wei)?;
        let evicted = self.room_for(transaction, replaced)?;
        if let Some(old) = replaced {
            self.remove(&old, DropReason::Replaced { by: hash }, now);
        }
        for victim in &evicted {
            self.remove(victim, DropReason::Evicted, now);
        }
        self.enter((submission, extra_fee_wei), next, replaced.is_none(), now);
        let status = self.status(&hash, base_fee_wei).unwrap_or(Status::Ready);
        if let Status::NonceGap { missing } = status {
            self.lives.note(hash, Step::Parked { missing }, self.clock.unix_ms(now));
        }
        Ok(Added { hash, status, replaced, evicted })
    }

    /// Puts a newcomer, or one from before a restart, into its place.
    fn enter(
        &mut self,
        (submission, extra_fee_wei): (Submission, U256),
        next: u64,
        is_new_nonce: bool,
        now: Instant,
    ) {
        let Submission { transaction, terms, received_unix_ms } = submission;
        let (hash, now_ms) = (transaction.hash(), self.clock.unix_ms(now));
        let received_ms = received_unix_ms.unwrap_or(now_ms).min(now_ms);
        self.lives.note(hash, Step::Received, received_ms);
        if received_unix_ms.is_some() {
            self.lives.note(hash, Step::Restored, now_ms);
        }
        self.lives.keep_terms(&hash, terms.as_ref());
        // A machine that was started after the transaction came has no instant for that.
        let waited = Duration::from_millis(now_ms - received_ms);
        let added = now.checked_sub(waited).unwrap_or(now);
        let sequence = self.index.next_sequence();
        let window = self.clock.enter(added);
        let entry = Entry { transaction, extra_fee_wei, sequence, added, window, terms };
        self.insert(entry, next, is_new_nonce, now);
    }

    /// Next nonce of the sender as far as anything here knows.
    fn next_unmined(&self, sender: Address, account_nonce: u64) -> u64 {
        let queued = self.senders.get(&sender).map_or(0, Queue::next_nonce);
        account_nonce.max(queued).max(self.recent.get(&sender).unwrap_or(0))
    }

    /// With `tells` those behind a gap that this one closes are noted as ready.
    fn insert(&mut self, entry: Entry, next: u64, tells: bool, now: Instant) {
        let (sender, nonce) = (entry.transaction.sender(), entry.transaction.nonce());
        let queue = self.senders.entry(sender).or_insert_with(|| Queue::new(next));
        let end = queue.ready_end();
        self.index.leave(queue);
        self.index.insert(&entry);
        queue.insert(entry);
        self.index.enter(sender, queue);
        if tells && end == nonce {
            self.note_all(sender, nonce + 1, &Step::Ready, now);
        }
    }

    fn remove(&mut self, hash: &B256, reason: DropReason, now: Instant) -> Option<Transaction> {
        let (sender, nonce) = self.index.place(hash)?;
        let queue = self.senders.get_mut(&sender)?;
        self.index.leave(queue);
        let end = queue.ready_end();
        let removed = queue.remove(nonce);
        self.index.enter(sender, queue);
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        let entry = removed?;
        self.index.remove(&entry);
        // Its replacement comes into its place: what is behind it does not notice.
        if nonce < end && !matches!(reason, DropReason::Replaced { .. }) {
            self.note_range(sender, nonce + 1..end, &Step::Parked { missing: nonce }, now);
        }
        self.note_dropped(*hash, reason, now);
        Some(entry.transaction)
    }

    fn note_dropped(&mut self, hash: B256, reason: DropReason, now: Instant) {
        self.note_changed(hash);
        self.lives.note(hash, Step::Dropped(Box::new(reason)), self.clock.unix_ms(now));
    }

    /// For the journal. When nobody takes them the newest are not noted: what they would tell it can
    /// be found out again.
    fn note_changed(&mut self, hash: B256) {
        if self.changed.len() < self.config.transactions_max {
            self.changed.push(hash);
        }
    }

    /// Notes a step for the ready ones from a nonce on.
    fn note_all(&mut self, sender: Address, from: u64, step: &Step, now: Instant) {
        let end = self.senders.get(&sender).map_or(0, Queue::ready_end);
        self.note_range(sender, from..end, step, now);
    }

    fn note_range(
        &mut self,
        sender: Address,
        nonces: std::ops::Range<u64>,
        step: &Step,
        now: Instant,
    ) {
        let at_unix_ms = self.clock.unix_ms(now);
        let Some(queue) = self.senders.get(&sender) else { return };
        for entry in nonces.filter_map(|nonce| queue.get(nonce)) {
            self.lives.note(entry.transaction.hash(), step.clone(), at_unix_ms);
        }
    }

    /// Moves a sender's next nonce up and takes out what is used.
    fn advance(&mut self, sender: Address, next: u64, now: Instant) -> Vec<Entry> {
        let Some(queue) = self.senders.get_mut(&sender) else { return Vec::new() };
        if next <= queue.next_nonce() {
            return Vec::new();
        }
        self.index.leave(queue);
        let parked_from = queue.ready_end().max(next);
        let used = queue.advance(next);
        self.index.enter(sender, queue);
        if queue.is_empty() {
            self.senders.remove(&sender);
        }
        for entry in &used {
            self.index.remove(entry);
        }
        self.note_all(sender, parked_from, &Step::Ready, now);
        used
    }

    /// Notes that a block, sealed or being built, has executed these. Called before
    /// [`Self::remove_mined`], which takes them out.
    pub fn note_ordered(
        &mut self,
        hashes: impl IntoIterator<Item = B256>,
        block_number: u64,
        now: Instant,
    ) {
        let at_unix_ms = self.clock.unix_ms(now);
        for hash in hashes {
            self.lives.note(hash, Step::Ordered { block_number }, at_unix_ms);
        }
    }

    /// Tells the pool what blocks, sealed or being built, have used: each sender with its new next
    /// nonce. Returns how many pooled transactions left. Those that [`Self::note_ordered`] was not
    /// told of have lost their nonce to another transaction.
    pub fn remove_mined(&mut self, mined: &[(Address, u64)]) -> usize {
        let now = Instant::now();
        let mut removed = 0;
        for &(sender, next) in mined {
            self.recent.note(sender, next);
            for used in self.advance(sender, next, now) {
                removed += 1;
                let hash = used.transaction.hash();
                let last = self.lives.last(&hash).map(|last| &last.step);
                if !matches!(last, Some(Step::Ordered { .. })) {
                    self.note_dropped(hash, DropReason::NonceUsed { next }, now);
                }
            }
        }
        removed
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
        if !passes {
            return self.remove(hash, DropReason::Skipped(reason), now).is_some();
        }
        if self.index.contains(hash) {
            let step = Step::Skipped(Box::new(reason));
            self.lives.note(*hash, step, self.clock.unix_ms(now));
        }
        false
    }

    /// Drops a transaction whose condition did not hold when a block could have taken it. Returns
    /// whether it was here.
    pub fn reject(&mut self, hash: &B256, unmet: Unmet, now: Instant) -> bool {
        self.remove(hash, DropReason::Conditional(unmet), now).is_some()
    }

    /// Drops a transaction that this node fails to execute: no block could be built with it. Returns
    /// whether it was here.
    pub fn give_up(&mut self, hash: &B256, now: Instant) -> bool {
        self.remove(hash, DropReason::Unexecutable, now).is_some()
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

    /// Ready transactions in the configured order, for the builder: each pays `base_fee_wei`, is
    /// within its sender's cap together with `extra_fee_wei` (what it costs beside gas), came in an
    /// ordering window that is closed at `now`, and their gas limits together do not exceed
    /// `gas_limit`. What was taken must be told to [`Self::remove_mined`] before the next call, or is
    /// offered again.
    #[must_use]
    pub fn best<'p>(
        &'p self,
        base_fee_wei: u64,
        gas_limit: u64,
        now: Instant,
        extra_fee_wei: &'p dyn Fn(&Transaction) -> U256,
    ) -> Best<'p> {
        let demand = self.demand(base_fee_wei, now, extra_fee_wei);
        Best::new(demand, &self.senders, self.index.heads(), gas_limit)
    }

    /// When [`Self::best`] may have more than it has now although nothing new comes: when the open
    /// ordering window closes, if something came in it. Later than `now`; `None` where nothing but a
    /// newcomer helps.
    #[must_use]
    pub fn next_offer_at(&self, now: Instant) -> Option<Instant> {
        // Windows never fall with the order of arrival: the newest is in the open one, or nothing is.
        let (_, newest) = self.index.heads().last_key_value()?;
        match self.config.ordering {
            Ordering::Fcfs => None,
            Ordering::PriorityFee => {
                let window = newest.window.min(self.clock.open_window(now));
                Some(self.clock.closes_at(window)).filter(|at| *at > now)
            }
        }
    }

    fn entry(&self, hash: &B256) -> Option<&Entry> {
        let (sender, nonce) = self.index.place(hash)?;
        self.senders.get(&sender)?.get(nonce)
    }

    /// The pooled transaction of this hash.
    #[must_use]
    pub fn get(&self, hash: &B256) -> Option<&Transaction> {
        self.entry(hash).map(|entry| &entry.transaction)
    }

    /// What the sender of a pooled transaction asked with it.
    #[must_use]
    pub fn terms(&self, hash: &B256) -> Option<&Arc<Terms>> {
        self.entry(hash)?.terms.as_ref()
    }

    /// The terms of those among pooled transactions that have conditions. The builder asks for what
    /// it was offered: it checks them right before each is executed.
    #[must_use]
    pub fn conditional(&self, transactions: &[Transaction]) -> HashMap<B256, Arc<Terms>> {
        if !self.index.has_conditional() {
            return HashMap::new();
        }
        let entries = transactions.iter().filter_map(|tx| self.entry(&tx.hash()));
        let entries = entries.filter(|entry| entry.has_conditions());
        let terms = entries.map(|entry| (entry.transaction.hash(), entry.terms.clone()));
        terms.filter_map(|(hash, terms)| Some((hash, terms?))).collect()
    }

    /// A pooled transaction as it can be submitted again after a restart.
    #[must_use]
    pub fn submission(&self, hash: &B256) -> Option<Submission> {
        let Entry { transaction, terms, added, .. } = self.entry(hash)?;
        let received_unix_ms = Some(self.clock.unix_ms(*added));
        Some(Submission {
            transaction: transaction.clone(),
            terms: terms.clone(),
            received_unix_ms,
        })
    }

    /// Hashes of which the journal does not know that they came back, or that they left unmined.
    pub fn take_changed(&mut self) -> Vec<B256> {
        std::mem::take(&mut self.changed)
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

    /// Why and when a transaction left unmined, while the record lasts.
    #[must_use]
    pub fn dropped(&self, hash: &B256) -> Option<Dropped> {
        let Event { at_unix_ms, step: Step::Dropped(reason) } = self.lives.last(hash)? else {
            return None;
        };
        Some(Dropped { reason: (**reason).clone(), at_unix_ms: *at_unix_ms })
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

    /// The pool's time of day at an instant, in milliseconds since the unix epoch: that of all its
    /// events.
    #[must_use]
    pub fn unix_ms(&self, at: Instant) -> u64 {
        self.clock.unix_ms(at)
    }

    /// Raw bytes of what waits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.index.bytes()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }
}
