//! The leader at work with its helpers.

use super::{
    board::{Board, Guide, Lesson, Speculation, SpeculativeResult},
    forecast::Forecast,
    helper::Helper,
    plan::Plan,
    threads,
};
use crate::{
    block::BlockEnv,
    counters::{Counters, Stopwatch},
    error::ExecuteError,
    execute::guard,
    fees::FeeSchedule,
    knowledge::{Function, Knowledge},
    lane::{Lane, LaneJournal, Patch, TransferRules},
    progress::Progress,
    state::StateView,
    transaction::Transaction,
};
use alloy_primitives::map::HashMap;
use std::{
    boxed::Box,
    time::{Duration, Instant},
    vec::Vec,
};

/// The leader waits this long for a helper that is executing the transaction it has come to, and
/// twice as long as the transaction is predicted to take; then it executes it itself. Giving up just
/// before the end would be the worst it can do: it pays for both.
const PATIENCE: Duration = Duration::from_micros(20);

/// Times that the leader waits for the helper of a component, or has to do without, before it takes
/// that over; results that are there in time make up for it.
const DELAYS_MAX: u8 = 4;

/// Results beyond the good ones that may turn out wrong before an access list is not believed any
/// more.
const DOUBTS: usize = 32;

/// The leader of a batch.
pub(crate) struct Leader<'a, 'v, V: StateView> {
    pub(crate) lane: &'a mut Lane<'v, V>,
    pub(crate) transfers: TransferRules,
    pub(crate) progress: &'a mut Progress,
    pub(crate) counters: &'a mut Counters,
    pub(crate) knowledge: &'a Knowledge,
}

/// The helpers of a block, and what they have to be told.
pub(crate) struct Team<'v, V: StateView> {
    helpers: Vec<Helper<'v, V>>,
    log: Patch,
}

impl<'v, V: StateView + Sync> Team<'v, V> {
    /// A team for a block that the leader may have begun alone.
    pub(crate) fn new(leader: &mut Lane<'v, V>) -> Self {
        leader.journal_mut().set_traced();
        Self { helpers: Vec::new(), log: leader.journal().all_changes() }
    }

    pub(crate) fn expect_helpers(&mut self, view: &'v V, count: usize) {
        while self.helpers.len() < count {
            self.helpers.push(Helper::new(view));
        }
    }

    /// Ends the team.
    pub(crate) fn retire(self) {
        self.helpers.into_iter().for_each(Helper::retire);
    }

    /// Notes what the leader changed while it executed a transaction alone.
    pub(crate) fn note(&mut self, journal: &mut LaneJournal<'v, V>) {
        journal.take_changes(&mut self.log);
    }

    /// Executes a batch.
    pub(crate) fn run(
        &mut self,
        leader: Leader<'_, 'v, V>,
        transactions: &[Transaction],
        plan: &Plan,
        (forecast, guide): (&Forecast, Option<Guide<'_>>),
        env: &BlockEnv,
    ) -> Result<(), ExecuteError> {
        let helpers = &mut self.helpers[..plan.helpers()];
        let log = core::mem::take(&mut self.log);
        let abandoned = helpers.iter().map(Helper::abandoned);
        let board = Board::new(transactions, (plan, forecast, guide), log, abandoned);
        let rules = leader.progress.rules().clone();
        // Of all transactions only the first may put fees in force; see `Crew::share`.
        let fees = transactions.first().and_then(|first| FeeSchedule::set_by(&rules, first));
        let fees = fees.or(leader.lane.fees());
        let Some(pool) = threads::pool(plan.helpers()) else {
            // No thread can be had: the leader does everything itself.
            return Shift::new(leader, &board).run();
        };
        let mut shift = Shift::new(leader, &board);
        let mut ended = Instant::now();
        let result = pool.in_place_scope(|scope| {
            for (desk, helper) in helpers.iter_mut().enumerate() {
                let (board, rules) = (&board, &rules);
                scope.spawn(move |_| helper.work(desk, board, (rules, env), fees));
            }
            let end = EndOfBatch(&board);
            let result = shift.run();
            drop(end);
            ended = Instant::now();
            result
        });
        shift.leader.counters.phases.waiting += ended.elapsed();
        self.log = board.into_log();
        result
    }
}

/// Tells the helpers that the batch is over, also when the leader stops with an error or a panic:
/// nobody may wait for it for ever.
struct EndOfBatch<'b>(&'b Board<'b>);

impl Drop for EndOfBatch<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The leader's walk over a batch.
struct Shift<'b, 'a, 'v, V: StateView> {
    leader: Leader<'a, 'v, V>,
    board: &'b Board<'b>,
    /// Results that arrived before their turn.
    early: Vec<Option<Box<Speculation>>>,
    patch: Patch,
    /// How often the leader was delayed lately, for each component.
    delays: Vec<u8>,
    /// Results accepted and rejected, by function.
    verdicts: HashMap<Function, (u32, u32)>,
}

impl<'b, 'a, 'v, V: StateView> Shift<'b, 'a, 'v, V> {
    fn new(leader: Leader<'a, 'v, V>, board: &'b Board<'b>) -> Self {
        let early = (0..board.transactions.len()).map(|_| None).collect();
        let delays = std::vec![0; board.plan.components()];
        Self { leader, board, early, delays, patch: Patch::default(), verdicts: HashMap::default() }
    }

    fn run(&mut self) -> Result<(), ExecuteError> {
        for (index, transaction) in self.board.transactions.iter().enumerate() {
            self.board.leader_comes_to(index);
            let outcome = match self.leader.progress.admit(transaction) {
                Ok(()) => self.turn(index, transaction)?,
                Err(reason) => Err(reason),
            };
            self.leader.progress.record(transaction, outcome, None);
        }
        for (function, (accepted, rejected)) in &self.verdicts {
            self.leader.knowledge.judge(function, *accepted, *rejected);
        }
        Ok(())
    }

    /// One transaction: a helper's result if there is one that holds, else executed here.
    fn turn(
        &mut self,
        index: usize,
        transaction: &Transaction,
    ) -> Result<Result<crate::evm::Outcome, crate::SkipReason>, ExecuteError> {
        let mut rejected = None;
        let desk = self.board.plan.desk_of(index);
        if let Some(desk) = desk
            && let Some(result) = self.result_of(desk, index)
        {
            self.leader.counters.speculated += 1;
            let Speculation { result, lesson, .. } = *result;
            let journal = self.leader.lane.journal_mut();
            match result {
                Some(result) if journal.agrees(&result.access) => {
                    self.leader.counters.accepted += 1;
                    self.judge(index, true);
                    if let (Some(lesson), Ok(outcome)) = (lesson, &result.outcome) {
                        self.learn(index, transaction, &lesson, outcome.gas_used);
                    }
                    return self.take_over(index, result);
                }
                Some(result) => {
                    self.leader.counters.conflicts += 1;
                    self.judge(index, false);
                    self.doubt();
                    rejected = Some(result.access);
                }
                None => {}
            }
            self.leader.counters.re_executions += 1;
        }
        let learns = self.board.forecast.learns(index);
        let lane = &mut *self.leader.lane;
        let transfers = &self.leader.transfers;
        lane.journal_mut().set_observed(learns, true);
        let stopwatch = Stopwatch::start_if(learns);
        let outcome = guard(transaction, || lane.execute(transaction, transfers))?;
        if let (Some(stopwatch), Ok(outcome)) = (stopwatch, &outcome) {
            let lesson = Lesson::of(self.leader.lane.journal(), stopwatch.elapsed());
            self.learn(index, transaction, &lesson, outcome.gas_used);
        }
        let journal = self.leader.lane.journal_mut();
        journal.take_changes(&mut self.patch);
        if let Some(rejected) = &rejected {
            journal.correct(rejected, &mut self.patch);
        }
        // Plain transfers are the leader's in any case.
        let is_miss = desk.is_some() && self.board.forecast.functions(index).is_some();
        if is_miss && rejected.is_none() {
            self.delay(index);
        }
        self.board.publish(index, is_miss, &mut self.patch);
        Ok(outcome)
    }

    fn learn(&self, index: usize, transaction: &Transaction, lesson: &Lesson, gas_used: u64) {
        if let Some(functions) = self.board.forecast.functions(index) {
            lesson.teach(self.leader.knowledge, functions, transaction, gas_used);
        }
    }

    /// Sends the helpers away when what guides them is mostly wrong.
    fn doubt(&self) {
        let Counters { accepted, conflicts, .. } = *self.leader.counters;
        if self.board.guide.is_some() && conflicts > accepted + DOUBTS {
            self.board.end();
        }
    }

    /// The leader was delayed by the helper of a component. After a few times it goes on with that
    /// alone, and the helper gains a lead in what comes later.
    fn delay(&mut self, index: usize) {
        let delays = &mut self.delays[self.board.plan.component_of(index) as usize];
        *delays = delays.saturating_add(1);
        if *delays >= DELAYS_MAX {
            self.board.plan.take_back(index);
        }
    }

    fn judge(&mut self, index: usize, accepted: bool) {
        if let Some((function, _)) = self.board.forecast.functions(index) {
            let verdict = self.verdicts.entry(function).or_default();
            if accepted {
                verdict.0 += 1;
            } else {
                verdict.1 += 1;
            }
        }
    }

    fn take_over(
        &mut self,
        index: usize,
        result: SpeculativeResult,
    ) -> Result<Result<crate::evm::Outcome, crate::SkipReason>, ExecuteError> {
        let journal = self.leader.lane.journal_mut();
        journal.take_over(&result.access);
        if result.outcome.is_ok() {
            let accounts = &self.leader.transfers.fee_accounts;
            let transaction = &self.board.transactions[index];
            guard(transaction, || Ok(journal.credit_fees(accounts, result.payout)?))?;
        }
        if self.board.desks.len() > 1 {
            journal.correct(&result.access, &mut self.patch);
            self.board.publish(index, false, &mut self.patch);
        }
        Ok(result.outcome)
    }

    /// The result of a transaction, if its helper has it or is about to.
    fn result_of(&mut self, desk: usize, index: usize) -> Option<Box<Speculation>> {
        self.collect(desk);
        if let Some(result) = self.early[index].take() {
            let delays = &mut self.delays[self.board.plan.component_of(index) as usize];
            *delays = delays.saturating_sub(1);
            return Some(result);
        }
        if !self.board.desks[desk].is_at(index) {
            // It may have been handed over between the two looks.
            self.collect(desk);
            return self.early[index].take();
        }
        let patience = PATIENCE + 2 * self.board.plan.time_of(index);
        let started = Instant::now();
        while self.early[index].is_none() {
            let is_at = self.board.desks[desk].is_at(index);
            self.collect(desk);
            if !is_at || started.elapsed() > patience {
                break;
            }
            core::hint::spin_loop();
        }
        let waited = started.elapsed();
        self.leader.counters.phases.waiting += waited;
        if waited > self.board.plan.time_of(index) / 2 {
            self.delay(index);
        }
        let result = self.early[index].take();
        if result.is_none() && self.board.desks[desk].is_at(index) {
            self.board.desks[desk].abandon();
        }
        result
    }

    fn collect(&mut self, desk: usize) {
        while let Some(result) = self.board.desks[desk].take() {
            let index = result.index;
            self.early[index] = Some(result);
        }
    }
}
