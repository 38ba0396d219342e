//! eth_call, eth_estimateGas and rollup_estimateTotalFee: from a transaction request to a simulated
//! call and back.
//!
//! An estimate runs in the environment of the next block, because that is the one the transaction
//! will meet; the last block's timestamp makes time-dependent contracts run out of gas.

use super::{
    block_id::{header, pending_view, resolve, view},
    chain::Chain,
    context::RpcContext,
    error::{Refusal, RpcError},
    jsonrpc::Params,
    overrides,
    table::{Answer, json},
};
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{TxKind, U64, U256},
    rpc::types::{BlockOverrides, TransactionRequest, state::StateOverride},
};
use executor::{
    BlockEnv, ChainRules, ExecuteError, SkipReason, ViewError,
    call::{self, CallOutcome, CallRequest, CallStatus, Estimate, ExtraFees},
    state::Overlay,
};
use revm::context::result::{ExecutionResult, HaltReason};
use serde::Serialize;

type Reply = Result<Answer, RpcError>;

/// Turns a request into a call; absent fields are zero.
pub(super) fn to_call(
    rules: &ChainRules,
    request: TransactionRequest,
) -> Result<CallRequest, RpcError> {
    let want = rules.chain_id();
    if let Some(have) = request.chain_id
        && have != want
    {
        return Err(Refusal::ChainId { have, want }.into());
    }
    let gas_price_wei = match (request.gas_price, request.max_fee_per_gas) {
        (Some(_), Some(_)) => return Err(Refusal::BothFeeKinds.into()),
        (Some(_), None) if request.max_priority_fee_per_gas.is_some() => {
            return Err(Refusal::BothFeeKinds.into());
        }
        (price_wei, max_fee_wei) => price_wei.or(max_fee_wei).unwrap_or(0),
    };
    if let (Some(max_fee_wei), Some(priority_fee_wei)) =
        (request.max_fee_per_gas, request.max_priority_fee_per_gas)
        && priority_fee_wei > max_fee_wei
    {
        return Err(Refusal::PriorityFeeAboveMaxFee { max_fee_wei, priority_fee_wei }.into());
    }
    let input = request.input.try_into_unique_input().map_err(|_| Refusal::DataAndInput)?;
    Ok(CallRequest {
        from: request.from.unwrap_or_default(),
        to: request.to.unwrap_or(TxKind::Create),
        gas_limit: request.gas,
        gas_price_wei,
        value: request.value.unwrap_or_default(),
        input: input.unwrap_or_default(),
        access_list: request.access_list.unwrap_or_default(),
        authorization_list: request.authorization_list.unwrap_or_default(),
    })
}

/// A call's parameters, read and resolved.
pub(super) struct Simulation<V> {
    pub(super) request: CallRequest,
    pub(super) env: BlockEnv,
    view: V,
    state: Option<StateOverride>,
}

impl<V: executor::StateView + Sync> Simulation<V> {
    /// A call on the state after a block, in that block's environment.
    pub(super) fn at<C: Chain<View = V>>(
        ctx: &RpcContext<C>,
        request: CallRequest,
        id: BlockId,
        (state, block): (Option<StateOverride>, Option<BlockOverrides>),
    ) -> Result<Self, RpcError> {
        let (mut env, view) = match (id.is_pending(), ctx.chain.open_block()) {
            (true, Some(open)) => (BlockEnv::clone(&open.env), pending_view(ctx)?),
            (true, None) => (ctx.chain.pending_env()?, pending_view(ctx)?),
            (false, _) => {
                let number = resolve(ctx, Some(id))?;
                (BlockEnv::of_header(&header(ctx, number)?.0), view(ctx, number)?)
            }
        };
        if let Some(block) = block {
            overrides::apply_block(&mut env, &block)?;
        }
        Ok(Self { request, env, view, state })
    }
}

/// Reads `[request, block, state overrides, block overrides]`. `next` puts a call on the newest
/// state into the next block's environment.
pub(super) fn read<C: Chain>(
    ctx: &RpcContext<C>,
    params: &Params<'_>,
    next: bool,
) -> Result<Simulation<C::View>, RpcError> {
    let request = to_call(ctx.chain.rules(), params.required(0)?)?;
    let id = params.optional::<BlockId>(1)?.unwrap_or_default();
    let newest = matches!(id, BlockId::Number(BlockNumberOrTag::Latest));
    let id = if next && newest { BlockId::pending() } else { id };
    let overrides = (params.optional(2)?, params.optional(3)?);
    let mut simulation = Simulation::at(ctx, request, id, overrides)?;
    let is_time_given =
        params.optional::<BlockOverrides>(3)?.is_some_and(|overrides| overrides.time.is_some());
    if next && newest && !is_time_given {
        // It may also land in the block after the open one, whose time is later.
        let later = ctx.chain.pending_env()?.timestamp;
        simulation.env.timestamp = simulation.env.timestamp.max(later);
    }
    Ok(simulation)
}

/// The state under the call, with its overrides on top.
pub(super) fn overlay<V: executor::StateView>(
    simulation: &Simulation<V>,
) -> Result<Overlay<'_, V>, RpcError> {
    let mut overlay = Overlay::new(&simulation.view);
    if let Some(state) = &simulation.state {
        overrides::apply_state(&mut overlay, state)?;
    }
    Ok(overlay)
}

pub(super) fn call<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let simulation = read(ctx, params, false)?;
    let overlay = overlay(&simulation)?;
    let outcome = call::call(overlay, ctx.chain.rules(), &simulation.env, &simulation.request);
    let outcome = outcome.map_err(executed)?.map_err(RpcError::Invalid)?;
    match failure(&outcome) {
        Some(error) => Err(error),
        None => json(&outcome.output),
    }
}

pub(super) fn estimate_gas<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let simulation = read(ctx, params, true)?;
    json(&U64::from(estimate(ctx.chain.rules(), &simulation)?))
}

/// Everything that a transaction would pay, in wei but for the gas.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TotalFee {
    /// As eth_estimateGas answers it.
    gas: U64,
    /// Price per gas: what the request bids, as the next block would charge it, or eth_gasPrice.
    gas_price: U256,
    /// Gas x price.
    l2_fee: U256,
    /// L1 data fee, never below what is charged with the L1 base fees of now.
    l1_fee: U256,
    /// Operator fee for all of the gas.
    operator_fee: U256,
    /// The three fees together.
    total_fee: U256,
}

pub(super) fn estimate_total_fee<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let mut simulation = read(ctx, params, true)?;
    let rules = ctx.chain.rules();
    let gas = estimate(rules, &simulation)?;
    let base_fee_wei = u128::from(simulation.env.base_fee_wei.unwrap_or(0));
    let bid: TransactionRequest = params.required(0)?;
    let tip_wei = bid.max_priority_fee_per_gas.unwrap_or(u128::from(ctx.tip_wei()));
    let suggested_wei = base_fee_wei.saturating_add(tip_wei);
    let price_wei = match (bid.gas_price, bid.max_fee_per_gas) {
        (Some(price_wei), _) => price_wei,
        (None, Some(max_fee_wei)) => max_fee_wei.min(suggested_wei),
        (None, None) => suggested_wei,
    };
    if simulation.request.gas_price_wei == 0 {
        // The size of a transaction is also that of the price in it.
        simulation.request.gas_price_wei = price_wei;
    }
    let mut overlay = overlay(&simulation)?;
    let ExtraFees { l1_fee_wei, operator_fee_wei } =
        call::extra_fees(&mut overlay, rules, &simulation.request, gas)?;
    let l2_fee = U256::from(gas) * U256::from(price_wei);
    json(&TotalFee {
        gas: U64::from(gas),
        gas_price: U256::from(price_wei),
        l2_fee,
        l1_fee: l1_fee_wei,
        operator_fee: operator_fee_wei,
        total_fee: l2_fee.saturating_add(l1_fee_wei).saturating_add(operator_fee_wei),
    })
}

/// A gas limit with which the call succeeds.
pub(super) fn estimate<V: executor::StateView>(
    rules: &ChainRules,
    simulation: &Simulation<V>,
) -> Result<u64, RpcError> {
    let request = &simulation.request;
    let allowance = allowance(simulation, rules);
    let overlay = overlay(simulation)?;
    let estimate = call::estimate_gas(overlay, rules, &simulation.env, request);
    match estimate.map_err(executed)? {
        Ok(Estimate::GasLimit(gas)) => Ok(gas),
        Ok(Estimate::Failed(outcome)) => Err(match outcome.status {
            CallStatus::OutOfGas => RpcError::AllowanceExceeded { gas: allowance },
            _ => failure(&outcome).unwrap_or(RpcError::Halted),
        }),
        Err(SkipReason::IntrinsicGas { .. } | SkipReason::FloorGas { .. }) => {
            Err(RpcError::AllowanceExceeded { gas: allowance })
        }
        Err(SkipReason::InsufficientFunds { .. }) if request.gas_price_wei == 0 => {
            Err(RpcError::InsufficientForTransfer)
        }
        Err(reason) => Err(RpcError::Invalid(reason)),
    }
}

/// Highest gas limit the caller may use, for the error text: as the estimation bounds it, but for
/// the balance, which answers with its own words.
fn allowance<V>(simulation: &Simulation<V>, rules: &ChainRules) -> u64 {
    let cap = match rules {
        ChainRules::Rollup(rollup) => rollup.transaction_gas_limit,
        ChainRules::Ethereum(_) => call::CALL_GAS_MAX,
    };
    simulation.request.gas_limit.unwrap_or(cap).min(cap).min(simulation.env.gas_limit)
}

/// The error of a call that did not succeed.
fn failure(outcome: &CallOutcome) -> Option<RpcError> {
    match outcome.status {
        CallStatus::Success => None,
        CallStatus::Revert => Some(RpcError::Reverted { output: outcome.output.clone() }),
        CallStatus::OutOfGas => Some(RpcError::OutOfGas),
        CallStatus::Halt => Some(RpcError::Halted),
    }
}

/// The error of a watched call that did not succeed.
pub(super) fn failure_of(result: &ExecutionResult<HaltReason>) -> Option<RpcError> {
    match result {
        ExecutionResult::Success { .. } => None,
        ExecutionResult::Revert { output, .. } => {
            Some(RpcError::Reverted { output: output.clone() })
        }
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => Some(RpcError::OutOfGas),
        ExecutionResult::Halt { .. } => Some(RpcError::Halted),
    }
}

/// A hash outside BLOCKHASH's reach of an old state is no failure of the node.
fn executed(error: ExecuteError) -> RpcError {
    match error {
        ExecuteError::View(ViewError::MissingBlockHash(number)) => {
            RpcError::StateUnavailable { number }
        }
        error => error.into(),
    }
}
