//! Balance, nonce, code, storage and proofs of one account.

use super::{
    block_id::{resolve, state, unavailable},
    chain::Chain,
    context::RpcContext,
    error::{Refusal, RpcError},
    jsonrpc::Params,
    table::{Answer, json},
};
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U64, U256},
    rpc::types::{EIP1186AccountProofResponse, EIP1186StorageProof},
    serde::JsonStorageKey,
};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{Account, Reads, StateDiff, StateView, ViewError, state::AccountProof};

type Reply = Result<Answer, RpcError>;

/// Slots of one eth_getProof; more are refused, as geth does.
const PROOF_KEYS_MAX: usize = 1_024;

pub(super) fn account<C: Chain>(
    ctx: &RpcContext<C>,
    address: Address,
    id: Option<BlockId>,
) -> Result<(C::View, Account), RpcError> {
    let view = state(ctx, id)?;
    let account = view.account(address)?.unwrap_or_default();
    Ok((view, account))
}

pub(super) fn balance<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (_, account) = account(ctx, params.required(0)?, params.optional(1)?)?;
    json(&account.balance_wei)
}

/// With `pending` the pool's ready transactions count.
pub(super) fn nonce<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (address, id) = (params.required(0)?, params.optional::<BlockId>(1)?);
    let (_, account) = account(ctx, address, id)?;
    if id == Some(BlockId::Number(BlockNumberOrTag::Pending)) {
        return json(&U64::from(ctx.pool().next_nonce(address, account.nonce)));
    }
    json(&U64::from(account.nonce))
}

pub(super) fn code<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (view, account) = account(ctx, params.required(0)?, params.optional(1)?)?;
    if account.code_hash == KECCAK256_EMPTY {
        return json(&Bytes::new());
    }
    json(&view.code(account.code_hash)?.original_bytes())
}

pub(super) fn storage<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (address, key): (_, JsonStorageKey) = (params.required(0)?, params.required(1)?);
    let view = state(ctx, params.optional(2)?)?;
    json(&B256::from(view.slot(address, key.as_b256().into())?))
}

pub(super) fn proof<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0)?;
    let keys: Vec<JsonStorageKey> = params.required(1)?;
    if keys.len() > PROOF_KEYS_MAX {
        return Err(Refusal::TooManyKeys(PROOF_KEYS_MAX).into());
    }
    let number = resolve(ctx, params.optional(2)?)?;
    let slots: Vec<_> = keys.iter().map(|key| key.as_b256().into()).collect();
    let proof = prove(ctx, number, address, &slots)?;
    let storage = keys.into_iter().zip(proof.storage_proof);
    json(&EIP1186AccountProofResponse {
        address,
        balance: proof.account.balance_wei,
        code_hash: proof.account.code_hash,
        nonce: proof.account.nonce,
        storage_hash: proof.storage_hash,
        account_proof: proof.account_proof,
        storage_proof: storage
            .map(|(key, slot)| EIP1186StorageProof { key, value: slot.value, proof: slot.proof })
            .collect(),
    })
}

/// From the block's trie, or for the message passer, whose withdrawals are proved days later, from
/// what is kept of it.
pub(super) fn prove<C: Chain>(
    ctx: &RpcContext<C>,
    number: u64,
    address: Address,
    slots: &[U256],
) -> Result<AccountProof, RpcError> {
    let reads = Reads::from([(address, slots.iter().copied().collect())]);
    let trie = match ctx.chain.view(number)? {
        Some(view) => view.trie_for(&reads, &StateDiff::default()),
        None => Err(ViewError::MissingNode),
    };
    match trie.and_then(|trie| trie.account_proof(address, slots)) {
        Ok(proof) => Ok(proof),
        Err(ViewError::MissingNode) => {
            let kept = match address {
                L2_TO_L1_MESSAGE_PASSER => ctx.chain.message_passer_proof(number, slots)?,
                _ => None,
            };
            kept.ok_or_else(|| unavailable(ctx, number))
        }
        Err(error) => Err(error.into()),
    }
}
