//! Transactions and receipts, included or pending. Unknown ones answer null.

use super::{
    blocks::load,
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    format::{self, Place, RpcTransaction},
    jsonrpc::Params,
    table::{Answer, json, null},
};
use crate::store::chain::TransactionAt;
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{B256, U64},
};
use executor::{FeeSchedule, Header, Transaction};

type Reply = Result<Answer, RpcError>;

/// An included transaction.
struct Included {
    header: Header,
    hash: B256,
    index: usize,
    at: TransactionAt,
}

impl Included {
    fn place(&self) -> Place<'_> {
        Place { header: &self.header, hash: self.hash }
    }
}

fn included<C: Chain>(ctx: &RpcContext<C>, hash: B256) -> Result<Option<Included>, RpcError> {
    let Some((number, index)) = ctx.chain.transaction_position(hash)? else { return Ok(None) };
    let at = ctx.chain.transaction_at(number, index)?;
    // A rollback between the reads may have put something else there.
    let Some(at) = at.filter(|at| at.transaction.hash() == hash) else { return Ok(None) };
    let header = ctx.chain.header(number)?;
    Ok(header.map(|(header, hash)| Included { header, hash, index, at }))
}

/// A transaction that is in no block yet: in the pool, or executed in the open block. In the order of
/// its way, so that one that moves between two looks is found; and before the look for a block.
fn waiting<C: Chain>(ctx: &RpcContext<C>, hash: &B256) -> Option<Transaction> {
    let pooled = ctx.pool().get(hash).cloned();
    pooled.or_else(|| {
        let open = ctx.chain.open_block()?;
        let (mini_block, index) = open.find(hash)?;
        mini_block.transactions.get(index).cloned()
    })
}

pub(super) fn by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let waiting = waiting(ctx, &hash);
    if let Some(found) = included(ctx, hash)? {
        return json(&format::transaction_at(found.place(), found.index, &found.at));
    }
    waiting.map_or_else(null, |transaction| json(&RpcTransaction::pending(&transaction)))
}

pub(super) fn raw_by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let waiting = waiting(ctx, &hash);
    let transaction = included(ctx, hash)?.map(|found| found.at.transaction).or(waiting);
    json(&transaction.as_ref().map(Transaction::raw))
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
    let Some(found) = included(ctx, hash)? else { return null() };
    // The attributes that say what was charged are the block's first transaction.
    let first = ctx.chain.transaction_at(found.header.number, 0)?;
    let fees = first.and_then(|at| FeeSchedule::set_by(ctx.chain.rules(), &at.transaction));
    let place = Place { header: &found.header, hash: found.hash };
    json(&format::receipt_at(place, fees, found.index, found.at))
}
