//! Transactions and receipts, included or pending. Unknown ones answer null.

use super::{
    blocks::load,
    chain::{Chain, StoredBlock},
    context::RpcContext,
    error::RpcError,
    format::{self, RpcTransaction},
    jsonrpc::Params,
    table::{Answer, json, null},
};
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, U64},
};

type Reply = Result<Answer, RpcError>;

/// The block of an included transaction, and its index there.
pub(super) fn included<C: Chain>(
    ctx: &RpcContext<C>,
    hash: B256,
) -> Result<Option<(StoredBlock, usize)>, RpcError> {
    let Some((number, index)) = ctx.chain.transaction_position(hash)? else { return Ok(None) };
    Ok(ctx.chain.block(number)?.map(|block| (block, index)))
}

pub(super) fn by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    // The pool first: a transaction that is mined between the two looks is then found in a block.
    let pooled = ctx.pool().get(&hash).cloned();
    if let Some((block, index)) = included(ctx, hash)? {
        return json(&format::block_transaction(&block, index));
    }
    pooled.map_or_else(null, |transaction| json(&RpcTransaction::pending(&transaction)))
}

pub(super) fn raw_by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let pooled = ctx.pool().get(&hash).cloned();
    if let Some((block, index)) = included(ctx, hash)? {
        return json(&block.transactions.get(index).map(|transaction| transaction.raw()));
    }
    json(&pooled.as_ref().map(|transaction| transaction.raw()))
}

fn at<C: Chain>(ctx: &RpcContext<C>, id: BlockId, params: &Params<'_>) -> Reply {
    let index: U64 = params.required(1)?;
    let Some(block) = load(ctx, id)? else { return null() };
    let index = usize::try_from(index.to::<u64>()).unwrap_or(usize::MAX);
    json(&format::block_transaction(&block, index))
}

pub(super) fn by_block_number<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let tag: BlockNumberOrTag = params.required(0)?;
    at(ctx, tag.into(), params)
}

pub(super) fn by_block_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    at(ctx, hash.into(), params)
}

pub(super) fn receipt<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let Some((block, index)) = included(ctx, hash)? else { return null() };
    json(&format::receipt(&block, index))
}
