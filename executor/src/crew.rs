//! Who executes a block in lanes: the leader, and helpers where there are threads for them and
//! enough work to share.
//!
//! Owns the choice. The leader's lane is authoritative; everything else here is advice.

use crate::{
    block::BlockEnv,
    counters::{Counters, Stopwatch, Strategy},
    error::{ExecuteError, ViewError},
    execute::{Options, guard},
    lane::{Base, Lane, LaneJournal, TransferRules},
    progress::Progress,
    rules::ChainRules,
    state::{StateDiff, StateView},
    transaction::Transaction,
};
use revm::context::JournalTr;

#[cfg(feature = "std")]
use crate::{
    execute::Mode,
    knowledge::Knowledge,
    parallel::{self, Forecast, Lesson, Plan, threads},
};
#[cfg(feature = "std")]
use alloc::borrow::Cow;

/// Calls that are expected to take less than this are not worth a helper, in nanoseconds: waking it,
/// planning and collecting take up to a tenth of it, and the other core has other work.
#[cfg(feature = "std")]
const SHARED_NS_MIN: u64 = 1_000_000;

/// The leader, and what is needed to call helpers.
pub(crate) struct Crew<'v, V: StateView> {
    leader: Lane<'v, V>,
    transfers: TransferRules,
    #[cfg(feature = "std")]
    sharing: Sharing<'v, V>,
}

/// What is needed to call helpers.
#[cfg(feature = "std")]
struct Sharing<'v, V: StateView> {
    mode: Mode,
    knowledge: Cow<'v, Knowledge>,
    team: Option<parallel::Team<'v, V>>,
    env: BlockEnv,
}

impl<'v, V: StateView + Sync> Crew<'v, V> {
    pub(crate) fn new(
        view: &'v V,
        rules: &ChainRules,
        env: &BlockEnv,
        options: Options<'v>,
    ) -> Self {
        #[cfg(not(feature = "std"))]
        let _ = options;
        Self {
            leader: Lane::new(LaneJournal::new(Base::new(view)), rules, env).teachable(),
            transfers: TransferRules::new(rules, env),
            #[cfg(feature = "std")]
            sharing: Sharing {
                mode: options.mode,
                knowledge: options
                    .knowledge
                    .map_or_else(|| Cow::Owned(Knowledge::default()), Cow::Borrowed),
                team: None,
                env: env.clone(),
            },
        }
    }

    pub(crate) fn leader(&mut self) -> &mut Lane<'v, V> {
        &mut self.leader
    }

    pub(crate) fn into_diff(self) -> Result<(&'v V, StateDiff), ViewError> {
        #[cfg(feature = "std")]
        if let Some(team) = self.sharing.team {
            team.retire();
        }
        self.leader.into_journal().into_diff()
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
        #[cfg(feature = "std")]
        if self.helpers(transactions) > 0 {
            return self.share(transactions, progress, counters);
        }
        let stopwatch = Stopwatch::start();
        for transaction in transactions {
            self.execute(transaction, progress)?;
            #[cfg(feature = "std")]
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

#[cfg(feature = "std")]
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
        Forecast::new(transactions, &self.sharing.knowledge, |address| journal.code_hash(address))
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
            Some(plan) => self.with_helpers(rest, &plan, &forecast, progress, counters),
            None => self.in_order(rest, &forecast, progress, counters),
        }
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
            self.execute(transaction, progress)?;
            if let (true, Some(functions)) = (learns, forecast.functions(index)) {
                let gas_used = progress.gas_used - gas_before;
                let lesson = Lesson::of(self.leader.journal());
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
        forecast: &Forecast,
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
        let result = team.run(leader, transactions, plan, forecast, env);
        counters.phases.transactions += stopwatch.elapsed();
        result
    }
}
