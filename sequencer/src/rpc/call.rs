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
    BlockEnv, ChainRules, ExecuteError, SkipReason, StateView, ViewError,
    call::{self, CallOutcome, CallRequest, CallStatus, Estimate, ExtraFees},
    state::Overlay,
};
use serde::Serialize;

type Reply = Result<Answer, RpcError>;

/// Turns a request into a call; absent fields are zero.
fn to_call(rules: &ChainRules, request: TransactionRequest) -> Result<CallRequest, RpcError> {
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
struct Simulation<V> {
    request: CallRequest,
    env: BlockEnv,
    view: V,
    state: Option<StateOverride>,
}

/// Reads `[request, block, state overrides, block overrides]`. `next` puts a call on the newest
/// state into the next block's environment.
fn read<C: Chain>(
    ctx: &RpcContext<C>,
    params: &Params<'_>,
    next: bool,
) -> Result<Simulation<C::View>, RpcError> {
    let request = to_call(ctx.chain.rules(), params.required(0)?)?;
    let id = params.optional::<BlockId>(1)?.unwrap_or_default();
    let newest = matches!(id, BlockId::Number(BlockNumberOrTag::Latest));
    // What will run next runs on top of what has run already, sealed or not.
    let is_next = id.is_pending() || (next && newest);
    let open = ctx.chain.open_block().filter(|_| is_next && !next);
    let mut env = match open {
        Some(open) => BlockEnv::clone(&open.env),
        None if is_next => ctx.chain.pending_env()?,
        None => BlockEnv::of_header(&header(ctx, resolve(ctx, Some(id))?)?.0),
    };
    if let Some(block) = params.optional::<BlockOverrides>(3)? {
        overrides::apply_block(&mut env, &block)?;
    }
    let view = if is_next { pending_view(ctx)? } else { view(ctx, resolve(ctx, Some(id))?)? };
    Ok(Simulation { request, env, view, state: params.optional(2)? })
}

/// The state under the call, with its overrides on top.
fn overlay<V: StateView>(simulation: &Simulation<V>) -> Result<Overlay<'_, V>, RpcError> {
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
    json(&U64::from(estimated_gas(ctx.chain.rules(), &simulation)?))
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
    let gas = estimated_gas(rules, &simulation)?;
    let base_fee_wei = u128::from(simulation.env.base_fee_wei.unwrap_or(0));
    let bid: TransactionRequest = params.required(0)?;
    let tip_wei = bid.max_priority_fee_per_gas.unwrap_or(u128::from(ctx.options.priority_fee_wei));
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
fn estimated_gas<V: StateView>(
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

/// A hash outside BLOCKHASH's reach of an old state is no failure of the node.
fn executed(error: ExecuteError) -> RpcError {
    match error {
        ExecuteError::View(ViewError::MissingBlockHash(number)) => {
            RpcError::StateUnavailable { number }
        }
        error => error.into(),
    }
}
