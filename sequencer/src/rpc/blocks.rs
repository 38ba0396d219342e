//! Blocks, their counts, and the pending block. Unknown blocks answer null.

use super::{
    block_id::{find, pending_view},
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    format::{self, PendingBlock},
    jsonrpc::Params,
    table::{Answer, json, null},
};
use crate::store::chain::StoredBlock;
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, U64},
};
use executor::{BlockEnv, FeeSchedule, Transaction};
use std::time::Instant;

type Reply = Result<Answer, RpcError>;

/// Pool transactions shown in the pending block; more are left out.
const PENDING_TRANSACTIONS_MAX: usize = 1_000;

/// A whole block, or `None` when there is none.
pub(super) fn load<C: Chain>(
    ctx: &RpcContext<C>,
    id: BlockId,
) -> Result<Option<StoredBlock>, RpcError> {
    let Some(number) = find(ctx, id)? else { return Ok(None) };
    Ok(ctx.chain.block(number)?)
}

/// What the open block has executed so far, and its environment; where nothing is open, the pool's
/// best transactions for the next block.
fn pending<C: Chain>(ctx: &RpcContext<C>) -> Result<(BlockEnv, Vec<Transaction>), RpcError> {
    if let Some(open) = ctx.chain.open_block() {
        return Ok((BlockEnv::clone(&open.env), open.transactions().cloned().collect()));
    }
    let env = ctx.chain.pending_env()?;
    let base_fee_wei = env.base_fee_wei.unwrap_or(0);
    let fees = FeeSchedule::of_state(ctx.chain.rules(), &pending_view(ctx)?)?;
    let extra_fee_wei =
        |transaction: &Transaction| FeeSchedule::extra_fee_under(fees.as_ref(), transaction);
    let pool = ctx.pool();
    let best = pool
        .best(base_fee_wei, env.gas_limit, Instant::now(), &extra_fee_wei)
        .take(PENDING_TRANSACTIONS_MAX);
    let transactions = best.cloned().collect();
    drop(pool);
    Ok((env, transactions))
}

fn answer(block: Option<&StoredBlock>, full: bool) -> Reply {
    block.map_or_else(null, |block| json(&format::block(block, full)))
}

pub(super) fn by_number<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let tag: BlockNumberOrTag = params.required(0)?;
    let full = params.optional(1)?.unwrap_or(false);
    if tag == BlockNumberOrTag::Pending {
        let (env, transactions) = pending(ctx)?;
        return json(&PendingBlock::new(&env, &transactions, full));
    }
    answer(load(ctx, tag.into())?.as_ref(), full)
}

pub(super) fn by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let full = params.optional(1)?.unwrap_or(false);
    answer(load(ctx, hash.into())?.as_ref(), full)
}

fn count<C: Chain>(ctx: &RpcContext<C>, id: BlockId) -> Reply {
    if id.is_pending() {
        return json(&U64::from(pending(ctx)?.1.len()));
    }
    load(ctx, id)?.map_or_else(null, |block| json(&U64::from(block.transactions.len())))
}

pub(super) fn count_by_number<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let tag: BlockNumberOrTag = params.required(0)?;
    count(ctx, tag.into())
}

pub(super) fn count_by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    count(ctx, hash.into())
}

/// There are no uncles; an unknown block answers null.
fn uncle_count<C: Chain>(ctx: &RpcContext<C>, id: BlockId) -> Reply {
    find(ctx, id)?.map_or_else(null, |_| json(&U64::ZERO))
}

pub(super) fn uncles_by_number<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let tag: BlockNumberOrTag = params.required(0)?;
    uncle_count(ctx, tag.into())
}

pub(super) fn uncles_by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    uncle_count(ctx, hash.into())
}

pub(super) fn receipts<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0)?;
    let rules = ctx.chain.rules();
    load(ctx, id)?.map_or_else(null, |block| json(&format::receipts(rules, block)))
}
