//! Whole accounts: eth_getAccount and eth_getAccountInfo, which a Foundry fork asks first.

use super::{
    accounts::{account, prove},
    block_id::resolve,
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, json, null},
};
use alloy::{
    primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256},
    rpc::types::AccountInfo,
};
use executor::{Account, StateView};
use serde::Serialize;

type Reply = Result<Answer, RpcError>;

/// Balance, nonce and code together.
pub(super) fn info<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (view, account) = account(ctx, params.required(0)?, params.optional(1)?)?;
    let code = match account.code_hash {
        KECCAK256_EMPTY => Bytes::new(),
        hash => view.code(hash)?.original_bytes(),
    };
    json(&AccountInfo { balance: account.balance_wei, nonce: account.nonce, code })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TrieLeaf {
    balance: U256,
    code_hash: B256,
    nonce: U64,
    storage_root: B256,
}

/// The account as the state trie has it; null where there is none. Needs the block's trie.
pub(super) fn whole<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0)?;
    let number = resolve(ctx, params.optional(1)?)?;
    let proof = prove(ctx, number, address, &[])?;
    if proof.account == Account::default() {
        return null();
    }
    json(&TrieLeaf {
        balance: proof.account.balance_wei,
        code_hash: proof.account.code_hash,
        nonce: U64::from(proof.account.nonce),
        storage_root: proof.storage_hash,
    })
}
