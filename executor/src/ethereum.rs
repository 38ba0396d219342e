//! Ethereum's own blocks: the outside oracle that our execution is compared with.
//!
//! Owns the header checks against the parent and the comparison of the executed block with the
//! header it claims. Execution itself is the rollup's: [`crate::execute()`], complete from Frontier
//! to Osaka. Header checks begin with the Merge, so that [`import`] refuses every older block (no
//! proof of work is checked, and no ommer); from Osaka on they do not know the blob parameter forks,
//! which are a matter of the chain's configuration.

use crate::{
    block::{BlockEnv, BlockInput, ExecutedBlock},
    error::ExecuteError,
    execute::{Mode, execute},
    rules::{ChainRules, EthereumRules},
    state::StateView,
    transaction::{SignedTransaction, Transaction},
};
use alloc::{sync::Arc, vec::Vec};
use alloy_consensus::{Block, EMPTY_OMMER_ROOT_HASH, Header, transaction::SignerRecoverable};
use alloy_eips::{eip1559::BaseFeeParams, eip4844::DATA_GAS_PER_BLOB, eip7840::BlobParams};
use alloy_primitives::{B64, B256, U256};
use revm::primitives::hardfork::SpecId;

/// A block as peers exchange it.
pub type EthereumBlock = Block<SignedTransaction>;

/// Longest extra data of a header, in bytes (Yellow Paper, section 4.4.4).
const EXTRA_DATA_BYTES_MAX: usize = 32;
/// Least gas limit of a block (Yellow Paper, section 4.4.4).
const GAS_LIMIT_MIN: u64 = 5_000;
/// Most gas limit of a block (EIP-1985).
const GAS_LIMIT_MAX: u64 = i64::MAX as u64;
/// The gas limit moves by less than one part in this many (Yellow Paper, section 4.4.4).
const GAS_LIMIT_STEP_DENOMINATOR: u64 = 1_024;

/// Why a block is not valid. An outcome: the chain goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBlock {
    /// The parent hash or number is not that of the parent.
    #[error("block does not follow its parent")]
    Parent,
    /// The timestamp is not after the parent's.
    #[error("timestamp not after the parent's")]
    Timestamp,
    /// The gas limit is out of bounds, or moves too far.
    #[error("gas limit out of bounds")]
    GasLimit,
    /// The base fee does not follow from the parent.
    #[error("base fee does not follow from the parent")]
    BaseFee,
    /// The excess blob gas does not follow from the parent.
    #[error("excess blob gas does not follow from the parent")]
    ExcessBlobGas,
    /// The blob gas used is above the limit or no multiple of a blob.
    #[error("blob gas used out of bounds")]
    BlobGasUsed,
    /// A field must be present or absent, or have a fixed value, at this hardfork.
    #[error("header field does not fit the hardfork")]
    Field,
    /// A signature is not valid.
    #[error("invalid signature")]
    Signature,
    /// A transaction cannot be included where it is.
    #[error("invalid transaction")]
    Transaction,
    /// What was executed has another header hash.
    #[error("executed block is {0}, not what the header says")]
    Header(B256),
}

/// Checks a block against its parent and executes it. The inner error says that it is invalid.
///
/// # Errors
/// [`ExecuteError`] when the state cannot be read or the rules are not complete here.
pub fn import<V: StateView + Sync>(
    view: &V,
    rules: EthereumRules,
    parent: (&Header, B256),
    block: &EthereumBlock,
    mode: Mode,
) -> Result<Result<ExecutedBlock, InvalidBlock>, ExecuteError> {
    let input = match check(rules, parent, block) {
        Ok(input) => input,
        Err(invalid) => return Ok(Err(invalid)),
    };
    let executed = execute(view, &input, mode)?;
    if !executed.skipped.is_empty() {
        return Ok(Err(InvalidBlock::Transaction));
    }
    if executed.hash != block.header.hash_slow() {
        return Ok(Err(InvalidBlock::Header(executed.hash)));
    }
    Ok(Ok(executed))
}

/// The input that a block with a valid header gives.
///
/// # Errors
/// The [`InvalidBlock`] of its header or signatures.
pub fn check(
    rules: EthereumRules,
    parent: (&Header, B256),
    block: &EthereumBlock,
) -> Result<BlockInput, InvalidBlock> {
    let header = &block.header;
    check_fields(rules.spec, block)?;
    check_parent(rules.spec, parent, header)?;
    let signed = block.body.transactions.iter();
    let transactions = signed
        .map(|signed| {
            let sender = signed.recover_signer().map_err(|_| InvalidBlock::Signature)?;
            Ok(Transaction::from_signed(signed.clone(), sender))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let withdrawals = block.body.withdrawals.as_ref().map(|list| list.0.clone());
    let env = BlockEnv { withdrawals, ..BlockEnv::of_header(header) };
    Ok(BlockInput { rules: Arc::new(ChainRules::Ethereum(rules)), env, transactions })
}

fn check_fields(spec: SpecId, block: &EthereumBlock) -> Result<(), InvalidBlock> {
    let header = &block.header;
    let shanghai = spec.is_enabled_in(SpecId::SHANGHAI);
    let cancun = spec.is_enabled_in(SpecId::CANCUN);
    let fits = header.extra_data.len() <= EXTRA_DATA_BYTES_MAX
        && header.difficulty == U256::ZERO
        && header.nonce == B64::ZERO
        && header.ommers_hash == EMPTY_OMMER_ROOT_HASH
        && block.body.ommers.is_empty()
        && header.base_fee_per_gas.is_some()
        && header.withdrawals_root.is_some() == shanghai
        && block.body.withdrawals.is_some() == shanghai
        && header.blob_gas_used.is_some() == cancun
        && header.excess_blob_gas.is_some() == cancun
        && header.parent_beacon_block_root.is_some() == cancun
        && header.requests_hash.is_some() == spec.is_enabled_in(SpecId::PRAGUE);
    if fits { Ok(()) } else { Err(InvalidBlock::Field) }
}

fn check_parent(
    spec: SpecId,
    (parent, parent_hash): (&Header, B256),
    header: &Header,
) -> Result<(), InvalidBlock> {
    if header.parent_hash != parent_hash || header.number != parent.number + 1 {
        return Err(InvalidBlock::Parent);
    }
    if header.timestamp <= parent.timestamp {
        return Err(InvalidBlock::Timestamp);
    }
    let step = header.gas_limit.abs_diff(parent.gas_limit);
    if step >= parent.gas_limit / GAS_LIMIT_STEP_DENOMINATOR && step != 0
        || !(GAS_LIMIT_MIN..=GAS_LIMIT_MAX).contains(&header.gas_limit)
    {
        return Err(InvalidBlock::GasLimit);
    }
    if header.base_fee_per_gas != parent.next_block_base_fee(BaseFeeParams::ethereum()) {
        return Err(InvalidBlock::BaseFee);
    }
    if !spec.is_enabled_in(SpecId::CANCUN) {
        return Ok(());
    }
    let params = if spec.is_enabled_in(SpecId::OSAKA) {
        BlobParams::osaka()
    } else if spec.is_enabled_in(SpecId::PRAGUE) {
        BlobParams::prague()
    } else {
        BlobParams::cancun()
    };
    let excess = parent.next_block_excess_blob_gas(params).unwrap_or(0);
    if header.excess_blob_gas != Some(excess) {
        return Err(InvalidBlock::ExcessBlobGas);
    }
    let used = header.blob_gas_used.unwrap_or(0);
    if used > params.max_blob_gas_per_block() || !used.is_multiple_of(DATA_GAS_PER_BLOB) {
        return Err(InvalidBlock::BlobGasUsed);
    }
    Ok(())
}
