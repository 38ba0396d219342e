//! A helper: executes the transactions of its components ahead of the leader. Nothing it does
//! counts until the leader has compared it.

use super::board::{Board, Guide, Lesson, Speculation, SpeculativeResult};
use crate::{
    block::BlockEnv,
    execute::guard,
    lane::{Base, Lane, LaneJournal, Transfer, TransferRules},
    rules::ChainRules,
    state::StateView,
    transaction::{Body, Transaction},
};
use alloy_primitives::Address;
use core::{mem, time::Duration};
use revm::context::JournalTr;
use std::{
    boxed::Box,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicBool},
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

    /// Works until the batch is over.
    pub(super) fn work(
        &mut self,
        desk: usize,
        board: &Board<'_>,
        rules: &ChainRules,
        env: &BlockEnv,
    ) {
        let new = || journal(self.view, env.beneficiary, self.abandoned.clone());
        let kept = self.journal.take().unwrap_or_else(new);
        let heard = mem::take(&mut self.heard);
        let shift = AssertUnwindSafe(move || {
            let lane = Lane::new(kept, rules, env).teachable();
            let transfers = TransferRules::new(rules, env);
            Shift { desk, board, lane, transfers, heard, misses: usize::MAX }.run()
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
    beneficiary: Address,
    abandoned: Arc<AtomicBool>,
) -> LaneJournal<'_, V> {
    let mut journal = LaneJournal::new(Base::of_helper(view, beneficiary, abandoned));
    journal.set_traced();
    journal
}

/// A helper at work.
struct Shift<'b, 'v, V: StateView> {
    desk: usize,
    board: &'b Board<'b>,
    lane: Lane<'v, V>,
    transfers: TransferRules,
    heard: Heard,
    /// Misses when the news was read the last time.
    misses: usize,
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

    /// Brings the lane up to date: always before a transaction that is worth it, else only when the
    /// leader has missed a result since, since a good plan leaves nothing to tell.
    fn read_news(&mut self, index: usize) {
        if let Some(guide) = self.board.guide {
            return self.follow(guide, index);
        }
        let misses = self.board.misses();
        if misses == self.misses && self.board.plan.time_of(index) < NEWS_WORTH {
            return;
        }
        self.misses = misses;
        self.read_log();
    }

    fn read_log(&mut self) {
        if let Some(news) = self.board.news(&mut self.heard.log) {
            self.lane.journal_mut().apply_patch(&news);
        }
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

    fn attempt(&mut self, index: usize) {
        self.read_news(index);
        let transaction = &self.board.transactions[index];
        if self.board.sit_down(self.desk, index)
            && let Some(speculation) = self.execute(index, transaction)
        {
            self.board.hand_over(self.desk, Box::new(speculation));
        }
        self.board.get_up(self.desk);
    }

    /// Plain transfers are executed for this lane alone: comparing one costs what executing it does.
    fn execute(&mut self, index: usize, transaction: &Transaction) -> Option<Speculation> {
        let Body::Signed(signed) = transaction.body() else { return None };
        if let Some(transfer) = Transfer::of(signed, transaction.sender(), &self.transfers) {
            let done = self.lane.journal_mut().transfer_plainly(&transfer, None);
            if done.unwrap_or(false) {
                return None;
            }
        }
        let learns = self.board.forecast.learns(index);
        let lane = &mut self.lane;
        lane.journal_mut().set_observed(learns, true);
        lane.journal_mut().begin_trace(transaction.has_access_list());
        let outcome = guard(transaction, || lane.transact_without_fee(signed, transaction));
        let lesson = learns.then(|| Lesson::of(lane.journal()));
        // An error here may come from values that are not the final ones: the leader will see.
        let access = lane.journal_mut().take_access();
        let result = outcome
            .ok()
            .zip(access)
            .map(|((outcome, fee_wei), access)| SpeculativeResult { outcome, fee_wei, access });
        Some(Speculation { index, result, lesson })
    }
}
