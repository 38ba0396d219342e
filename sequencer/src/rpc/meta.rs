//! Answers about the node and the network that need no storage.

use super::{
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, json},
};
use alloy::primitives::{Address, Bytes, U64, keccak256};
use serde::Serialize;

type Reply = Result<Answer, RpcError>;

pub(super) fn chain_id<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&U64::from(ctx.chain.rules().chain_id()))
}

pub(super) fn network_id<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&ctx.chain.rules().chain_id().to_string())
}

pub(super) fn client_version<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&ctx.options.client_version)
}

pub(super) fn block_number<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&U64::from(ctx.chain.heads().latest))
}

/// Never syncing: what the node serves is what it has executed.
pub(super) fn syncing<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&false)
}

/// The node holds no keys of users.
pub(super) fn accounts<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&<[Address; 0]>::default())
}

pub(super) fn listening<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&true)
}

/// There is no peer-to-peer network.
pub(super) fn peer_count<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&U64::ZERO)
}

pub(super) fn sha3<C: Chain>(_: &RpcContext<C>, params: &Params<'_>) -> Reply {
    json(&keccak256(params.required::<Bytes>(0)?))
}

#[derive(Serialize)]
struct PoolStatus {
    pending: U64,
    queued: U64,
}

pub(super) fn txpool_status<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    let counts = ctx.pool().counts();
    json(&PoolStatus { pending: U64::from(counts.ready), queued: U64::from(counts.parked) })
}

/// Over HTTP, and inside a batch, there is nowhere to send notifications.
pub(super) fn no_notifications<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    Err(RpcError::NotificationsUnsupported)
}
