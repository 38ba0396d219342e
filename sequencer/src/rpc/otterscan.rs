//! ots_* level 8 and erigon_getHeaderByNumber: what the Otterscan explorer asks about blocks and
//! transactions. Searching is in `otterscan_search`.

use super::{
    accounts::account,
    block_id::{find, number_of},
    blocks::load,
    budget::{Recorded, TRACE_TIME, json_within, turn},
    chain::Chain,
    context::RpcContext,
    error::{Refusal, RpcError},
    format::{self, RpcTransaction, gas_used},
    jsonrpc::Params,
    replay::{Past, Seen},
    table::{Answer, json, null},
};
use crate::store::chain::StoredBlock;
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{Address, B256, Bytes, U256},
    rpc::types::{
        Block, BlockTransactions,
        trace::otterscan::{BlockDetails, InternalIssuance, OtsBlock},
    },
};
use executor::{ChainRules, FeeSchedule, StateView, trace::SessionContext};
use revm::{Inspector, context::result::ExecutionResult};
use revm_inspectors::{
    otterscan::InternalOperationsInspector,
    tracing::{
        TracingInspector, TracingInspectorConfig,
        types::{CallKind, CallTraceNode},
    },
};
use serde::Serialize;
use serde_json::Value;

type Reply = Result<Answer, RpcError>;

/// The level of the API that is served.
const API_LEVEL: u64 = 8;
/// Transactions on one page; a larger one is refused.
pub(super) const PAGE_MAX: usize = 100;

pub(super) fn api_level<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&API_LEVEL)
}

pub(super) fn has_code<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (view, account) = account(ctx, params.required(0)?, params.optional(1)?)?;
    json(&!view.code(account.code_hash)?.is_empty())
}

/// What came of watching one transaction; `None` when there is no such transaction.
fn watch<C: Chain, I, O>(
    ctx: &RpcContext<C>,
    params: &Params<'_>,
    inspector: impl Fn() -> I,
    make: impl Fn(I, &ExecutionResult) -> O,
) -> Result<Option<O>, RpcError>
where
    I: for<'v> Inspector<SessionContext<'v, C::View>>,
{
    let hash: B256 = params.required(0)?;
    let Some((number, index)) = ctx.chain.transaction_position(hash)? else { return Ok(None) };
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let past = Past::load(ctx, number)?;
    let end = |inspector: I, seen: Seen<'_, '_, C::View>| {
        let is_it = seen.transaction.hash() == hash;
        Ok(is_it.then(|| make(inspector, &seen.watched.executed.result)))
    };
    let begin = || Ok((inspector(), Recorded::default()));
    let made = past.watch(index..index + 1, &mut budget, begin, end)?;
    Ok(made.into_iter().next().flatten())
}

/// Transfers, creations and self-destructs inside a transaction.
pub(super) fn internal_operations<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let made = watch(ctx, params, InternalOperationsInspector::default, |inspector, _| {
        inspector.into_operations()
    })?;
    made.map_or_else(null, |operations| json_within(&operations))
}

/// The revert data of a failed transaction; empty for one that succeeded or ran out of gas.
pub(super) fn error<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let data = watch(
        ctx,
        params,
        || revm::inspector::NoOpInspector,
        |_, result| match result {
            ExecutionResult::Revert { output, .. } => output.clone(),
            _ => Bytes::new(),
        },
    )?;
    data.map_or_else(null, |data| json(&data))
}

#[derive(Serialize)]
struct Entry {
    r#type: &'static str,
    depth: usize,
    from: Address,
    to: Address,
    /// None where a call cannot carry any.
    value: Option<U256>,
    input: Bytes,
    output: Bytes,
}

/// All calls of a transaction in the order in which they began.
pub(super) fn trace<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let config = TracingInspectorConfig::default_parity();
    let made = watch(
        ctx,
        params,
        || TracingInspector::new(config),
        |inspector, _| entries(inspector.traces().nodes()),
    )?;
    made.map_or_else(null, |entries| json_within(&entries))
}

fn entries(nodes: &[CallTraceNode]) -> Vec<Entry> {
    let mut entries = Vec::with_capacity(nodes.len());
    // Self-destructs of frames that are still open.
    let mut ending: Vec<Entry> = Vec::new();
    for node in nodes {
        let trace = &node.trace;
        while ending.last().is_some_and(|last| last.depth > trace.depth) {
            entries.extend(ending.pop());
        }
        let has_value = !matches!(trace.kind, CallKind::StaticCall | CallKind::DelegateCall);
        entries.push(Entry {
            r#type: trace.kind.to_str(),
            depth: trace.depth,
            from: trace.caller,
            to: trace.address,
            value: has_value.then_some(trace.value),
            input: trace.data.clone(),
            output: trace.output.clone(),
        });
        if let Some(target) = trace.selfdestruct_refund_target {
            ending.push(Entry {
                r#type: "SELFDESTRUCT",
                depth: trace.depth + 1,
                from: trace.selfdestruct_address.unwrap_or(trace.address),
                to: target,
                value: trace.selfdestruct_transferred_value,
                input: Bytes::new(),
                output: Bytes::new(),
            });
        }
    }
    entries.extend(ending.into_iter().rev());
    entries
}

/// The header with the fees that users paid in the block; there is no issuance.
fn details<C: Chain>(ctx: &RpcContext<C>, id: BlockId) -> Reply {
    let Some(block) = load(ctx, id)? else { return null() };
    let base_fee_wei = block.header.base_fee_per_gas.unwrap_or(0);
    let attributes = block.transactions.first();
    let rules = ctx.chain.rules();
    let beside = attributes.and_then(|first| FeeSchedule::set_by(rules, first));
    let fees = block.transactions.iter().enumerate().map(|(index, transaction)| {
        let price_wei = transaction.effective_gas_price_wei(base_fee_wei);
        let gas = gas_used(&block.receipts, index);
        let gas_fee_wei = U256::from(price_wei) * U256::from(gas);
        let user = transaction.as_signed().and(beside);
        let beside_wei = user.map_or(U256::ZERO, |fees| {
            fees.l1_fee_wei(transaction.raw()).saturating_add(fees.operator_fee_wei(gas))
        });
        gas_fee_wei.saturating_add(beside_wei)
    });
    let total_fees = fees.fold(U256::ZERO, U256::saturating_add);
    let shown: Block<RpcTransaction> = format::block(&block, false);
    json(&BlockDetails::new(shown, InternalIssuance::default(), total_fees))
}

pub(super) fn details_by_number<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    details(ctx, params.required::<BlockNumberOrTag>(0)?.into())
}

pub(super) fn details_by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    details(ctx, params.required::<B256>(0)?.into())
}

#[derive(Serialize)]
struct Page {
    fullblock: OtsBlock<RpcTransaction>,
    receipts: Vec<Value>,
}

/// `[block, page, transactions per page]`. Page 0 has the block's last transactions, as in Erigon.
pub(super) fn block_transactions<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let tag: BlockNumberOrTag = params.required(0)?;
    let (page, size): (usize, usize) = (params.required(1)?, params.required(2)?);
    if size > PAGE_MAX {
        return Err(Refusal::PageSize(PAGE_MAX).into());
    }
    let Some(block) = load(ctx, tag.into())? else { return null() };
    let count = block.transactions.len();
    let end = count.saturating_sub(page.saturating_mul(size));
    let start = end.saturating_sub(size);
    let mut shown: Block<RpcTransaction> = format::block(&block, false);
    let page = (start..end).filter_map(|index| format::block_transaction(&block, index));
    shown.transactions = BlockTransactions::Full(page.collect());
    let receipts = (start..end).map(|index| receipt(ctx.chain.rules(), &block, index));
    let receipts = receipts.collect::<Result<Vec<_>, _>>()?;
    json(&Page { fullblock: OtsBlock { block: shown, transaction_count: count }, receipts })
}

/// A receipt with its time and without its logs.
pub(super) fn receipt(
    rules: &ChainRules,
    block: &StoredBlock,
    index: usize,
) -> Result<Value, RpcError> {
    let written = serde_json::to_value(format::receipt(rules, block, index));
    let mut receipt = written.map_err(|error| {
        tracing::error!(%error, "a receipt cannot be written");
        RpcError::Internal
    })?;
    receipt["logs"] = Value::Null;
    receipt["logsBloom"] = Value::Null;
    receipt["timestamp"] = block.header.timestamp.into();
    Ok(receipt)
}

/// The header alone, as eth_getBlockByNumber shows it.
pub(super) fn header<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let tag: BlockNumberOrTag = params.required(0)?;
    if find(ctx, tag.into())?.is_none() {
        return null();
    }
    let found = ctx.chain.header(number_of(ctx, tag))?;
    found.map_or_else(null, |(header, hash)| json(&format::header(&header, hash, None)))
}
