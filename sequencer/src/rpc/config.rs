//! eth_config (EIP-7910): the rules in force, so that clients and operators can compare them.
//!
//! A rollup's rules are in force from genesis on: there is no last and no next fork. It takes no
//! blobs, so its blob schedule is null.

use super::{
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, json},
};
use alloy::{
    eips::{eip2124::ForkHash, eip2935::HISTORY_STORAGE_ADDRESS},
    primitives::{Address, Bytes, U64},
};
use revm::precompile::{PrecompileSpecId, Precompiles};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Config {
    current: Fork,
    next: Option<Fork>,
    last: Option<Fork>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fork {
    activation_time: u64,
    blob_schedule: Option<()>,
    chain_id: U64,
    fork_id: Bytes,
    precompiles: BTreeMap<String, Address>,
    system_contracts: BTreeMap<&'static str, Address>,
}

pub(super) fn config<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Result<Answer, RpcError> {
    let rules = ctx.chain.rules();
    let (_, genesis_hash) = ctx.chain.header(0)?.ok_or(RpcError::HeaderNotFound)?;
    let precompiles = Precompiles::new(PrecompileSpecId::from_spec_id(rules.spec()));
    let named = precompiles
        .inner()
        .iter()
        .map(|(address, precompile)| (precompile.id().name().to_owned(), *address));
    let current = Fork {
        activation_time: 0,
        blob_schedule: None,
        chain_id: U64::from(rules.chain_id()),
        fork_id: Bytes::copy_from_slice(&ForkHash::from(genesis_hash).0),
        precompiles: named.collect(),
        system_contracts: [("HISTORY_STORAGE_ADDRESS", HISTORY_STORAGE_ADDRESS)].into(),
    };
    json(&Config { current, next: None, last: None })
}
