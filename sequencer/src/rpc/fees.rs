//! Fee suggestions and fee history.

use super::{
    block_id::number_of,
    chain::Chain,
    context::RpcContext,
    error::{Refusal, RpcError},
    format::gas_used,
    jsonrpc::Params,
    table::{Answer, json},
};
use crate::store::chain::StoredBlock;
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{U64, U256},
    rpc::types::FeeHistory,
};
use executor::{ChainRules, Header};
use serde::{Deserialize, de::Error};

type Reply = Result<Answer, RpcError>;

/// Blocks of one fee history; a longer request is cut, as geth does.
const HISTORY_BLOCKS_MAX: u64 = 1_024;
/// The same with rewards, which need every transaction of every block.
const REWARD_BLOCKS_MAX: u64 = 128;
/// Percentiles of one fee history; more are refused. geth's limit.
const PERCENTILES_MAX: usize = 100;
/// Excess blob gas is always zero here, so the blob base fee is the minimum.
const BLOB_BASE_FEE_WEI: u64 = 1;

pub(super) fn blob_base_fee<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&U64::from(BLOB_BASE_FEE_WEI))
}

pub(super) fn priority_fee<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&U64::from(ctx.tip_wei()))
}

/// Base fee of the next block plus the suggested priority fee.
pub(super) fn gas_price<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    let base_fee_wei = ctx.chain.pending_env()?.base_fee_wei.unwrap_or(0);
    json(&(U256::from(base_fee_wei) + U256::from(ctx.tip_wei())))
}

/// A count that clients send as a number or as hex.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quantity(pub(super) u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // ruint reads both JSON numbers and hex or decimal strings.
        let value = U256::deserialize(deserializer)?;
        u64::try_from(value).map(Self).map_err(|_| D::Error::custom("above 64 bits"))
    }
}

fn percentiles(params: &Params<'_>) -> Result<Option<Vec<f64>>, RpcError> {
    let Some(wanted) = params.optional::<Vec<f64>>(2)? else { return Ok(None) };
    if wanted.len() > PERCENTILES_MAX {
        return Err(Refusal::TooManyPercentiles(PERCENTILES_MAX).into());
    }
    if let Some(bad) = wanted.iter().find(|value| !(0.0..=100.0).contains(*value)) {
        return Err(Refusal::Percentile(*bad).into());
    }
    if wanted.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err(Refusal::PercentileOrder.into());
    }
    Ok(Some(wanted).filter(|wanted| !wanted.is_empty()))
}

pub(super) fn history<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let Quantity(count) = params.required(0)?;
    let newest = number_of(ctx, params.required::<BlockNumberOrTag>(1)?);
    let percentiles = percentiles(params)?;
    let head = ctx.chain.heads().latest;
    if newest > head {
        return Err(Refusal::BeyondHead { requested: newest, head }.into());
    }
    let blocks_max = if percentiles.is_some() { REWARD_BLOCKS_MAX } else { HISTORY_BLOCKS_MAX };
    let count = count.min(blocks_max).min(newest + 1);
    if count == 0 {
        return json(&FeeHistory::default());
    }
    let oldest_block = newest + 1 - count;
    let mut history = FeeHistory { oldest_block, ..Default::default() };
    let mut rewards = Vec::new();
    for number in oldest_block..=newest {
        let header = match &percentiles {
            Some(percentiles) => {
                let block = ctx.chain.block(number)?.ok_or(RpcError::HeaderNotFound)?;
                rewards.push(block_rewards(&block, percentiles));
                block.header
            }
            None => ctx.chain.header(number)?.ok_or(RpcError::HeaderNotFound)?.0,
        };
        push_block(&mut history, &header);
        if number == newest {
            let next_wei = next_base_fee_wei(ctx, &header)?;
            history.base_fee_per_gas.push(u128::from(next_wei));
            history.base_fee_per_blob_gas.push(u128::from(BLOB_BASE_FEE_WEI));
        }
    }
    history.reward = percentiles.map(|_| rewards);
    json(&history)
}

fn push_block(history: &mut FeeHistory, header: &Header) {
    history.base_fee_per_gas.push(u128::from(header.base_fee_per_gas.unwrap_or(0)));
    #[allow(clippy::cast_precision_loss, reason = "a ratio for charts; gas fits 52 bits anyway")]
    let ratio = header.gas_used as f64 / header.gas_limit.max(1) as f64;
    history.gas_used_ratio.push(ratio);
    history.base_fee_per_blob_gas.push(u128::from(BLOB_BASE_FEE_WEI));
    history.blob_gas_used_ratio.push(0.0);
}

fn next_base_fee_wei<C: Chain>(ctx: &RpcContext<C>, header: &Header) -> Result<u64, RpcError> {
    match &**ctx.chain.rules() {
        ChainRules::Rollup(rules) => Ok(rules.next_base_fee_wei(header)),
        ChainRules::Ethereum(_) => Ok(ctx.chain.pending_env()?.base_fee_wei.unwrap_or(0)),
    }
}

/// Effective priority fee at each percentile of the block's gas, wei.
fn block_rewards(block: &StoredBlock, percentiles: &[f64]) -> Vec<u128> {
    let base_fee_wei = block.header.base_fee_per_gas.unwrap_or(0);
    let signed = block.transactions.iter().enumerate();
    let signed = signed.filter(|(_, transaction)| transaction.as_signed().is_some());
    let mut tips: Vec<(u128, u64)> = signed
        .map(|(index, transaction)| {
            let price_wei = transaction.effective_gas_price_wei(base_fee_wei);
            let tip_wei = price_wei.saturating_sub(u128::from(base_fee_wei));
            (tip_wei, gas_used(&block.receipts, index))
        })
        .collect();
    tips.sort_unstable();
    let total: u64 = tips.iter().map(|(_, gas)| gas).sum();
    let mut tips = tips.into_iter();
    let mut current = tips.next().unwrap_or((0, 0));
    let mut sum = current.1;
    percentiles
        .iter()
        .map(|percentile| {
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 100 percent of a block's gas; geth computes it so"
            )]
            let threshold = (total as f64 * percentile / 100.0) as u64;
            while sum < threshold {
                let Some(next) = tips.next() else { break };
                current = next;
                sum += current.1;
            }
            current.0
        })
        .collect()
}
