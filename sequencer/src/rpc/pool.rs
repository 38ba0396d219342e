//! txpool_*: what waits, in geth's shape.

use super::{
    chain::Chain,
    context::RpcContext,
    error::{Limit, RpcError},
    format::RpcTransaction,
    jsonrpc::Params,
    table::{Answer, json},
};
use alloy::primitives::Address;
use executor::Transaction;
use serde::Serialize;
use std::collections::BTreeMap;

type Reply = Result<Answer, RpcError>;

/// Transactions that one answer shows; of a fuller pool only one sender's can be asked for. At that
/// number the pool's lock is held for about a millisecond.
const CONTENT_MAX: usize = 16_384;

/// By nonce; JSON has strings for keys.
type ByNonce<T> = BTreeMap<u64, T>;

#[derive(Serialize)]
struct Content<T> {
    pending: T,
    queued: T,
}

fn waiting<C: Chain>(
    ctx: &RpcContext<C>,
    sender: Option<Address>,
) -> Result<Content<Vec<Transaction>>, RpcError> {
    let contents = ctx.pool().contents(sender, CONTENT_MAX);
    let (pending, queued) = contents.ok_or(Limit::PoolContent(CONTENT_MAX))?;
    Ok(Content { pending, queued })
}

fn by_nonce<T>(
    transactions: Vec<Transaction>,
    show: impl Fn(&Transaction) -> T,
) -> BTreeMap<Address, ByNonce<T>> {
    let mut senders: BTreeMap<Address, ByNonce<T>> = BTreeMap::new();
    for transaction in transactions {
        let queue = senders.entry(transaction.sender()).or_default();
        queue.insert(transaction.nonce(), show(&transaction));
    }
    senders
}

/// Everything, by sender and nonce.
pub(super) fn content<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    let Content { pending, queued } = waiting(ctx, None)?;
    json(&Content {
        pending: by_nonce(pending, RpcTransaction::pending),
        queued: by_nonce(queued, RpcTransaction::pending),
    })
}

/// One sender's, by nonce.
pub(super) fn content_from<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let Content { pending, queued } = waiting(ctx, Some(params.required(0)?))?;
    let show = |transactions: Vec<Transaction>| -> ByNonce<RpcTransaction> {
        transactions.iter().map(|t| (t.nonce(), RpcTransaction::pending(t))).collect()
    };
    json(&Content { pending: show(pending), queued: show(queued) })
}

/// Everything, a line for each.
pub(super) fn inspect<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    let Content { pending, queued } = waiting(ctx, None)?;
    let line = |transaction: &Transaction| {
        let to = match transaction.kind().to() {
            Some(to) => to.to_string(),
            None => "contract creation".to_owned(),
        };
        let (value, gas) = (transaction.value(), transaction.gas_limit());
        format!("{to}: {value} wei + {gas} gas × {} wei", transaction.max_fee_per_gas_wei())
    };
    json(&Content { pending: by_nonce(pending, line), queued: by_nonce(queued, line) })
}
