//! A transaction that somebody watches while it executes: the same handlers as [`RuleEvm::transact`],
//! run with an inspector, and its changes handed out before they are settled.

use super::{
    BlockJournal, DepositHandler, Engine, EngineContext, EngineError, RuleEvm, UserHandler,
    deposit_env, fatal, signed_env, skip_reason,
};
use crate::{
    call::{self, CallRequest},
    deposit::Deposit,
    error::{ExecuteError, SkipReason, ViewError},
    transaction::{Body, Transaction},
};
use alloc::vec::Vec;
use alloy_primitives::{B256, U256};
use revm::{
    Database, Inspector,
    context::{
        ContextTr, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason, OutOfGasError, ResultAndState, ResultGas},
    },
    inspector::{InspectorHandler, JournalExt},
    interpreter::interpreter::EthInterpreter,
    state::{Account as RevmAccount, AccountStatus, EvmState},
};

/// An inspector that can watch an engine over this journal.
pub trait Watching<J: JournalTr>: Inspector<EngineContext<J>, EthInterpreter> {}

impl<J: JournalTr, I: Inspector<EngineContext<J>, EthInterpreter>> Watching<J> for I {}

/// What a watched transaction did. Nothing of it is settled yet.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its result, and every account that it loaded or changed.
    pub executed: ResultAndState<HaltReason>,
    /// The transaction as revm read it.
    pub env: TxEnv,
}

type Reported = Result<Result<Watched, SkipReason>, ExecuteError>;

impl<J: BlockJournal + JournalExt> RuleEvm<J> {
    /// As [`Self::transact`], watched. The changes are not settled.
    pub(crate) fn watch<I: Watching<J>>(
        mut self,
        transaction: &Transaction,
        inspector: I,
    ) -> (Self, Reported) {
        match transaction.body() {
            Body::Signed(signed) => {
                let env = signed_env(signed, transaction.sender());
                let charge = self.charge(transaction);
                self.run_watched(env, inspector, transaction.hash(), |engine| {
                    UserHandler::crediting(charge).inspect_run(engine)
                })
            }
            Body::Deposit(deposit) => {
                self.note_fees(transaction);
                self.watch_deposit(deposit, inspector, transaction.hash())
            }
        }
    }

    /// As [`Self::watch`], without the checks that a call need not pass.
    pub(crate) fn simulate<I: Watching<J>>(
        self,
        transaction: &Transaction,
        inspector: I,
    ) -> (Self, Reported) {
        let free = transaction.max_fee_per_gas_wei() == 0;
        self.relaxed(free, |evm| evm.watch(transaction, inspector))
    }

    /// Runs a call watched. It pays no fees beside gas.
    pub(crate) fn watch_call<I: Watching<J>>(
        self,
        request: &CallRequest,
        gas_limit: u64,
        inspector: I,
    ) -> (Self, Reported) {
        let env = call::call_env(request, gas_limit);
        self.relaxed(request.gas_price_wei == 0, |evm| {
            evm.run_watched(env, inspector, B256::ZERO, |engine| {
                UserHandler::crediting(None).inspect_run(engine)
            })
        })
    }

    fn relaxed(
        mut self,
        free: bool,
        run: impl FnOnce(Self) -> (Self, Reported),
    ) -> (Self, Reported) {
        let strict = self.engine.ctx.cfg.clone();
        call::relax(&mut self.engine.ctx.cfg, free);
        let (mut evm, reported) = run(self);
        evm.engine.ctx.cfg = strict;
        (evm, reported)
    }

    fn run_watched<I: Watching<J>>(
        self,
        env: TxEnv,
        inspector: I,
        hash: B256,
        run: impl FnOnce(&mut Engine<J, I>) -> Result<ExecutionResult<HaltReason>, EngineError>,
    ) -> (Self, Reported) {
        let Self { engine, rules, fees } = self;
        let mut engine = engine.with_inspector(inspector);
        engine.ctx.tx = env.clone();
        let result = run(&mut engine);
        let mut evm = Self { engine: engine.with_inspector(()), rules, fees };
        let state = evm.engine.ctx.journaled_state.finalize();
        let reported = match result {
            Ok(result) => Ok(Ok(Watched { executed: ResultAndState { result, state }, env })),
            Err(EVMError::Transaction(invalid)) => Ok(Err(skip_reason(invalid))),
            Err(error) => Err(fatal(error, hash)),
        };
        (evm, reported)
    }

    fn watch_deposit<I: Watching<J>>(
        mut self,
        deposit: &Deposit,
        inspector: I,
        hash: B256,
    ) -> (Self, Reported) {
        let nonce = match self.engine.ctx.journaled_state.nonce(deposit.from) {
            Ok(nonce) => nonce,
            Err(error) => return (self, Err(error.into())),
        };
        let env = deposit_env(deposit, nonce);
        let (mut evm, reported) = self.run_watched(env.clone(), inspector, hash, |engine| {
            DepositHandler::new(deposit).inspect_run(engine)
        });
        if !matches!(reported, Ok(Err(_))) {
            return (evm, reported);
        }
        // It cannot even start: see `RuleEvm::transact_deposit`.
        let unstarted = evm.unstarted(deposit);
        let reported = unstarted.map(|executed| Ok(Watched { executed, env })).map_err(Into::into);
        (evm, reported)
    }

    /// What a deposit does that cannot start: it mints, counts a nonce and uses all of its gas.
    fn unstarted(&mut self, deposit: &Deposit) -> Result<ResultAndState<HaltReason>, ViewError> {
        let found = self.engine.ctx.db_mut().basic(deposit.from)?;
        let mut account = match found {
            Some(info) => RevmAccount::from(info),
            None => RevmAccount::default(),
        };
        account.info.balance = account.info.balance.saturating_add(U256::from(deposit.mint_wei));
        account.info.nonce = account.info.nonce.saturating_add(1);
        account.status |= AccountStatus::Touched;
        let result = ExecutionResult::Halt {
            reason: HaltReason::OutOfGas(OutOfGasError::Basic),
            gas: ResultGas::default().with_total_gas_spent(deposit.gas_limit),
            logs: Vec::new(),
        };
        Ok(ResultAndState { result, state: EvmState::from_iter([(deposit.from, account)]) })
    }
}

impl<J: BlockJournal + JournalExt, I: Watching<J>> InspectorHandler for DepositHandler<J, I> {
    type IT = EthInterpreter;
}

impl<J: BlockJournal + JournalExt, I: Watching<J>> InspectorHandler for UserHandler<J, I> {
    type IT = EthInterpreter;
}
