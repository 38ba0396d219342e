//! debug_getRaw*: the bytes that hashes and roots are made of.

use super::{
    block_id::resolve,
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, json},
};
use crate::store::chain::StoredBlock;
use alloy::{
    eips::BlockId,
    primitives::Bytes,
    rlp::{BufMut, Encodable, Header as RlpHeader},
};
use executor::{Receipt, Transaction};

type Reply = Result<Answer, RpcError>;

fn block_of<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Result<StoredBlock, RpcError> {
    let number = resolve(ctx, Some(params.required::<BlockId>(0)?))?;
    ctx.chain.block(number)?.ok_or(RpcError::BlockNotFound { number })
}

pub(super) fn header<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    json(&Bytes::from(alloy::rlp::encode(&block_of(ctx, params)?.header)))
}

pub(super) fn block<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    json(&Bytes::from(encode(&block_of(ctx, params)?)))
}

/// EIP-2718 bytes of each receipt, over which the receipts root is made.
pub(super) fn receipts<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let block = block_of(ctx, params)?;
    let raw = block.receipts.iter().map(Receipt::encoded_2718).map(Bytes::from);
    json(&raw.collect::<Vec<_>>())
}

/// RLP of the block: header, transactions, no ommers, no withdrawals.
fn encode(block: &StoredBlock) -> Vec<u8> {
    let length = |transaction: &Transaction| match transaction.ty() {
        0 => transaction.raw().len(),
        _ => transaction.raw().length(),
    };
    let list_bytes = block.transactions.iter().map(length).sum();
    let list = RlpHeader { list: true, payload_length: list_bytes };
    let empty = RlpHeader { list: true, payload_length: 0 };
    let has_withdrawals = block.header.withdrawals_root.is_some();
    let payload_length =
        block.header.length() + list.length_with_payload() + 1 + usize::from(has_withdrawals);
    let mut out = Vec::with_capacity(payload_length + 9);
    RlpHeader { list: true, payload_length }.encode(&mut out);
    block.header.encode(&mut out);
    list.encode(&mut out);
    for transaction in &block.transactions {
        // A typed transaction is a byte string in the list, a legacy one a list of its own.
        match transaction.ty() {
            0 => out.put_slice(transaction.raw()),
            _ => transaction.raw().encode(&mut out),
        }
    }
    empty.encode(&mut out);
    if has_withdrawals {
        empty.encode(&mut out);
    }
    out
}
