//! Wiring of revm: how our environment, transactions and rules become revm's, and back.
//!
//! Owns the handlers, the mapping of revm's validation errors to skip reasons, and the system calls
//! of a block, all of them over any [`BlockJournal`]: the reference's, which commits to an
//! [`Overlay`] after each transaction, and the kept one of [`crate::lane`]. Decides nothing about
//! blocks. One EVM is reused for all transactions of a block.

use crate::{
    block::BlockEnv,
    deposit::Deposit,
    error::{ExecuteError, SkipReason, ViewError},
    fees::FeeSchedule,
    receipt::Receipt,
    requests::requests_hash,
    rules::ChainRules,
    state::{Overlay, StateView},
    transaction::{Body, SignedTransaction, Transaction},
};
use alloc::vec::Vec;
use alloy_consensus::Transaction as _;
use alloy_eips::{eip2935, eip4788, eip7002, eip7251, eip7691::MAX_BLOBS_PER_BLOCK_ELECTRA};
use alloy_primitives::{Address, B256, Bytes, Log, U256};
use core::marker::PhantomData;
use revm::{
    Database, DatabaseCommit, MainBuilder, MainnetEvm, SystemCallEvm,
    context::{
        BlockEnv as RevmBlock, CfgEnv, Context, ContextTr, Journal, JournalTr, LocalContext, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction},
    },
    context_interface::{
        block::BlobExcessGasAndPrice,
        cfg::gas::{GasTracker, InitialAndFloorGas},
        either::Either,
        journaled_state::account::JournaledAccountTr,
        result::ResultGas,
    },
    handler::{EvmTr, FrameResult, Handler, MainnetHandler},
    primitives::{eip4844, hardfork::SpecId},
    state::EvmState,
};

mod user;
mod watched;

pub(crate) use user::UserHandler;

pub use watched::{Watched, Watching};

pub(crate) type EngineContext<J> =
    Context<RevmBlock, TxEnv, CfgEnv, <J as JournalTr>::Database, J, ()>;
/// revm, with an inspector or without.
pub(crate) type Engine<J, I = ()> = MainnetEvm<EngineContext<J>, I>;
type EngineError = EVMError<ViewError>;

/// Blob gas that fits into one Ethereum block of this hardfork, in gas.
pub(crate) fn blob_gas_max(spec: SpecId) -> u64 {
    if spec.is_enabled_in(SpecId::PRAGUE) {
        MAX_BLOBS_PER_BLOCK_ELECTRA * eip4844::GAS_PER_BLOB
    } else if spec.is_enabled_in(SpecId::CANCUN) {
        eip4844::MAX_BLOB_GAS_PER_BLOCK_CANCUN
    } else {
        0
    }
}

/// Reward of a proof-of-work block in wei (EIP-649, EIP-1234); `None` since the Merge.
fn block_reward_wei(spec: SpecId) -> Option<U256> {
    let ether = |count: u64| U256::from(count) * U256::from(1_000_000_000_000_000_000u64);
    if spec.is_enabled_in(SpecId::MERGE) {
        None
    } else if spec.is_enabled_in(SpecId::PETERSBURG) {
        Some(ether(2))
    } else if spec.is_enabled_in(SpecId::BYZANTIUM) {
        Some(ether(3))
    } else {
        Some(ether(5))
    }
}

/// What one executed transaction produced.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) gas_used: u64,
    pub(crate) logs: Vec<Log>,
    pub(crate) deposit_nonce: Option<u64>,
}

/// The journal of a block: what a transaction changed becomes part of it, or is dropped, and the
/// block itself changes accounts between transactions.
pub(crate) trait BlockJournal:
    JournalTr<State = EvmState, Database: Database<Error = ViewError>>
{
    /// Makes what the last transaction changed the state that the next one sees.
    fn settle(&mut self);

    /// Drops what is left of a transaction that was not valid.
    fn abandon(&mut self);

    /// Nonce of an account, between transactions.
    fn nonce(&mut self, address: Address) -> Result<u64, ViewError>;

    /// Adds to a balance outside any transaction (withdrawals, mints of deposits that cannot run).
    fn credit(&mut self, address: Address, wei: U256) -> Result<(), ViewError>;

    /// Counts a transaction that did not run.
    fn count_nonce(&mut self, address: Address) -> Result<(), ViewError>;

    /// Whether touched empty accounts are deleted (EIP-161).
    fn set_clear_empty(&mut self, clear_empty: bool);
}

impl<V: StateView> BlockJournal for Journal<Overlay<'_, V>> {
    fn settle(&mut self) {
        let state = self.finalize();
        self.database.commit(state);
    }

    fn abandon(&mut self) {
        drop(self.finalize());
    }

    fn nonce(&mut self, address: Address) -> Result<u64, ViewError> {
        Ok(self.database.account(address)?.unwrap_or_default().nonce)
    }

    fn credit(&mut self, address: Address, wei: U256) -> Result<(), ViewError> {
        self.database.credit(address, wei)
    }

    fn count_nonce(&mut self, address: Address) -> Result<(), ViewError> {
        self.database.bump_nonce(address)
    }

    fn set_clear_empty(&mut self, clear_empty: bool) {
        self.database.set_clear_empty(clear_empty);
    }
}

/// revm set up for one block of one chain.
pub(crate) struct RuleEvm<J: BlockJournal> {
    engine: Engine<J>,
    rules: ChainRules,
    /// The fees beside gas that signed transactions pay from here on.
    fees: Option<FeeSchedule>,
}

impl<J: BlockJournal> RuleEvm<J> {
    pub(crate) fn new(journal: J, rules: &ChainRules, env: &BlockEnv) -> Self {
        Self { engine: engine(journal, rules, env, |_| {}), rules: rules.clone(), fees: None }
    }

    /// A deposit may set the fees of those after it.
    fn note_fees(&mut self, transaction: &Transaction) {
        if let Some(fees) = FeeSchedule::set_by(&self.rules, transaction) {
            self.fees = Some(fees);
        }
    }

    fn is_ethereum(&self) -> bool {
        matches!(self.rules, ChainRules::Ethereum(_))
    }

    /// The fees beside gas that the next signed transaction pays: those of the last L1 attributes.
    pub(crate) fn fees(&self) -> Option<FeeSchedule> {
        self.fees
    }

    /// Goes on under fees that were put in force elsewhere.
    pub(crate) fn set_fees(&mut self, fees: Option<FeeSchedule>) {
        self.fees = fees;
    }

    pub(crate) fn into_journal(self) -> J {
        self.engine.ctx.journaled_state
    }

    #[cfg(feature = "std")]
    pub(crate) fn engine_mut(&mut self) -> &mut Engine<J> {
        &mut self.engine
    }

    pub(crate) fn journal(&self) -> &J {
        &self.engine.ctx.journaled_state
    }

    pub(crate) fn spec(&self) -> SpecId {
        self.rules.spec()
    }

    pub(crate) fn block(&self) -> &RevmBlock {
        &self.engine.ctx.block
    }

    pub(crate) fn journal_mut(&mut self) -> &mut J {
        &mut self.engine.ctx.journaled_state
    }

    /// EIP-4788 on Ethereum (a rollup has no beacon root to store) and EIP-2935 on both.
    pub(crate) fn begin_block(&mut self, env: &BlockEnv) -> Result<(), ExecuteError> {
        // Its rules are incomplete here: claiming to execute such a block would give a wrong header
        // instead of an error.
        if self.spec() > SpecId::OSAKA {
            return Err(ExecuteError::UnsupportedSpec { spec: self.spec() });
        }
        if let (true, Some(root)) = (self.is_ethereum(), env.parent_beacon_block_root)
            && self.spec().is_enabled_in(SpecId::CANCUN)
        {
            self.system_call(eip4788::BEACON_ROOTS_ADDRESS, root.into())?;
        }
        if self.spec().is_enabled_in(SpecId::PRAGUE) {
            self.system_call(eip2935::HISTORY_STORAGE_ADDRESS, env.parent_hash.into())?;
        }
        Ok(())
    }

    /// On Ethereum, block rewards before the Merge, withdrawals (EIP-4895) since Shanghai, and
    /// requests since Prague, whose hash is returned. A rollup has none of them.
    pub(crate) fn end_block(
        &mut self,
        env: &BlockEnv,
        receipts: &[Receipt],
    ) -> Result<Option<B256>, ExecuteError> {
        let reward = block_reward_wei(self.spec()).filter(|_| self.is_ethereum());
        let journal = &mut self.engine.ctx.journaled_state;
        if let Some(reward) = reward {
            for ommer in &env.ommers {
                let distance = (ommer.number + 8).saturating_sub(env.number);
                journal.credit(ommer.beneficiary, reward * U256::from(distance) / U256::from(8))?;
            }
            let inclusion = reward / U256::from(32) * U256::from(env.ommers.len());
            journal.credit(env.beneficiary, reward + inclusion)?;
        }
        for withdrawal in env.withdrawals.iter().flatten() {
            journal.credit(withdrawal.address, withdrawal.amount_wei())?;
        }
        if !self.is_ethereum() || !self.spec().is_enabled_in(SpecId::PRAGUE) {
            return Ok(None);
        }
        let withdrawals =
            self.system_call(eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, Bytes::new())?;
        let consolidations =
            self.system_call(eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, Bytes::new())?;
        Ok(Some(requests_hash(receipts, &withdrawals, &consolidations)))
    }

    /// Calls a system contract and returns its output.
    fn system_call(&mut self, contract: Address, data: Bytes) -> Result<Bytes, ExecuteError> {
        match self.engine.system_call_one(contract, data) {
            Ok(result) => {
                self.engine.ctx.journaled_state.settle();
                Ok(result.into_output().unwrap_or_default())
            }
            Err(EVMError::Database(error)) => Err(error.into()),
            Err(_) => Err(ExecuteError::SystemCall { contract }),
        }
    }

    /// Executes one transaction and settles it. The inner error is an outcome: the transaction is
    /// invalid here and changed nothing.
    pub(crate) fn transact(
        &mut self,
        transaction: &Transaction,
    ) -> Result<Result<Outcome, SkipReason>, ExecuteError> {
        match transaction.body() {
            Body::Signed(signed) => {
                self.engine.ctx.tx = signed_env(signed, transaction.sender());
                let mut handler = UserHandler::crediting(self.charge(transaction));
                let result = handler.run(&mut self.engine);
                self.conclude(result, transaction.hash())
            }
            Body::Deposit(deposit) => {
                self.note_fees(transaction);
                self.transact_deposit(deposit, transaction.hash()).map(Ok)
            }
        }
    }

    fn conclude(
        &mut self,
        result: Result<ExecutionResult<HaltReason>, EngineError>,
        hash: B256,
    ) -> Result<Result<Outcome, SkipReason>, ExecuteError> {
        match result {
            Ok(result) => {
                self.engine.ctx.journaled_state.settle();
                Ok(Ok(outcome(result, None)))
            }
            Err(EVMError::Transaction(invalid)) => {
                self.engine.ctx.journaled_state.abandon();
                Ok(Err(skip_reason(invalid)))
            }
            Err(error) => Err(fatal(error, hash)),
        }
    }

    fn transact_deposit(&mut self, deposit: &Deposit, hash: B256) -> Result<Outcome, ExecuteError> {
        let nonce = self.engine.ctx.journaled_state.nonce(deposit.from)?;
        self.engine.ctx.tx = deposit_env(deposit, nonce);
        let result = DepositHandler::new(deposit).run(&mut self.engine);
        let journal = &mut self.engine.ctx.journaled_state;
        match result {
            Ok(result) => {
                journal.settle();
                Ok(outcome(result, Some(nonce)))
            }
            // It cannot even start (its gas does not cover its data). It is still included, mints,
            // counts a nonce and uses all of its gas: L1 has taken the ether already.
            Err(EVMError::Transaction(_)) => {
                journal.abandon();
                journal.credit(deposit.from, U256::from(deposit.mint_wei))?;
                journal.count_nonce(deposit.from)?;
                Ok(Outcome {
                    success: false,
                    gas_used: deposit.gas_limit,
                    logs: Vec::new(),
                    deposit_nonce: Some(nonce),
                })
            }
            Err(error) => Err(fatal(error, hash)),
        }
    }
}

/// Builds revm for a block; `adjust` changes the configuration for simulation.
pub(crate) fn engine<J: BlockJournal>(
    mut journal: J,
    rules: &ChainRules,
    env: &BlockEnv,
    adjust: impl FnOnce(&mut CfgEnv),
) -> Engine<J> {
    let spec = rules.spec();
    journal.set_clear_empty(spec.is_enabled_in(SpecId::SPURIOUS_DRAGON));
    let context = Context {
        block: RevmBlock::default(),
        tx: TxEnv::default(),
        cfg: CfgEnv::new_with_spec(spec),
        journaled_state: journal,
        chain: (),
        local: LocalContext::default(),
        error: Ok(()),
    };
    context
        .modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(spec);
            cfg.chain_id = rules.chain_id();
            if let ChainRules::Rollup(rollup) = rules {
                cfg.tx_gas_limit_cap = Some(rollup.transaction_gas_limit);
            }
            adjust(cfg);
        })
        .modify_block_chained(|block| {
            *block = RevmBlock {
                number: U256::from(env.number),
                beneficiary: env.beneficiary,
                timestamp: U256::from(env.timestamp),
                gas_limit: env.gas_limit,
                basefee: env.base_fee_wei.unwrap_or(0),
                difficulty: env.difficulty,
                prevrandao: spec.is_enabled_in(SpecId::MERGE).then_some(env.prevrandao),
                blob_excess_gas_and_price: env
                    .excess_blob_gas
                    .map(|excess| BlobExcessGasAndPrice::new_with_spec(excess, spec)),
                slot_num: 0,
            };
        })
        .build_mainnet()
}

fn signed_env(signed: &SignedTransaction, sender: Address) -> TxEnv {
    TxEnv {
        tx_type: signed.tx_type() as u8,
        caller: sender,
        gas_limit: signed.gas_limit(),
        gas_price: signed.max_fee_per_gas(),
        kind: signed.kind(),
        value: signed.value(),
        data: signed.input().clone(),
        nonce: signed.nonce(),
        chain_id: signed.chain_id(),
        access_list: signed.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: signed.max_priority_fee_per_gas(),
        blob_hashes: signed.blob_versioned_hashes().map(<[B256]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: signed.max_fee_per_blob_gas().unwrap_or(0),
        authorization_list: signed
            .authorization_list()
            .map(|list| list.iter().cloned().map(Either::Left).collect())
            .unwrap_or_default(),
    }
}

fn deposit_env(deposit: &Deposit, nonce: u64) -> TxEnv {
    TxEnv {
        tx_type: crate::deposit::DEPOSIT_TX_TYPE,
        caller: deposit.from,
        gas_limit: deposit.gas_limit,
        gas_price: 0,
        kind: deposit.to,
        value: deposit.value,
        data: deposit.input.clone(),
        nonce,
        chain_id: None,
        access_list: Default::default(),
        gas_priority_fee: None,
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: Vec::new(),
    }
}

fn outcome(result: ExecutionResult<HaltReason>, deposit_nonce: Option<u64>) -> Outcome {
    let success = result.is_success();
    let gas_used = result.tx_gas_used();
    let logs = if success { result.into_logs() } else { Vec::new() };
    Outcome { success, gas_used, logs, deposit_nonce }
}

pub(crate) fn fatal(error: EngineError, transaction: B256) -> ExecuteError {
    match error {
        EVMError::Database(error) => error.into(),
        _ => ExecuteError::Evm { transaction },
    }
}

/// revm's validation errors in our words.
pub(crate) fn skip_reason(invalid: InvalidTransaction) -> SkipReason {
    use InvalidTransaction as I;
    match invalid {
        I::NonceTooLow { tx, state } => SkipReason::NonceTooLow { transaction: tx, state },
        I::NonceTooHigh { tx, state } => SkipReason::NonceTooHigh { transaction: tx, state },
        I::NonceOverflowInTransaction => SkipReason::NonceMax,
        I::LackOfFundForMaxFee { fee, balance } => {
            SkipReason::InsufficientFunds { balance_wei: *balance, cost_wei: *fee }
        }
        I::GasPriceLessThanBasefee => SkipReason::FeeBelowBaseFee,
        I::PriorityFeeGreaterThanMaxFee => SkipReason::PriorityFeeAboveMaxFee,
        I::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
            SkipReason::IntrinsicGas { needed: initial_gas, gas_limit }
        }
        I::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
            SkipReason::FloorGas { needed: gas_floor, gas_limit }
        }
        I::TxGasLimitGreaterThanCap { gas_limit, cap } => {
            SkipReason::GasLimitAboveCap { gas_limit, cap }
        }
        I::RejectCallerWithCode => SkipReason::SenderNotEoa,
        I::CreateInitCodeSizeLimit => SkipReason::InitCodeTooLarge,
        I::InvalidChainId | I::MissingChainId => SkipReason::WrongChainId,
        I::BlobGasPriceGreaterThanMax { .. } => SkipReason::BlobFeeBelowBaseFee,
        I::EmptyBlobs
        | I::BlobCreateTransaction
        | I::TooManyBlobs { .. }
        | I::BlobVersionNotSupported => SkipReason::InvalidBlobs,
        I::AuthorizationListInvalidFields | I::EmptyAuthorizationList => {
            SkipReason::InvalidAuthorizationList
        }
        I::OverflowPaymentInTransaction => SkipReason::CostOverflow,
        // Checked before revm sees the transaction, with the gas left in the block.
        I::CallerGasLimitMoreThanBlock => SkipReason::BlockGas { gas_limit: 0, gas_left: 0 },
        _ => SkipReason::TypeNotSupported,
    }
}

/// Ethereum's handler with the parts replaced in which a deposit differs: nothing is validated or
/// charged, its gas was bought on L1, and it mints before it runs.
struct DepositHandler<J, I = ()> {
    mint_wei: u128,
    marker: PhantomData<(J, I)>,
}

impl<J, I> DepositHandler<J, I> {
    fn new(deposit: &Deposit) -> Self {
        Self { mint_wei: deposit.mint_wei, marker: PhantomData }
    }
}

impl<J: BlockJournal, I> Handler for DepositHandler<J, I> {
    type Evm = Engine<J, I>;
    type Error = EngineError;
    type HaltReason = HaltReason;

    fn validate_env(&self, _evm: &mut Self::Evm) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The transaction cap (EIP-7825) does not bound a deposit.
    fn tx_gas(&self, evm: &mut Self::Evm, initial: &InitialAndFloorGas) -> GasTracker {
        let limit = evm.ctx_ref().tx().gas_limit;
        GasTracker::new(limit, limit.saturating_sub(initial.initial_regular_gas()), 0)
    }

    fn validate_against_state_and_deduct_caller(
        &self,
        evm: &mut Self::Evm,
        _initial: &mut InitialAndFloorGas,
    ) -> Result<(), Self::Error> {
        let (_, tx, _, journal, _, _) = evm.ctx().all_mut();
        let is_call = tx.kind.is_call();
        let mut caller = journal.load_account_with_code_mut(tx.caller)?.data;
        let balance = caller.balance().saturating_add(U256::from(self.mint_wei));
        caller.set_balance(balance);
        // A creation counts its nonce in the create frame.
        if is_call {
            caller.bump_nonce();
        }
        Ok(())
    }

    fn reward_beneficiary(
        &self,
        _evm: &mut Self::Evm,
        _result: &mut FrameResult,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    fn execution_result(
        &mut self,
        evm: &mut Self::Evm,
        result: FrameResult,
        gas: ResultGas,
    ) -> Result<ExecutionResult<Self::HaltReason>, Self::Error> {
        MainnetHandler::default().execution_result(evm, result, gas)
    }
}
