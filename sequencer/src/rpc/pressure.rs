//! rollup_backPressure: how far L1 is behind, and what is done about it.

use super::{
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, json, null},
};
use crate::pressure::{Level, Load, Orders, Pressure};
use alloy::primitives::{U64, U256};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    level: Level,
    /// Age of the oldest block that L1 does not have, seconds; a number.
    lag_secs: f64,
    unsafe_blocks: U64,
    /// Users' transactions in them, before compression.
    unsafe_bytes: U64,
    takes_transactions: bool,
    seals: bool,
    min_priority_fee_per_gas: U256,
    /// Bytes of users' transactions that blocks take per second; absent without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_sec_max: Option<U64>,
}

/// `null` on a follower, or where it is switched off.
pub(super) fn back_pressure<C: Chain>(
    ctx: &RpcContext<C>,
    _: &Params<'_>,
) -> Result<Answer, RpcError> {
    let Some(pressure) = ctx.options.pressure.read() else { return null() };
    let Pressure { level, load: Load { lag, blocks, bytes }, orders } = pressure;
    let Orders { bytes_per_sec_max, tip_wei_min, takes_transactions, seals } = orders;
    json(&Answered {
        level,
        lag_secs: lag.as_secs_f64(),
        unsafe_blocks: U64::from(blocks),
        unsafe_bytes: U64::from(bytes),
        takes_transactions,
        seals,
        min_priority_fee_per_gas: U256::from(tip_wei_min),
        bytes_per_sec_max: bytes_per_sec_max.map(U64::from),
    })
}
