//! rollup_explainTransaction: where a transaction is, why it is not further, and what happened to it.
//!
//! The chain is asked first, then the pool. Times are numbers, milliseconds since the unix epoch;
//! everything else has the forms of Ethereum's methods.

use super::{
    block_id::pending_view,
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, json},
};
use crate::txpool::{DropReason, Event, Explanation, Place, Step};
use alloy::primitives::{Address, B256, U64, U256};
use executor::{FeeSchedule, Transaction};
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    hash: B256,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<U64>,
    #[serde(flatten)]
    state: State,
    /// In plain words, where there is more to say than the state's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    events: Vec<EventAnswer>,
}

/// Where it is. The names are part of the interface.
#[derive(Serialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum State {
    Ready,
    NonceGap { missing_nonce: U64 },
    FeeBelowBaseFee { max_fee_per_gas: U256, base_fee_per_gas: U64 },
    TipBelowMinimum { tip: U256, minimum_tip: U64 },
    TotalFeeAboveCap { total_fee: U256, max_total_fee: U256 },
    OrderingWindow { until: u64 },
    BehindSender { waits_for: B256, waits_for_nonce: U64 },
    Skipped,
    Ordered { block_number: U64 },
    Included { block_number: U64, block_hash: B256, transaction_index: U64 },
    Replaced { by: B256 },
    Evicted,
    Expired,
    Dropped,
    Unknown,
}

#[derive(Serialize)]
struct EventAnswer {
    at: u64,
    event: &'static str,
    #[serde(flatten)]
    detail: Detail,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_nonce: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block_number: Option<U64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<B256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) fn explain<C: Chain>(
    ctx: &RpcContext<C>,
    params: &Params<'_>,
) -> Result<Answer, RpcError> {
    let hash: B256 = params.required(0)?;
    let base_fee_wei = ctx.chain.pending_env()?.base_fee_wei.unwrap_or(0);
    // The pool first: what is mined between the two looks is then found in a block.
    let fees = FeeSchedule::of_state(ctx.chain.rules(), &pending_view(ctx)?)?;
    let extra_fee_wei =
        |transaction: &Transaction| FeeSchedule::extra_fee_under(fees.as_ref(), transaction);
    let explanation = ctx.pool().explain(&hash, base_fee_wei, Instant::now(), &extra_fee_wei);
    let included = included(ctx, hash)?;
    let Explanation { place, sender, events } = explanation;
    let (state, reason) = match included {
        Some(state) => (state, None),
        None => (state(&place), reason(&place)),
    };
    let (sender, nonce) = sender.unzip();
    let (nonce, events) = (nonce.map(U64::from), events.into_iter().map(event).collect());
    json(&Answered { hash, sender, nonce, state, reason, events })
}

fn included<C: Chain>(ctx: &RpcContext<C>, hash: B256) -> Result<Option<State>, RpcError> {
    let Some((number, index)) = ctx.chain.transaction_position(hash)? else { return Ok(None) };
    let header = ctx.chain.header(number)?;
    let (block_number, transaction_index) = (U64::from(number), U64::from(index));
    Ok(header.map(|(_, block_hash)| State::Included {
        block_number,
        block_hash,
        transaction_index,
    }))
}

fn state(place: &Place) -> State {
    match place {
        Place::Ready => State::Ready,
        Place::NonceGap { missing } => State::NonceGap { missing_nonce: U64::from(*missing) },
        Place::FeeBelowBaseFee { max_fee_wei, base_fee_wei } => State::FeeBelowBaseFee {
            max_fee_per_gas: U256::from(*max_fee_wei),
            base_fee_per_gas: U64::from(*base_fee_wei),
        },
        Place::TipBelowMinimum { tip_wei, tip_wei_min } => State::TipBelowMinimum {
            tip: U256::from(*tip_wei),
            minimum_tip: U64::from(*tip_wei_min),
        },
        Place::TotalFeeAboveCap { fee_wei, cap_wei } => {
            State::TotalFeeAboveCap { total_fee: *fee_wei, max_total_fee: *cap_wei }
        }
        Place::Window { until_unix_ms } => State::OrderingWindow { until: *until_unix_ms },
        Place::Behind { hash, nonce } => {
            State::BehindSender { waits_for: *hash, waits_for_nonce: U64::from(*nonce) }
        }
        Place::Skipped(_) => State::Skipped,
        Place::Ordered { block_number } => {
            State::Ordered { block_number: U64::from(*block_number) }
        }
        Place::Dropped(DropReason::Replaced { by }) => State::Replaced { by: *by },
        Place::Dropped(DropReason::Evicted) => State::Evicted,
        Place::Dropped(DropReason::Expired) => State::Expired,
        Place::Dropped(_) => State::Dropped,
        Place::Unknown => State::Unknown,
    }
}

fn reason(place: &Place) -> Option<String> {
    Some(match place {
        Place::NonceGap { missing } => {
            format!("nonce gap: the transaction with nonce {missing} is missing")
        }
        Place::FeeBelowBaseFee { max_fee_wei, base_fee_wei } => format!(
            "max fee per gas less than block base fee: maxFeePerGas: {max_fee_wei}, baseFee: {base_fee_wei}"
        ),
        Place::TipBelowMinimum { tip_wei, tip_wei_min } => format!(
            "back-pressure: L1 is behind, and a tip of {tip_wei_min} wei is asked for; this one pays {tip_wei}"
        ),
        Place::TotalFeeAboveCap { fee_wei, cap_wei } => {
            format!("total fee above maxTotalFee: total fee: {fee_wei}, maxTotalFee: {cap_wei}")
        }
        Place::Window { .. } => "the ordering window it came in is open".to_owned(),
        Place::Behind { nonce, .. } => {
            format!("the sender's transaction with nonce {nonce} waits, and this one with it")
        }
        Place::Skipped(reason) => reason.to_string(),
        Place::Dropped(reason) => reason.to_string(),
        Place::Ready | Place::Ordered { .. } | Place::Unknown => return None,
    })
}

fn event(event: Event) -> EventAnswer {
    let none = Detail::default();
    let (name, detail) = match event.step {
        Step::Received => ("received", none),
        Step::Restored => ("restored", none),
        Step::Parked { missing } => {
            ("parked", Detail { missing_nonce: Some(U64::from(missing)), ..none })
        }
        Step::Ready => ("ready", none),
        Step::Skipped(reason) => ("skipped", Detail { reason: Some(reason.to_string()), ..none }),
        Step::Ordered { block_number } => {
            ("ordered", Detail { block_number: Some(U64::from(block_number)), ..none })
        }
        Step::Returned => ("returned", none),
        Step::Dropped(reason) => {
            let (name, by) = match *reason {
                DropReason::Replaced { by } => ("replaced", Some(by)),
                DropReason::Evicted => ("evicted", None),
                DropReason::Expired => ("expired", None),
                _ => ("dropped", None),
            };
            (name, Detail { by, reason: Some(reason.to_string()), ..none })
        }
    };
    EventAnswer { at: event.at_unix_ms, event: name, detail }
}
