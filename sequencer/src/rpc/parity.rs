//! trace_*: OpenEthereum's traces of past transactions, as Blockscout reads them.
//!
//! There are no reward traces: a rollup rewards nobody for a block.

use super::{
    block_id::find,
    budget::{Recorded, TRACE_TIME, json_within, turn},
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    replay::{Past, Seen},
    table::{Answer, null},
};
use alloy::{
    eips::BlockId,
    primitives::{B256, map::HashSet},
    rpc::types::{
        TransactionInfo,
        trace::parity::{LocalizedTransactionTrace, TraceResultsWithTransactionHash, TraceType},
    },
};
use executor::StateView;
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use std::ops::Range;

type Reply = Result<Answer, RpcError>;

/// The call traces of some transactions of a block, one after another.
fn localized<C: Chain>(
    ctx: &RpcContext<C>,
    number: u64,
    range: impl FnOnce(usize) -> Range<usize>,
) -> Result<Vec<LocalizedTransactionTrace>, RpcError> {
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let past = Past::load(ctx, number)?;
    let end = |inspector: TracingInspector, seen: Seen<'_, '_, C::View>| {
        let place = TransactionInfo {
            hash: Some(seen.transaction.hash()),
            index: Some(seen.index as u64),
            block_hash: Some(past.block.hash),
            block_number: Some(number),
            base_fee: past.block.header.base_fee_per_gas,
            ..TransactionInfo::default()
        };
        Ok(inspector.into_parity_builder().into_localized_transaction_traces(place))
    };
    let config = TracingInspectorConfig::default_parity();
    let begin = || Ok((TracingInspector::new(config), Recorded::default()));
    let traces = past.watch(range(past.block.transactions.len()), &mut budget, begin, end)?;
    Ok(traces.into_iter().flatten().collect())
}

/// An unknown block answers null, and so does genesis, which nothing executed.
pub(super) fn block<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0)?;
    match find(ctx, id)?.filter(|number| *number > 0) {
        Some(number) => json_within(&localized(ctx, number, |count| 0..count)?),
        None => null(),
    }
}

/// An unknown transaction answers null.
pub(super) fn transaction<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let Some((number, index)) = ctx.chain.transaction_position(hash)? else { return null() };
    let traces = localized(ctx, number, |_| index..index + 1)?;
    let is_it = |trace: &LocalizedTransactionTrace| trace.transaction_hash == Some(hash);
    if !traces.iter().all(is_it) {
        // The block was undone and another stands there now.
        return null();
    }
    json_within(&traces)
}

/// The full traces of some transactions of a block.
fn full<V: StateView + Sync>(
    past: &Past<V>,
    range: Range<usize>,
    kinds: &HashSet<TraceType>,
    budget: &mut super::budget::Budget,
) -> Result<Vec<TraceResultsWithTransactionHash>, RpcError> {
    let steps = kinds.contains(&TraceType::VmTrace);
    let recorded = Recorded { steps, ..Recorded::default() };
    let config = TracingInspectorConfig::from_parity_config(kinds);
    let end = |inspector: TracingInspector, seen: Seen<'_, '_, V>| {
        let executed = &seen.watched.executed;
        let builder = inspector.into_parity_builder();
        let full_trace = builder.into_trace_results_with_state(executed, kinds, seen.state)?;
        let transaction_hash = seen.transaction.hash();
        Ok(TraceResultsWithTransactionHash { full_trace, transaction_hash })
    };
    past.watch(range, budget, || Ok((TracingInspector::new(config), recorded)), end)
}

pub(super) fn replay_block<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (id, kinds): (BlockId, HashSet<TraceType>) = (params.required(0)?, params.required(1)?);
    let Some(number) = find(ctx, id)?.filter(|number| *number > 0) else { return null() };
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let past = Past::load(ctx, number)?;
    json_within(&full(&past, 0..past.block.transactions.len(), &kinds, &mut budget)?)
}

pub(super) fn replay_transaction<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (hash, kinds): (B256, HashSet<TraceType>) = (params.required(0)?, params.required(1)?);
    let position = ctx.chain.transaction_position(hash)?;
    let (number, index) = position.ok_or(RpcError::TransactionNotFound)?;
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let past = Past::load(ctx, number)?;
    let traces = full(&past, index..index + 1, &kinds, &mut budget)?;
    let trace = traces.into_iter().find(|trace| trace.transaction_hash == hash);
    json_within(&trace.ok_or(RpcError::TransactionNotFound)?.full_trace)
}
