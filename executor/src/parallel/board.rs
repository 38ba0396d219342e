//! What leader and helpers share while a batch of transactions is executed. No result depends on it.

use super::{announced::Announced, forecast::Forecast, plan::Plan};
use crate::{
    error::SkipReason,
    evm::Outcome,
    fees::Payout,
    knowledge::{Call, Function, Knowledge, Observation},
    lane::{Access, LaneJournal, Patch},
    state::StateView,
    transaction::Transaction,
};
use alloy_primitives::{Address, B256, TxKind, U256};
use core::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};
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
    time: Duration,
}

impl Lesson {
    /// Of the last transaction of a lane, which was observed and took this long.
    pub(crate) fn of<V: StateView>(journal: &LaneJournal<'_, V>, time: Duration) -> Self {
        Self { slots: journal.observed_slots(), hashes: journal.observed_hashes().to_vec(), time }
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
        let Self { slots, hashes, time } = self;
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let observation = Observation { slots, hashes, gas_used, time_ns };
        knowledge.learn(functions, &call, &observation);
    }
}

/// What became of it, if everything it read is as the helper saw it.
pub(super) struct SpeculativeResult {
    pub(super) outcome: Result<Outcome, SkipReason>,
    pub(super) payout: Payout,
    /// Shared with the helper, which may have to undo it.
    pub(super) access: Arc<Access>,
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
    log: Mutex<Log>,
    log_len: AtomicUsize,
    /// Times the leader could not use a result, or did not get one.
    misses: AtomicUsize,
}

/// The leader's changes since the block began.
struct Log {
    patch: Patch,
    marks: Vec<Mark>,
}

/// The changes of one transaction in a log.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// `None` for what was there when the batch began.
    pub(super) index: Option<usize>,
    /// A helper's result for it was of no use, or too late.
    pub(super) is_miss: bool,
    /// Lengths of the log after it.
    pub(super) ends: (usize, usize),
}

/// What was added to a log.
pub(super) struct News {
    pub(super) patch: Patch,
    marks: Vec<Mark>,
    /// Lengths of the log where it begins.
    start: (usize, usize),
}

/// The changes of one transaction in what was added to a log.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) mark: Mark,
    pub(super) from: (usize, usize),
    pub(super) to: (usize, usize),
}

impl News {
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        let mut from = (0, 0);
        self.marks.iter().map(move |&mark| {
            let (accounts, slots) = mark.ends;
            let start = self.start;
            let to = (accounts.saturating_sub(start.0), slots.saturating_sub(start.1));
            Part { mark, from: core::mem::replace(&mut from, to), to }
        })
    }
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
            log: Mutex::new(Log {
                marks: std::vec![Mark { index: None, is_miss: false, ends: log.lengths() }],
                patch: log,
            }),
        }
    }

    pub(super) fn into_log(self) -> Patch {
        self.log.into_inner().unwrap_or_else(PoisonError::into_inner).patch
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

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what a transaction changed. A miss is one that a helper should have executed.
    pub(super) fn publish(&self, index: usize, is_miss: bool, patch: &mut Patch) {
        if patch.is_empty() && !is_miss {
            return;
        }
        let mut log = self.log();
        log.patch.append(patch);
        let ends = log.patch.lengths();
        log.marks.push(Mark { index: Some(index), is_miss, ends });
        self.log_len.store(log.patch.len(), Ordering::Release);
        if is_miss {
            self.misses.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn misses(&self) -> usize {
        self.misses.load(Ordering::Acquire)
    }

    /// What was published since `heard` and after so many marks; both are moved on.
    pub(super) fn news(&self, heard: &mut (usize, usize), marks: &mut usize) -> News {
        let log = self.log();
        let (patch, start) = (log.patch.since(*heard), *heard);
        let news = News { patch, marks: log.marks[*marks..].to_vec(), start };
        *heard = log.patch.lengths();
        *marks = log.marks.len();
        news
    }

    /// Whether there are changes that were published since `heard`.
    pub(super) fn has_news(&self, heard: (usize, usize)) -> bool {
        self.log_len.load(Ordering::Acquire) != heard.0 + heard.1
    }
}
