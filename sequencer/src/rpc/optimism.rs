//! optimism_*: heads, output roots and configuration in op-node's shape, for tools that ask a rollup
//! node.
//!
//! The node keeps of L1 what its blocks say: the L1 blocks of a sync status are the origins of the
//! L2 heads beside them, and their parent hashes, which no L2 block repeats, are zero. Fields of
//! op-node's configuration that have no meaning here (its batch format, its hardforks) are left out.

use super::{
    accounts::prove,
    chain::{Chain, Rollup},
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, json},
};
use alloy::primitives::{Address, B256, U64};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{ChainRules, Deposit, Header, L1Attributes, Transaction, genesis::output_root};
use serde::Serialize;

type Reply = Result<Answer, RpcError>;

#[derive(Clone, Copy, Serialize)]
struct BlockId {
    hash: B256,
    number: u64,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct L1Ref {
    hash: B256,
    number: u64,
    parent_hash: B256,
    timestamp: u64,
}

#[derive(Clone, Copy, Serialize)]
struct L2Ref {
    hash: B256,
    number: u64,
    #[serde(rename = "parentHash")]
    parent_hash: B256,
    timestamp: u64,
    l1origin: BlockId,
    #[serde(rename = "sequenceNumber")]
    sequence_number: u64,
}

#[derive(Serialize)]
struct SyncStatus {
    current_l1: L1Ref,
    current_l1_finalized: L1Ref,
    head_l1: L1Ref,
    safe_l1: L1Ref,
    finalized_l1: L1Ref,
    unsafe_l2: L2Ref,
    safe_l2: L2Ref,
    finalized_l2: L2Ref,
    pending_safe_l2: L2Ref,
    cross_unsafe_l2: L2Ref,
    local_safe_l2: L2Ref,
}

/// A block and its L1 origin.
struct Origin {
    block: L2Ref,
    l1: L1Ref,
    header: Header,
}

fn rollup<C: Chain>(ctx: &RpcContext<C>) -> Result<Rollup, RpcError> {
    ctx.chain.rollup().ok_or(RpcError::HeaderNotFound)
}

fn origin<C: Chain>(ctx: &RpcContext<C>, number: u64) -> Result<Origin, RpcError> {
    let (header, hash) = ctx.chain.header(number)?.ok_or(RpcError::HeaderNotFound)?;
    let first = ctx.chain.transaction_at(number, 0)?.map(|at| at.transaction);
    let deposit: Option<&Deposit> = first.as_ref().and_then(Transaction::as_deposit);
    let (l1, sequence_number) = match deposit.and_then(L1Attributes::from_deposit) {
        Some(origin) => {
            let L1Attributes { hash, number, timestamp, .. } = origin;
            (L1Ref { hash, number, parent_hash: B256::ZERO, timestamp }, origin.sequence_number)
        }
        // Only genesis has none; what it is anchored to is in its configuration.
        None => {
            let l1 = rollup(ctx)?.l1;
            let (hash, number) = (l1.origin_hash, l1.origin_number);
            (L1Ref { hash, number, parent_hash: B256::ZERO, timestamp: 0 }, 0)
        }
    };
    let block = L2Ref {
        hash,
        number,
        parent_hash: header.parent_hash,
        timestamp: header.timestamp,
        l1origin: BlockId { hash: l1.hash, number: l1.number },
        sequence_number,
    };
    Ok(Origin { block, l1, header })
}

fn status<C: Chain>(ctx: &RpcContext<C>) -> Result<SyncStatus, RpcError> {
    let heads = ctx.chain.heads();
    let latest = origin(ctx, heads.latest)?;
    let (safe, finalized) = (origin(ctx, heads.safe)?, origin(ctx, heads.finalized)?);
    Ok(SyncStatus {
        current_l1: latest.l1,
        current_l1_finalized: finalized.l1,
        head_l1: latest.l1,
        safe_l1: safe.l1,
        finalized_l1: finalized.l1,
        unsafe_l2: latest.block,
        safe_l2: safe.block,
        finalized_l2: finalized.block,
        pending_safe_l2: safe.block,
        cross_unsafe_l2: latest.block,
        local_safe_l2: safe.block,
    })
}

pub(super) fn sync_status<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&status(ctx)?)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    version: B256,
    output_root: B256,
    block_ref: L2Ref,
    withdrawal_storage_root: B256,
    state_root: B256,
    sync_status: SyncStatus,
}

/// The output that withdrawals of a block are proved against; see [`output_root`].
pub(super) fn output_at_block<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let number = params.required::<U64>(0)?.to();
    if number > ctx.chain.heads().latest {
        return Err(RpcError::HeaderNotFound);
    }
    let Origin { block, header, .. } = origin(ctx, number)?;
    let messages = prove(ctx, number, L2_TO_L1_MESSAGE_PASSER, &[])?.storage_hash;
    json(&Output {
        version: B256::ZERO,
        output_root: output_root(header.state_root, messages, block.hash),
        block_ref: block,
        withdrawal_storage_root: messages,
        state_root: header.state_root,
        sync_status: status(ctx)?,
    })
}

#[derive(Serialize)]
struct Config {
    genesis: Genesis,
    block_time: u64,
    max_sequencer_drift: u64,
    l1_chain_id: u64,
    l2_chain_id: u64,
    batch_inbox_address: Address,
    deposit_contract_address: Address,
}

#[derive(Serialize)]
struct Genesis {
    l1: BlockId,
    l2: BlockId,
    l2_time: u64,
    system_config: SystemConfig,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemConfig {
    gas_limit: u64,
}

/// The block time is in whole seconds there; a chain with shorter ones says 1, the step of its
/// timestamps.
pub(super) fn rollup_config<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    let Rollup { l1, block_time } = rollup(ctx)?;
    let (header, hash) = ctx.chain.header(0)?.ok_or(RpcError::HeaderNotFound)?;
    let rules = ctx.chain.rules();
    let max_sequencer_drift = match &**rules {
        ChainRules::Rollup(rollup) => rollup.sequencer_drift_secs_max,
        ChainRules::Ethereum(_) => 0,
    };
    json(&Config {
        genesis: Genesis {
            l1: BlockId { hash: l1.origin_hash, number: l1.origin_number },
            l2: BlockId { hash, number: 0 },
            l2_time: header.timestamp,
            system_config: SystemConfig { gas_limit: header.gas_limit },
        },
        block_time: block_time.as_secs().max(1),
        max_sequencer_drift,
        l1_chain_id: l1.chain_id,
        l2_chain_id: rules.chain_id(),
        batch_inbox_address: l1.inbox,
        deposit_contract_address: l1.portal,
    })
}
