//! Who executes a block in lanes: the leader, and helpers where there are threads for them and
//! enough work to share.
//!
//! Owns the choice. The leader's lane is authoritative; everything else here is advice.

use crate::{
    access_list::BlockAccessList,
    block::BlockEnv,
    counters::{Counters, Stopwatch, Strategy},
    error::{ExecuteError, ViewError},
    execute::{Mode, Options, guard},
    fees::FeeSchedule,
    knowledge::Knowledge,
    lane::{Base, Lane, LaneJournal, TransferRules},
    parallel::{self, Announced, Forecast, Guide, Lesson, Plan, threads},
    progress::Progress,
    rules::ChainRules,
    state::{StateDiff, StateView, Touched},
    transaction::Transaction,
};
use alloc::borrow::Cow;
use revm::context::JournalTr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls that are expected to take less than this are not worth a helper, in nanoseconds: waking it,
/// planning and collecting take up to a tenth of it, and the other core has other work.
const SHARED_NS_MIN: u64 = 1_000_000;

/// The leader, and what is needed to call helpers.
pub(crate) struct Crew<'v, V: StateView> {
    leader: Lane<'v, V>,
    transfers: TransferRules,
    sharing: Sharing<'v, V>,
}

/// What is needed to call helpers.
struct Sharing<'v, V: StateView> {
    mode: Mode,
    knowledge: Cow<'v, Knowledge>,
    access_list: Option<&'v BlockAccessList>,
    team: Option<parallel::Team<'v, V>>,
    env: BlockEnv,
    rules: ChainRules,
}

impl<'v, V: StateView + Sync> Crew<'v, V> {
    pub(crate) fn new(
        view: &'v V,
        rules: &ChainRules,
        env: &BlockEnv,
        options: Options<'v>,
    ) -> Self {
        Self {
            leader: Lane::new(LaneJournal::new(Base::new(view)), rules, env).teachable(),
            transfers: TransferRules::new(rules, env),
            sharing: Sharing {
                mode: options.mode,
                knowledge: options
                    .knowledge
                    .map_or_else(|| Cow::Owned(Knowledge::default()), Cow::Borrowed),
                access_list: options.access_list,
                team: None,
                env: env.clone(),
                rules: rules.clone(),
            },
        }
    }

    pub(crate) fn leader(&mut self) -> &mut Lane<'v, V> {
        &mut self.leader
    }

    pub(crate) fn into_diff(self) -> Result<(&'v V, StateDiff), ViewError> {
        if let Some(team) = self.sharing.team {
            team.retire();
        }
        self.leader.into_journal().into_diff()
    }

    pub(crate) fn touched(&mut self) -> Touched {
        self.leader.journal_mut().touched()
    }

    pub(crate) fn extend(
        &mut self,
        transactions: &[Transaction],
        progress: &mut Progress,
        counters: &mut Counters,
    ) -> Result<(), ExecuteError> {
        self.leader.journal_mut().expect(transactions.len());
        if counters.strategy == Strategy::Reference {
            counters.strategy = Strategy::InOrder;
        }
        if self.helpers(transactions) > 0 {
            // A helper is told the fees beside gas once: what changes them begins a batch.
            let rules = self.sharing.rules.clone();
            let mut batches =
                transactions.chunk_by(|_, next| FeeSchedule::set_by(&rules, next).is_none());
            return batches.try_for_each(|batch| self.share(batch, progress, counters));
        }
        let stopwatch = Stopwatch::start();
        for transaction in transactions {
            self.execute(transaction, progress)?;
            if let Some(team) = &mut self.sharing.team {
                team.note(self.leader.journal_mut());
            }
        }
        counters.phases.transactions += stopwatch.elapsed();
        Ok(())
    }

    fn execute(
        &mut self,
        transaction: &Transaction,
        progress: &mut Progress,
    ) -> Result<(), ExecuteError> {
        let outcome = match progress.admit(transaction) {
            Ok(()) => guard(transaction, || self.leader.execute(transaction, &self.transfers))?,
            Err(reason) => Err(reason),
        };
        progress.record(transaction, outcome, None);
        Ok(())
    }
}

impl<'v, V: StateView + Sync> Crew<'v, V> {
    /// Helpers that could be called for a batch; cheap to say.
    fn helpers(&self, transactions: &[Transaction]) -> usize {
        match self.sharing.mode {
            Mode::Sequential => 0,
            Mode::Parallel { .. } if transactions.is_empty() => 0,
            Mode::Parallel { workers } => workers.get() - 1,
            Mode::Automatic => {
                let time_ns = parallel::calls_ns_max(transactions);
                if time_ns < SHARED_NS_MIN { 0 } else { threads::cores().saturating_sub(1) }
            }
        }
    }

    fn forecast(&self, transactions: &[Transaction]) -> Forecast {
        let journal = self.leader.journal();
        // A view that panics does so again where it counts, and is named there.
        let code_hash = |address| catch_unwind(AssertUnwindSafe(|| journal.code_hash(address)));
        Forecast::new(transactions, &self.sharing.knowledge, |address| code_hash(address).ok()?)
    }

    /// Executes a batch: first in order what has to be learned, then, if that is worth it, the rest
    /// with helpers.
    fn share(
        &mut self,
        transactions: &[Transaction],
        progress: &mut Progress,
        counters: &mut Counters,
    ) -> Result<(), ExecuteError> {
        let stopwatch = Stopwatch::start();
        let mut forecast = self.forecast(transactions);
        counters.phases.plan += stopwatch.elapsed();
        if let Some(list) = self.sharing.access_list {
            return self.replay(list, transactions, forecast, progress, counters);
        }
        let (lesson, rest) = transactions.split_at(forecast.lesson());
        if !lesson.is_empty() {
            self.in_order(lesson, &forecast, progress, counters)?;
            let stopwatch = Stopwatch::start();
            forecast = self.forecast(rest);
            counters.phases.plan += stopwatch.elapsed();
        }
        let stopwatch = Stopwatch::start();
        let is_free = self.sharing.mode == Mode::Automatic;
        let helpers = self.helpers(transactions);
        let plan = if !is_free {
            Some(Plan::new(rest, &forecast, helpers))
        } else if forecast.time_ns() < SHARED_NS_MIN {
            None
        } else {
            Plan::if_worth_it(rest, &forecast, helpers)
        };
        counters.phases.plan += stopwatch.elapsed();
        match plan {
            Some(plan) => self.with_helpers(rest, &plan, (&forecast, None), progress, counters),
            None => self.in_order(rest, &forecast, progress, counters),
        }
    }

    /// Executes a batch of a block whose access list is at hand.
    fn replay(
        &mut self,
        list: &BlockAccessList,
        transactions: &[Transaction],
        forecast: Forecast,
        progress: &mut Progress,
        counters: &mut Counters,
    ) -> Result<(), ExecuteError> {
        let stopwatch = Stopwatch::start();
        let forecast = forecast.guided();
        let plan = Plan::of_announced(&forecast, self.helpers(transactions));
        let is_free = self.sharing.mode == Mode::Automatic;
        if is_free && (forecast.time_ns() < SHARED_NS_MIN || !plan.is_worth_it()) {
            counters.phases.plan += stopwatch.elapsed();
            return self.in_order(transactions, &forecast, progress, counters);
        }
        let first = progress.transactions.len();
        let announced = Announced::new(list, first + transactions.len());
        counters.phases.plan += stopwatch.elapsed();
        let guide = Some(Guide { announced: &announced, first });
        self.with_helpers(transactions, &plan, (&forecast, guide), progress, counters)
    }

    fn in_order(
        &mut self,
        transactions: &[Transaction],
        forecast: &Forecast,
        progress: &mut Progress,
        counters: &mut Counters,
    ) -> Result<(), ExecuteError> {
        let stopwatch = Stopwatch::start();
        let has_team = self.sharing.team.is_some();
        for (index, transaction) in transactions.iter().enumerate() {
            let learns = forecast.learns(index);
            self.leader.journal_mut().set_observed(learns, has_team);
            let gas_before = progress.gas_used;
            let stopwatch = Stopwatch::start_if(learns);
            self.execute(transaction, progress)?;
            if let (Some(stopwatch), Some(functions)) = (stopwatch, forecast.functions(index)) {
                let gas_used = progress.gas_used - gas_before;
                let lesson = Lesson::of(self.leader.journal(), stopwatch.elapsed());
                lesson.teach(&self.sharing.knowledge, functions, transaction, gas_used);
            }
            if let Some(team) = &mut self.sharing.team {
                team.note(self.leader.journal_mut());
            }
        }
        counters.phases.transactions += stopwatch.elapsed();
        Ok(())
    }

    fn with_helpers(
        &mut self,
        transactions: &[Transaction],
        plan: &Plan,
        hints: (&Forecast, Option<Guide<'_>>),
        progress: &mut Progress,
        counters: &mut Counters,
    ) -> Result<(), ExecuteError> {
        let stopwatch = Stopwatch::start();
        counters.strategy = Strategy::Parallel;
        counters.workers = counters.workers.max(plan.helpers() + 1);
        counters.components += plan.components();
        let view = self.leader.journal().view();
        let Sharing { knowledge, team, env, .. } = &mut self.sharing;
        let team = team.get_or_insert_with(|| parallel::Team::new(&mut self.leader));
        team.expect_helpers(view, plan.helpers());
        let leader = parallel::Leader {
            lane: &mut self.leader,
            transfers: self.transfers,
            progress,
            counters,
            knowledge,
        };
        let result = team.run(leader, transactions, plan, hints, env);
        counters.phases.transactions += stopwatch.elapsed();
        result
    }
}
