//! eth_simulateV1: blocks of calls on top of a block, as geth runs them.
//!
//! Simulated blocks have the environment that a rollup's next blocks would have, and their system
//! calls. Their state root is zero where the state below them has no trie any more.

use super::{
    ancestors::Ancestors,
    block_id::{header, resolve, view},
    budget::{Budget, Limited, Recorded, TRACE_TIME, json_within, turn},
    call::failure_of,
    chain::Chain,
    context::RpcContext,
    error::{RpcError, SimulationError},
    format::{self, RpcTransaction},
    jsonrpc::Params,
    overrides,
    prepare::unsigned,
    replay::failed,
    table::Answer,
    transfers::Transfers,
};
use crate::store::chain::StoredBlock;
use alloy::{
    eips::BlockId,
    primitives::{B256, Bytes, Log},
    rpc::types::{
        Block, BlockOverrides, TransactionRequest,
        simulate::{
            MAX_SIMULATE_BLOCKS, SimBlock, SimCallResult, SimulateError, SimulatePayload,
            SimulatedBlock,
        },
    },
};
use executor::{
    BlockEnv, ChainRules, Header, Receipt, StateView, Transaction,
    call::CALL_GAS_MAX,
    state::Overlay,
    trace::{Session, Watched},
};
use revm::context::result::{ExecutionResult, HaltReason};

type Reply = Result<Answer, RpcError>;
/// A header and its hash.
type Sealed = (Header, B256);
type Shown = SimulatedBlock<Block<RpcTransaction>>;

/// Between two simulated blocks unless the caller says otherwise, in seconds.
const BLOCK_SECS: u64 = 1;

/// What all blocks of one simulation share.
struct Simulator<'s> {
    rules: &'s ChainRules,
    validation: bool,
    transfers: bool,
    full: bool,
    /// Gas that all calls together may still use.
    gas_left: u64,
}

/// A call that has run.
struct Ran {
    result: ExecutionResult<HaltReason>,
    /// Its logs, with those of transfers where they are wanted.
    logs: Vec<Log>,
}

/// A block as far as it has run.
#[derive(Default)]
struct Progress {
    transactions: Vec<Transaction>,
    receipts: Vec<Receipt>,
    ran: Vec<Ran>,
    gas_used: u64,
}

pub(super) fn simulate<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let payload: SimulatePayload = params.required(0)?;
    let number = resolve(ctx, params.optional::<BlockId>(1)?)?;
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let mut parent = header(ctx, number)?;
    let blocks = in_order(&parent.0, payload.block_state_calls)?;
    let base = Ancestors::new(view(ctx, number)?);
    let mut simulator = Simulator {
        rules: ctx.chain.rules(),
        validation: payload.validation,
        transfers: payload.trace_transfers,
        full: payload.return_full_transactions,
        gas_left: CALL_GAS_MAX,
    };
    let mut state = Overlay::new(&base);
    let mut shown = Vec::with_capacity(blocks.len());
    for block in blocks {
        budget.check()?;
        let (after, sealed, block) = simulator.block(state, &parent, block, &mut budget)?;
        base.insert(sealed.0.number, sealed.1);
        (state, parent) = (after, sealed);
        shown.push(block);
    }
    json_within(&shown)
}

/// Gives each block its number and time and fills the gaps between them with empty blocks.
fn in_order(base: &Header, wanted: Vec<SimBlock>) -> Result<Vec<SimBlock>, RpcError> {
    if wanted.is_empty() {
        return Err(SimulationError::Empty.into());
    }
    let (mut number, mut time) = (base.number, base.timestamp);
    let mut blocks = Vec::with_capacity(wanted.len());
    for mut block in wanted {
        let overrides = block.block_overrides.get_or_insert_default();
        let next = match overrides.number {
            Some(wanted) => u64::try_from(wanted).unwrap_or(u64::MAX),
            None => number + 1,
        };
        if next <= number {
            return Err(SimulationError::NumberOrder { number: next, before: number }.into());
        }
        if next - base.number > MAX_SIMULATE_BLOCKS {
            return Err(SimulationError::TooManyBlocks.into());
        }
        for gap in number + 1..next {
            time += BLOCK_SECS;
            blocks.push(SimBlock { block_overrides: Some(at(gap, time)), ..SimBlock::default() });
        }
        let next_time = overrides.time.unwrap_or(time + BLOCK_SECS);
        if next_time <= time {
            return Err(SimulationError::TimeOrder { time: next_time, before: time }.into());
        }
        let place = at(next, next_time);
        (overrides.number, overrides.time) = (place.number, place.time);
        (number, time) = (next, next_time);
        blocks.push(block);
    }
    Ok(blocks)
}

fn at(number: u64, time: u64) -> BlockOverrides {
    let number = Some(alloy::primitives::U256::from(number));
    BlockOverrides { number, time: Some(time), ..BlockOverrides::default() }
}

impl Simulator<'_> {
    /// The environment of a block: what the chain would give it, then what the caller wants.
    fn env(&self, parent: &Sealed, wanted: &BlockOverrides) -> Result<BlockEnv, RpcError> {
        let (header, hash) = (&parent.0, parent.1);
        let mut env =
            BlockEnv::rollup(self.rules, (header, hash), header.mix_hash, header.timestamp + 1);
        env.beneficiary = header.beneficiary;
        env.gas_limit = header.gas_limit;
        if !self.validation {
            env.base_fee_wei = Some(0);
        }
        overrides::apply_block(&mut env, wanted)?;
        Ok(env)
    }

    fn block<'v, V: StateView + Sync>(
        &mut self,
        mut state: Overlay<'v, V>,
        parent: &Sealed,
        block: SimBlock,
        budget: &mut Budget,
    ) -> Result<(Overlay<'v, V>, Sealed, Shown), RpcError> {
        let env = self.env(parent, &block.block_overrides.unwrap_or_default())?;
        if let Some(accounts) = &block.state_overrides {
            overrides::apply_state(&mut state, accounts)?;
        }
        let mut session = Session::on(state, self.rules, &env);
        session.begin_block(&env).map_err(|error| failed(error, budget))?;
        let mut progress = Progress::default();
        for call in block.calls {
            budget.check()?;
            let transaction = self.transaction(&session, &env, &progress, call)?;
            session = self.call(session, transaction, &mut progress, budget)?;
        }
        let Progress { transactions, receipts, ran, .. } = progress;
        let header = session.seal(&env, &transactions, &receipts);
        let header = header.map_err(|error| failed(error, budget))?;
        let hash = header.hash_slow();
        let sealed = (header.clone(), hash);
        let shown = self.show(StoredBlock { header, hash, transactions, receipts }, ran);
        Ok((session.into_state(), sealed, shown))
    }

    /// The call as a transaction, with everything that it leaves open.
    fn transaction<V: StateView>(
        &self,
        session: &Session<'_, V>,
        env: &BlockEnv,
        progress: &Progress,
        mut call: TransactionRequest,
    ) -> Result<Transaction, RpcError> {
        super::call::to_call(self.rules, call.clone())?;
        let from = *call.from.get_or_insert_default();
        if call.nonce.is_none() {
            let account = revm::DatabaseRef::basic_ref(session.state(), from)?;
            call.nonce = Some(account.map_or(0, |account| account.nonce));
        }
        let block_gas_left = env.gas_limit.saturating_sub(progress.gas_used);
        let gas = match (call.gas, self.rules) {
            (Some(gas), _) => gas,
            (None, ChainRules::Rollup(rollup)) if self.validation => {
                block_gas_left.min(rollup.transaction_gas_limit)
            }
            (None, _) => block_gas_left,
        };
        if gas > block_gas_left {
            return Err(SimulationError::BlockGas { used: progress.gas_used, gas }.into());
        }
        let gas = gas.min(self.gas_left);
        if gas == 0 {
            return Err(SimulationError::Gas.into());
        }
        call.gas = Some(gas);
        call.chain_id = Some(self.rules.chain_id());
        if call.gas_price.is_none() {
            let tip_wei = *call.max_priority_fee_per_gas.get_or_insert(0);
            call.max_fee_per_gas.get_or_insert(tip_wei);
        }
        let input = std::mem::take(&mut call.input).into_input().unwrap_or_default();
        call.input = input.into();
        unsigned(call)
    }

    fn call<'v, V: StateView + Sync>(
        &mut self,
        session: Session<'v, V>,
        transaction: Transaction,
        progress: &mut Progress,
        budget: &mut Budget,
    ) -> Result<Session<'v, V>, RpcError> {
        let mut transfers = Transfers::default();
        let limited = Limited::new(&mut transfers, budget, Recorded::default());
        let stepped = match self.validation {
            true => session.watch(&transaction, limited),
            false => session.simulate(&transaction, limited),
        };
        let (mut session, reported) = stepped.map_err(|error| failed(error, budget))?;
        budget.check()?;
        let Watched { executed, .. } =
            reported.map_err(|reason| SimulationError::Invalid { reason })?;
        session.settle(executed.state);
        let result = executed.result;
        let gas_used = result.tx_gas_used();
        self.gas_left = self.gas_left.saturating_sub(gas_used);
        progress.gas_used += gas_used;
        let success = result.is_success();
        let emitted = if success { result.logs().to_vec() } else { Vec::new() };
        let logs = if self.transfers { transfers.into_logs() } else { emitted.clone() };
        progress.receipts.push(Receipt {
            ty: transaction.ty(),
            success,
            state_root: None,
            cumulative_gas_used: progress.gas_used,
            logs: emitted,
            deposit_nonce: None,
        });
        progress.transactions.push(transaction);
        progress.ran.push(Ran { result, logs });
        Ok(session)
    }

    /// The block with the results of its calls.
    fn show(&self, mut block: StoredBlock, ran: Vec<Ran>) -> Shown {
        let inner = format::block(&block, self.full);
        let mut results = Vec::with_capacity(ran.len());
        for (receipt, ran) in block.receipts.iter_mut().zip(ran) {
            receipt.logs = ran.logs;
            results.push(ran.result);
        }
        let mut calls: Vec<SimCallResult> = results.iter().map(show_call).collect();
        for log in format::block_logs(&block, |_| true) {
            let index = log.transaction_index.and_then(|index| usize::try_from(index).ok());
            if let Some(call) = index.and_then(|index| calls.get_mut(index)) {
                call.logs.push(log);
            }
        }
        SimulatedBlock { inner, calls }
    }
}

fn show_call(result: &ExecutionResult<HaltReason>) -> SimCallResult {
    let error = failure_of(result).map(|error| {
        let (code, data) = match &error {
            RpcError::Reverted { output } => {
                (SimulateError::EXECUTION_REVERTED_CODE, Some(output.clone()))
            }
            _ => (SimulateError::VM_EXECUTION_ERROR_CODE, None),
        };
        SimulateError { code, message: error.to_string(), data }
    });
    SimCallResult {
        return_data: result.output().map_or_else(Bytes::new, Clone::clone),
        logs: Vec::new(),
        gas_used: result.tx_gas_used(),
        max_used_gas: Some(result.gas().total_gas_spent().max(result.tx_gas_used())),
        status: result.is_success(),
        error,
    }
}
