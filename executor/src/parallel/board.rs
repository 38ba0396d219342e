//! What leader and helpers share while a batch of transactions is executed. No result depends on it.

use super::{announced::Announced, forecast::Forecast, plan::Plan};
use crate::{
    error::SkipReason,
    evm::Outcome,
    knowledge::{Call, Function, Knowledge, Observation},
    lane::{Access, LaneJournal, Patch},
    state::StateView,
    transaction::Transaction,
};
use alloy_primitives::{Address, B256, TxKind, U256};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crossbeam_queue::ArrayQueue;
use std::{
    boxed::Box,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    vec::Vec,
};

/// Results that wait to be collected by the leader, for each helper; when they are that many the
/// helper waits. What is collected before its turn is bounded by the batch.
const RESULTS_MAX: usize = 4_096;

/// Of [`Desk::at`]: executing nothing.
const IDLE: usize = usize::MAX;

/// A transaction that a helper executed.
pub(super) struct Speculation {
    pub(super) index: usize,
    /// `None` when the leader has to execute it itself.
    pub(super) result: Option<SpeculativeResult>,
    pub(super) lesson: Option<Lesson>,
}

/// What a transaction did, to learn from if it turns out to be true.
pub(crate) struct Lesson {
    slots: Vec<(Address, U256, bool)>,
    hashes: Vec<(B256, B256, B256)>,
}

impl Lesson {
    /// Of the last transaction of a lane, which was observed.
    pub(crate) fn of<V: StateView>(journal: &LaneJournal<'_, V>) -> Self {
        Self { slots: journal.observed_slots(), hashes: journal.observed_hashes().to_vec() }
    }

    pub(crate) fn teach(
        &self,
        knowledge: &Knowledge,
        functions: (Function, Function),
        transaction: &Transaction,
        gas_used: u64,
    ) {
        let TxKind::Call(to) = transaction.kind() else { return };
        let call = Call { sender: transaction.sender(), to, input: transaction.input() };
        let Self { slots, hashes } = self;
        knowledge.learn(functions, &call, &Observation { slots, hashes, gas_used });
    }
}

/// What became of it, if everything it read is as the helper saw it.
pub(super) struct SpeculativeResult {
    pub(super) outcome: Result<Outcome, SkipReason>,
    pub(super) fee_wei: U256,
    pub(super) access: Access,
}

/// One helper's place.
pub(super) struct Desk {
    results: ArrayQueue<Box<Speculation>>,
    at: AtomicUsize,
    abandoned: Arc<AtomicBool>,
}

impl Desk {
    fn new(abandoned: Arc<AtomicBool>) -> Self {
        Self { results: ArrayQueue::new(RESULTS_MAX), at: AtomicUsize::new(IDLE), abandoned }
    }

    /// Ends what the helper is executing: the leader does it itself, or the batch is over. A helper
    /// that has just gone on to another transaction loses that one, which costs time only.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// The next result that the helper has handed over.
    pub(super) fn take(&self) -> Option<Box<Speculation>> {
        self.results.pop()
    }

    /// Whether the helper is executing this transaction right now.
    pub(super) fn is_at(&self, index: usize) -> bool {
        self.at.load(Ordering::SeqCst) == index
    }
}

/// An access list's announcements, for a batch that begins with this transaction of the block.
#[derive(Clone, Copy)]
pub(crate) struct Guide<'a> {
    pub(crate) announced: &'a Announced,
    pub(crate) first: usize,
}

/// Everything shared.
pub(super) struct Board<'a> {
    pub(super) transactions: &'a [Transaction],
    pub(super) plan: &'a Plan,
    pub(super) forecast: &'a Forecast,
    pub(super) guide: Option<Guide<'a>>,
    pub(super) desks: Vec<Desk>,
    /// Index the leader has come to.
    leader_at: AtomicUsize,
    is_over: AtomicBool,
    /// The leader's changes since the block began.
    log: Mutex<Patch>,
    log_len: AtomicUsize,
    /// Times the leader could not use a result, or did not get one.
    misses: AtomicUsize,
}

impl<'a> Board<'a> {
    pub(super) fn new(
        transactions: &'a [Transaction],
        (plan, forecast, guide): (&'a Plan, &'a Forecast, Option<Guide<'a>>),
        log: Patch,
        helpers: impl Iterator<Item = Arc<AtomicBool>>,
    ) -> Self {
        Self {
            transactions,
            plan,
            forecast,
            guide,
            desks: helpers.map(Desk::new).collect(),
            leader_at: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            log_len: AtomicUsize::new(log.len()),
            misses: AtomicUsize::new(0),
            log: Mutex::new(log),
        }
    }

    pub(super) fn into_log(self) -> Patch {
        self.log.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn leader_comes_to(&self, index: usize) {
        self.leader_at.store(index, Ordering::SeqCst);
    }

    pub(super) fn leader_at(&self) -> usize {
        self.leader_at.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.desks.iter().for_each(Desk::abandon);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The helper of a desk sits down to a transaction, unless the leader is there already. Either
    /// the leader sees the helper at it, or the helper sees that the leader came first.
    pub(super) fn sit_down(&self, desk: usize, index: usize) -> bool {
        self.desks[desk].abandoned.store(false, Ordering::Relaxed);
        self.desks[desk].at.store(index, Ordering::SeqCst);
        self.leader_at() < index && !self.is_over()
    }

    pub(super) fn get_up(&self, desk: usize) {
        self.desks[desk].at.store(IDLE, Ordering::SeqCst);
    }

    /// Hands a result over, waiting for room; gives up when the leader has ended.
    pub(super) fn hand_over(&self, desk: usize, speculation: Box<Speculation>) {
        let mut speculation = speculation;
        while let Err(returned) = self.desks[desk].results.push(speculation) {
            if self.is_over() {
                return;
            }
            speculation = returned;
            std::thread::yield_now();
        }
    }

    fn log(&self) -> MutexGuard<'_, Patch> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes changes of the leader's.
    pub(super) fn publish(&self, patch: &mut Patch) {
        if patch.is_empty() {
            return;
        }
        let mut log = self.log();
        log.append(patch);
        self.log_len.store(log.len(), Ordering::Release);
    }

    /// The leader executed a helper's transaction itself.
    pub(super) fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn misses(&self) -> usize {
        self.misses.load(Ordering::Relaxed)
    }

    /// What was published since `seen`, which is moved on.
    pub(super) fn news(&self, seen: &mut (usize, usize)) -> Option<Patch> {
        if self.log_len.load(Ordering::Acquire) == seen.0 + seen.1 {
            return None;
        }
        let log = self.log();
        let news = log.since(*seen);
        *seen = log.lengths();
        Some(news)
    }
}
