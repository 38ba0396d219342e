//! A helper: executes the transactions of its components ahead of the leader. Nothing it does
//! counts until the leader has compared it.

use super::board::{Board, Guide, Lesson, News, Part, Speculation, SpeculativeResult};
use crate::{
    block::BlockEnv,
    counters::Stopwatch,
    execute::guard,
    fees::{FeeAccounts, FeeSchedule},
    lane::{Access, Base, Lane, LaneJournal, Transfer, TransferRules},
    rules::ChainRules,
    state::StateView,
    transaction::{Body, Transaction},
};
use core::{mem, time::Duration};
use revm::context::JournalTr;
use std::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicBool},
    vec::Vec,
};

/// Before a transaction that takes this long the leader's changes are always read.
const NEWS_WORTH: Duration = Duration::from_micros(15);

/// How much of what a helper was told is in its journal.
#[derive(Clone, Copy, Default)]
pub(super) struct Heard {
    /// Lengths of the leader's log.
    log: (usize, usize),
    /// Transactions of the block whose changes were announced.
    announced: usize,
}

/// A helper between two batches: its journal, and what of the news is in it.
pub(crate) struct Helper<'v, V: StateView> {
    /// `None` before the first batch, and after a panic.
    journal: Option<LaneJournal<'v, V>>,
    view: &'v V,
    heard: Heard,
    abandoned: Arc<AtomicBool>,
}

impl<'v, V: StateView> Helper<'v, V> {
    pub(super) fn new(view: &'v V) -> Self {
        let abandoned = Arc::new(AtomicBool::new(false));
        Self { journal: None, view, heard: Heard::default(), abandoned }
    }

    /// What ends the execution of the transaction that this helper is at.
    pub(super) fn abandoned(&self) -> Arc<AtomicBool> {
        self.abandoned.clone()
    }

    /// Ends this helper.
    pub(super) fn retire(self) {
        if let Some(journal) = self.journal {
            journal.retire();
        }
    }

    /// Works until the batch is over. `fees` are in force for all of it.
    pub(super) fn work(
        &mut self,
        desk: usize,
        board: &Board<'_>,
        (rules, env): (&ChainRules, &BlockEnv),
        fees: Option<FeeSchedule>,
    ) {
        let transfers = TransferRules::new(rules, env);
        let new = || journal(self.view, transfers.fee_accounts, self.abandoned.clone());
        let kept = self.journal.take().unwrap_or_else(new);
        let heard = mem::take(&mut self.heard);
        let shift = AssertUnwindSafe(move || {
            let mut lane = Lane::new(kept, rules, env).teachable();
            lane.set_fees(fees);
            Shift {
                desk,
                board,
                lane,
                transfers,
                heard,
                misses: usize::MAX,
                marks: 0,
                ahead: VecDeque::new(),
                done: std::vec![false; board.transactions.len()],
                todo: BTreeSet::new(),
            }
            .run()
        });
        // A panic here is a defect, but only advice is lost: this helper begins anew.
        if let Ok((journal, heard)) = catch_unwind(shift) {
            (self.journal, self.heard) = (Some(journal), heard);
        }
        board.get_up(desk);
    }
}

fn journal<V: StateView>(
    view: &V,
    fee_accounts: FeeAccounts,
    abandoned: Arc<AtomicBool>,
) -> LaneJournal<'_, V> {
    let mut journal = LaneJournal::new(Base::of_helper(view, fee_accounts, abandoned));
    journal.set_traced();
    journal
}

/// A transaction that a helper has executed, and whose end it has not heard of.
struct Ahead {
    index: usize,
    access: Arc<Access>,
}

/// A helper at work.
struct Shift<'b, 'v, V: StateView> {
    desk: usize,
    board: &'b Board<'b>,
    lane: Lane<'v, V>,
    transfers: TransferRules,
    heard: Heard,
    /// Misses when the log was read the last time.
    misses: usize,
    /// Marks of the log that were read.
    marks: usize,
    /// In the order in which they were executed. Bounded by the batch.
    ahead: VecDeque<Ahead>,
    /// The transactions whose changes are in the lane because this helper executed them.
    done: Vec<bool>,
    /// To be executed once more.
    todo: BTreeSet<usize>,
}

impl<'v, V: StateView> Shift<'_, 'v, V> {
    fn run(mut self) -> (LaneJournal<'v, V>, Heard) {
        let board = self.board;
        let mut next = 0;
        while let Some(index) = board.plan.next_of(self.desk, next.max(board.leader_at() + 1)) {
            if board.is_over() {
                break;
            }
            next = index + 1;
            self.attempt(index);
        }
        while let Some(component) = board.plan.steal(self.desk, board.leader_at()) {
            for index in board.plan.transactions_of(component) {
                if board.is_over() {
                    break;
                }
                self.attempt(index);
            }
        }
        (self.lane.into_journal(), self.heard)
    }

    /// Executes a transaction, and before it those that turned out to need it once more.
    fn attempt(&mut self, index: usize) {
        let mut next = index;
        while !self.board.is_over() {
            let is_ready = self.board.guide.is_some() || self.is_ready(next);
            if is_ready && self.read_news(next) {
                self.todo.insert(next);
            } else if is_ready {
                self.attempt_one(next);
            }
            let Some(first) = self.todo.pop_first() else { return };
            next = first;
        }
    }

    /// Whether the one before it in its component is in this lane, or will be after reading the log;
    /// waits for the leader if that is at it just now.
    fn is_ready(&mut self, index: usize) -> bool {
        let board = self.board;
        let Some(before) = board.plan.before(index).filter(|&before| !self.done[before]) else {
            return true;
        };
        while board.leader_at() == before && !board.is_over() {
            std::thread::yield_now();
        }
        self.misses = usize::MAX;
        board.leader_at() > before
    }

    fn attempt_one(&mut self, index: usize) {
        let transaction = &self.board.transactions[index];
        if self.board.sit_down(self.desk, index)
            && let Some(speculation) = self.execute(index, transaction)
        {
            self.board.hand_over(self.desk, Box::new(speculation));
        }
        self.board.get_up(self.desk);
    }

    /// Brings the lane up to date: always before a transaction that is worth it, else only when the
    /// leader has missed a result since, since a good plan leaves nothing to tell. Whether there is
    /// something to execute once more.
    fn read_news(&mut self, index: usize) -> bool {
        if let Some(guide) = self.board.guide {
            self.follow(guide, index);
            return false;
        }
        let misses = self.board.misses();
        let is_worth_it = self.board.plan.time_of(index) >= NEWS_WORTH;
        if misses == self.misses && !(is_worth_it && self.board.has_news(self.heard.log)) {
            return false;
        }
        self.misses = misses;
        self.read_log()
    }

    /// Whether there is something to execute once more: what came after a missed transaction in its
    /// component was executed on wrong values, and is undone.
    fn read_log(&mut self) -> bool {
        let at = self.board.leader_at();
        let news = self.board.news(&mut self.heard.log, &mut self.marks);
        let is_new: Vec<bool> = news.parts().map(|part| self.is_new(&news, &part)).collect();
        let parts =
            || news.parts().zip(&is_new).filter(|(_, is_new)| **is_new).map(|(part, _)| part);
        let missed = parts().filter(|part| part.mark.is_miss).filter_map(|part| part.mark.index);
        let missed: Vec<u32> = missed.map(|index| self.board.plan.component_of(index)).collect();
        let has_undone = !missed.is_empty() && self.undo(&missed, at);
        for part in parts() {
            self.lane.journal_mut().apply_part(&news.patch, part.from, part.to);
        }
        while self.ahead.front().is_some_and(|ahead| ahead.index < at) {
            self.ahead.pop_front();
        }
        has_undone
    }

    /// Whether a part of the log is news, and not what this helper has done itself.
    fn is_new(&self, news: &News, part: &Part) -> bool {
        let Some(index) = part.mark.index else { return true };
        if !self.done[index] {
            return true;
        }
        let fee_accounts = &self.transfers.fee_accounts;
        let is_known = |ahead: &Ahead| {
            let done = || ahead.access.values_after();
            ahead.index == index && news.patch.part_is(part.from, part.to, &done(), fee_accounts)
        };
        part.mark.is_miss && !self.ahead.iter().any(is_known)
    }

    /// Remembers what a transaction changed, as long as another one may depend on it.
    fn note(&mut self, index: usize, access: Option<&Arc<Access>>) {
        let Some(access) = access else { return };
        self.done[index] = true;
        if !self.board.plan.is_alone(index) {
            self.ahead.push_back(Ahead { index, access: access.clone() });
        }
    }

    /// Undoes what was executed of these components and the leader has not come to.
    fn undo(&mut self, components: &[u32], at: usize) -> bool {
        let mut has_undone = false;
        for ahead in self.ahead.iter().rev().filter(|ahead| ahead.index > at) {
            if components.contains(&self.board.plan.component_of(ahead.index)) {
                self.lane.journal_mut().apply_patch(&ahead.access.values_before());
                self.done[ahead.index] = false;
                self.todo.insert(ahead.index);
                has_undone = true;
            }
        }
        let done = &self.done;
        self.ahead.retain(|ahead| done[ahead.index]);
        has_undone
    }

    /// Brings the lane to the state that an access list announces before a transaction. The log
    /// counts only until the batch begins: then the list is ahead of it.
    fn follow(&mut self, guide: Guide<'_>, index: usize) {
        if self.misses == usize::MAX {
            self.misses = 0;
            self.read_log();
        }
        let upto = guide.first + index;
        for announcement in guide.announced.of(self.heard.announced..upto) {
            self.lane.journal_mut().believe(announcement);
        }
        self.heard.announced = upto;
    }

    /// Plain transfers are executed for this lane alone: comparing one costs what executing it does.
    fn execute(&mut self, index: usize, transaction: &Transaction) -> Option<Speculation> {
        let Body::Signed(signed) = transaction.body() else { return None };
        let fees = self.lane.fees();
        if let Some(transfer) = Transfer::of(signed, transaction, &self.transfers, fees) {
            let journal = self.lane.journal_mut();
            journal.begin_trace(false);
            if journal.transfer_plainly(&transfer, None).unwrap_or(false) {
                let access = journal.take_access().map(Arc::new);
                self.note(index, access.as_ref());
                return None;
            }
        }
        let learns = self.board.forecast.learns(index);
        let lane = &mut self.lane;
        lane.journal_mut().set_observed(learns, true);
        lane.journal_mut().begin_trace(transaction.has_access_list());
        let stopwatch = Stopwatch::start_if(learns);
        let outcome = guard(transaction, || lane.transact_without_payout(signed, transaction));
        let lesson = stopwatch.map(|it| Lesson::of(lane.journal(), it.elapsed()));
        // An error here may come from values that are not the final ones: the leader will see.
        let access = lane.journal_mut().take_access().map(Arc::new);
        self.note(index, access.as_ref());
        let result = outcome
            .ok()
            .zip(access)
            .map(|((outcome, payout), access)| SpeculativeResult { outcome, payout, access });
        Some(Speculation { index, result, lesson })
    }
}
