//! What a wallet asks before it sends: eth_fillTransaction and eth_createAccessList.

use super::{
    budget::{Limited, Recorded, TRACE_TIME, turn},
    call::{self, Simulation},
    chain::Chain,
    context::RpcContext,
    error::{Refusal, RpcError},
    format::RpcTransaction,
    jsonrpc::Params,
    replay::failed,
    table::{Answer, json},
};
use alloy::{
    eips::{BlockId, eip2930::AccessList},
    primitives::{Bytes, TxKind, U64},
    rpc::types::TransactionRequest,
};
use executor::{StateView, Transaction, call::CALL_GAS_MAX, trace::Session};
use revm_inspectors::access_list::AccessListInspector;
use serde::Serialize;
use serde_json::Value;

type Reply = Result<Answer, RpcError>;

/// Runs until an access list is the one that a run with it makes. Each run can only add, and a call
/// rarely takes another way because of what its accesses cost.
const ACCESS_LIST_RUNS_MAX: usize = 8;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    access_list: AccessList,
    gas_used: U64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// `[request, block, state overrides]`.
pub(super) fn access_list<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let mut simulation = call::read(ctx, params, true)?;
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let gas_limit = simulation.request.gas_limit.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX);
    let mut runs = 1;
    loop {
        let list = simulation.request.access_list.clone();
        let mut inspector = AccessListInspector::new(list.clone());
        let overlay = call::overlay(&simulation)?;
        let session = Session::on(overlay, ctx.chain.rules(), &simulation.env);
        let limited = Limited::new(&mut inspector, &mut budget, Recorded::default());
        let stepped = session.call(&simulation.request, gas_limit, limited);
        let (_, reported) = stepped.map_err(|error| failed(error, &budget))?;
        budget.check()?;
        let watched = reported.map_err(RpcError::Invalid)?;
        let access_list = inspector.into_access_list();
        if access_list == list || runs == ACCESS_LIST_RUNS_MAX {
            let result = &watched.executed.result;
            let gas_used = U64::from(result.tx_gas_used());
            let error = call::failure_of(result).map(|error| error.to_string());
            return json(&Listed { access_list, gas_used, error });
        }
        simulation.request.access_list = access_list;
        runs += 1;
    }
}

#[derive(Serialize)]
struct Filled {
    raw: Bytes,
    tx: Value,
}

/// Nonce, gas limit, fees and chain id where they are missing. The signature is zero.
pub(super) fn fill<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let mut request: TransactionRequest = params.required(0)?;
    let rules = ctx.chain.rules().clone();
    // Checks what a call is checked for: fees of both kinds, another chain, unequal data.
    let checked = call::to_call(&rules, request.clone())?;
    if request.blob_versioned_hashes.is_some() || request.sidecar.is_some() {
        return Err(Refusal::Blobs.into());
    }
    let simulation = Simulation::at(ctx, checked, BlockId::pending(), (None, None))?;
    let from = request.from.unwrap_or_default();
    if request.nonce.is_none() {
        let state = call::overlay(&simulation)?;
        let account = state.view().account(from)?.unwrap_or_default();
        request.nonce = Some(ctx.pool().next_nonce(from, account.nonce));
    }
    if request.gas.is_none() {
        request.gas = Some(call::estimate(&rules, &simulation)?);
    }
    if request.gas_price.is_none() {
        let base_fee_wei = u128::from(simulation.env.base_fee_wei.unwrap_or(0));
        let wanted_wei = u128::from(ctx.tip_wei());
        let tip_wei = request.max_priority_fee_per_gas.unwrap_or(wanted_wei);
        request.max_priority_fee_per_gas = Some(tip_wei);
        let max_fee_wei = base_fee_wei.saturating_mul(2).saturating_add(tip_wei);
        request.max_fee_per_gas.get_or_insert(max_fee_wei);
    }
    let call = &simulation.request;
    request.to = Some(call.to);
    request.input = call.input.clone().into();
    request.value = Some(call.value);
    request.chain_id = Some(rules.chain_id());
    let transaction = unsigned(request)?;
    let tx = serde_json::to_value(RpcTransaction::pending(&transaction));
    let mut tx = tx.map_err(|error| {
        tracing::error!(%error, "a transaction cannot be written");
        RpcError::Internal
    })?;
    // As geth has it: clients send back what they are given, and both kinds of price are refused.
    if tx.get("maxFeePerGas").is_some() {
        tx["gasPrice"] = Value::Null;
    }
    json(&Filled { raw: transaction.raw().clone(), tx })
}

/// A transaction with a zero signature, of a request that has all fields.
pub(super) fn unsigned(mut request: TransactionRequest) -> Result<Transaction, RpcError> {
    let from = request.from.unwrap_or_default();
    request.to.get_or_insert(TxKind::Create);
    let signed = request.build_typed_simulate_transaction().map_err(|_| Refusal::Unbuildable)?;
    Ok(Transaction::from_signed(signed, from))
}
