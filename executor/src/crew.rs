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
use crate::{execute::Mode, parallel};

/// The leader, and what is needed to call helpers.
pub(crate) struct Crew<'v, V: StateView> {
    leader: Lane<'v, V>,
    transfers: TransferRules,
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "no threads, no choice"))]
    options: Options<'v>,
    #[cfg(feature = "std")]
    team: Option<parallel::Team<'v, V>>,
    #[cfg(feature = "std")]
    env: BlockEnv,
}

impl<'v, V: StateView + Sync> Crew<'v, V> {
    pub(crate) fn new(
        view: &'v V,
        rules: &ChainRules,
        env: &BlockEnv,
        options: Options<'v>,
    ) -> Self {
        Self {
            leader: Lane::new(LaneJournal::new(Base::new(view)), rules, env),
            transfers: TransferRules::new(rules, env),
            options,
            #[cfg(feature = "std")]
            team: None,
            #[cfg(feature = "std")]
            env: env.clone(),
        }
    }

    pub(crate) fn leader(&mut self) -> &mut Lane<'v, V> {
        &mut self.leader
    }

    pub(crate) fn into_diff(self) -> Result<(&'v V, StateDiff), ViewError> {
        self.leader.into_journal().into_diff()
    }

    pub(crate) fn extend(
        &mut self,
        transactions: &[Transaction],
        progress: &mut Progress,
        counters: &mut Counters,
    ) -> Result<(), ExecuteError> {
        #[cfg(feature = "std")]
        if let Some(plan) = self.plan(transactions, counters) {
            return self.extend_with_helpers(transactions, &plan, progress, counters);
        }
        let stopwatch = Stopwatch::start();
        if counters.strategy == Strategy::Reference {
            counters.strategy = Strategy::InOrder;
        }
        for transaction in transactions {
            let outcome = match progress.admit(transaction) {
                Ok(()) => guard(transaction, || self.leader.execute(transaction, &self.transfers))?,
                Err(reason) => Err(reason),
            };
            progress.record(transaction, outcome, None);
        }
        counters.phases.transactions += stopwatch.elapsed();
        Ok(())
    }

    /// A plan to share the work, where that is asked for or worth it.
    #[cfg(feature = "std")]
    fn plan(
        &mut self,
        transactions: &[Transaction],
        counters: &mut Counters,
    ) -> Option<parallel::Plan> {
        let stopwatch = Stopwatch::start();
        let plan = match self.options.mode {
            Mode::Sequential => None,
            Mode::Parallel { workers } => {
                let helpers = workers.get() - 1;
                (helpers > 0 && !transactions.is_empty())
                    .then(|| parallel::Plan::new(transactions, helpers))
            }
            Mode::Automatic => parallel::Plan::if_worth_it(transactions),
        };
        counters.phases.plan += stopwatch.elapsed();
        plan
    }

    #[cfg(feature = "std")]
    fn extend_with_helpers(
        &mut self,
        transactions: &[Transaction],
        plan: &parallel::Plan,
        progress: &mut Progress,
        counters: &mut Counters,
    ) -> Result<(), ExecuteError> {
        let stopwatch = Stopwatch::start();
        counters.strategy = Strategy::Parallel;
        counters.workers = counters.workers.max(plan.helpers() + 1);
        counters.components += plan.components();
        let view = self.leader.journal().view();
        let team = self.team.get_or_insert_with(|| parallel::Team::new(&mut self.leader));
        team.expect_helpers(view, plan.helpers(), self.env.beneficiary);
        let result = team.run(
            parallel::Leader {
                lane: &mut self.leader,
                transfers: self.transfers,
                progress,
                counters,
            },
            transactions,
            plan,
            &self.env,
        );
        counters.phases.transactions += stopwatch.elapsed();
        result
    }
}
