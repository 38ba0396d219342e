//! ots_*: searching without an index.
//!
//! Nonce and creator are found exactly, by bisection over the kept states. Where an address appears
//! is found by looking at blocks one after another, inner calls included, for as long as one search
//! may: what was found by then is a short page that is not the last one, and when nothing was found
//! the answer is an error that says so, never an empty page.

use super::{
    block_id::view,
    budget::{Budget, Recorded, TRACE_TIME, json_within, turn},
    chain::Chain,
    context::RpcContext,
    error::{Limit, Refusal, RpcError},
    format::{self, RpcTransaction},
    jsonrpc::Params,
    otterscan::{PAGE_MAX, receipt},
    replay::{Past, Seen},
    table::{Answer, json, null},
};
use crate::store::chain::StoredBlock;
use alloy::{primitives::Address, rpc::types::trace::otterscan::ContractCreator};
use executor::{L1Attributes, StateView};
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use serde::Serialize;
use serde_json::Value;

type Reply = Result<Answer, RpcError>;

/// Blocks that one search looks at. Most of its time goes into those with transactions, and the time
/// has its own bound.
const SEARCH_BLOCKS_MAX: u64 = 10_000;

/// The first kept block whose state fulfils what, once true, stays true; `None` when it is not true
/// now. `Ok(first kept)` means that it may have become true earlier.
fn bisect<C: Chain>(
    ctx: &RpcContext<C>,
    holds: impl Fn(&C::View) -> Result<bool, RpcError>,
) -> Result<Option<u64>, RpcError> {
    let (mut low, mut high) = (ctx.chain.first_state()?, ctx.chain.heads().latest);
    if !holds(&view(ctx, high)?)? {
        return Ok(None);
    }
    if holds(&view(ctx, low)?)? {
        return Ok(Some(low));
    }
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        match holds(&view(ctx, middle)?)? {
            true => high = middle,
            false => low = middle,
        }
    }
    Ok(Some(high))
}

/// What is true since before the kept states cannot be found; since genesis it was never made.
fn made_at<C: Chain>(ctx: &RpcContext<C>, number: Option<u64>) -> Result<Option<u64>, RpcError> {
    let first = ctx.chain.first_state()?;
    match number {
        Some(number) if number == first && first > 0 => {
            Err(RpcError::StatePruned { number: first.saturating_sub(1), first })
        }
        number => Ok(number.filter(|number| *number > 0)),
    }
}

/// `[sender, nonce]`: the hash of the transaction, or null.
pub(super) fn by_sender_and_nonce<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (sender, nonce): (Address, Nonce) = (params.required(0)?, params.required(1)?);
    let nonce = nonce.value();
    let used = |view: &C::View| {
        let account = view.account(sender)?;
        Ok(account.is_some_and(|account| account.nonce > nonce))
    };
    let Some(number) = made_at(ctx, bisect(ctx, used)?)? else { return null() };
    let block = ctx.chain.block(number)?.ok_or(RpcError::BlockNotFound { number })?;
    let mut pairs = block.transactions.iter().zip(&block.receipts);
    let found = pairs.find(|(transaction, receipt)| {
        let used = receipt.deposit_nonce.unwrap_or_else(|| transaction.nonce());
        transaction.sender() == sender && used == nonce
    });
    // A creation or an authorization counts a nonce, too; there is no transaction then.
    json(&found.map(|(transaction, _)| transaction.hash()))
}

/// A nonce as a number, which Otterscan sends, or as hex.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Nonce {
    Number(u64),
    Hex(alloy::primitives::U64),
}

impl Nonce {
    fn value(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Hex(number) => number.to(),
        }
    }
}

/// The transaction that created a contract and who did; null for what was not created by one.
pub(super) fn contract_creator<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let address: Address = params.required(0)?;
    let is_contract = |view: &C::View| {
        let Some(account) = view.account(address)? else { return Ok(false) };
        let code = view.code(account.code_hash)?;
        // A delegation (EIP-7702) makes no contract.
        Ok(!code.is_empty() && !code.is_eip7702())
    };
    let Some(number) = made_at(ctx, bisect(ctx, is_contract)?)? else { return null() };
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let past = Past::load(ctx, number)?;
    let end = |inspector: TracingInspector, seen: Seen<'_, '_, C::View>| {
        let mut nodes = inspector.traces().nodes().iter().map(|node| &node.trace);
        let made = nodes
            .find(|trace| trace.kind.is_any_create() && trace.success && trace.address == address);
        let hash = seen.transaction.hash();
        Ok(made.map(|trace| ContractCreator { hash, creator: trace.caller }))
    };
    let range = 0..past.block.transactions.len();
    let made = past.watch(range, &mut budget, || Ok((calls(), Recorded::default())), end)?;
    json(&made.into_iter().flatten().next_back())
}

fn calls() -> TracingInspector {
    TracingInspector::new(TracingInspectorConfig::none())
}

/// Transactions with their receipts, newest first.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    txs: Vec<RpcTransaction>,
    receipts: Vec<Value>,
    first_page: bool,
    last_page: bool,
}

/// `[address, block, page size]`: older than the block, or from the newest on for block 0.
pub(super) fn search_before<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (address, from, size) = search(params)?;
    let latest = ctx.chain.heads().latest;
    let end = if from == 0 { latest + 1 } else { from.min(latest + 1) };
    let (mut found, is_done) = walk(ctx, address, size, ((1..end).rev(), true))?;
    found.first_page = from == 0;
    found.last_page = is_done;
    json_within(&found)
}

/// `[address, block, page size]`: newer than the block, or from the oldest on for block 0.
pub(super) fn search_after<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (address, from, size) = search(params)?;
    let latest = ctx.chain.heads().latest;
    let (mut found, is_done) =
        walk(ctx, address, size, (from.saturating_add(1)..latest + 1, false))?;
    found.txs.reverse();
    found.receipts.reverse();
    found.first_page = is_done;
    found.last_page = from == 0;
    json_within(&found)
}

fn search(params: &Params<'_>) -> Result<(Address, u64, usize), RpcError> {
    let size: usize = params.required(2)?;
    if size == 0 || size > PAGE_MAX {
        return Err(Refusal::PageSize(PAGE_MAX).into());
    }
    Ok((params.required(0)?, params.required::<Nonce>(1)?.value(), size))
}

/// Looks at blocks until a page is full. Whole blocks go on a page, so that it may be longer. Also
/// tells whether there is nothing more to look at.
fn walk<C: Chain>(
    ctx: &RpcContext<C>,
    address: Address,
    size: usize,
    (blocks, newest_first): (impl Iterator<Item = u64>, bool),
) -> Result<(Found, bool), RpcError> {
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let mut found = Found::default();
    for (looked, number) in (0..).zip(blocks) {
        if found.txs.len() >= size {
            return Ok((found, false));
        }
        let seen = match looked < SEARCH_BLOCKS_MAX {
            true => appearances(ctx, number, address, &mut budget),
            false => Err(Limit::Search(SEARCH_BLOCKS_MAX).into()),
        };
        let (block, mut indexes) = match seen {
            Ok(seen) => seen,
            Err(_) if !found.txs.is_empty() => return Ok((found, false)),
            Err(error) => return Err(error),
        };
        if newest_first {
            indexes.reverse();
        }
        for index in indexes {
            found.txs.extend(format::block_transaction(&block, index));
            found.receipts.push(receipt(ctx.chain.rules(), &block, index)?);
        }
    }
    Ok((found, true))
}

/// Which transactions of a block have to do with the address: as sender, as called or calling
/// contract, as one that was created, or as heir of one that was destroyed.
fn appearances<C: Chain>(
    ctx: &RpcContext<C>,
    number: u64,
    address: Address,
    budget: &mut Budget,
) -> Result<(StoredBlock, Vec<usize>), RpcError> {
    budget.check()?;
    let block = ctx.chain.block(number)?.ok_or(RpcError::BlockNotFound { number })?;
    if let [only] = &block.transactions[..]
        && only.as_deposit().and_then(L1Attributes::from_deposit).is_some()
    {
        // The predeploy that takes them calls nobody: most blocks of an idle chain end here.
        let touches = only.sender() == address || only.kind().to() == Some(&address);
        return Ok((block, if touches { vec![0] } else { vec![] }));
    }
    let past = Past::load(ctx, number)?;
    let end = |inspector: TracingInspector, seen: Seen<'_, '_, C::View>| {
        let mut nodes = inspector.traces().nodes().iter().map(|node| &node.trace);
        let touches = nodes.any(|trace| {
            trace.caller == address
                || trace.address == address
                || trace.selfdestruct_refund_target == Some(address)
        });
        let touches = touches || seen.transaction.sender() == address;
        Ok(touches.then_some(seen.index))
    };
    let range = 0..past.block.transactions.len();
    let seen = past.watch(range, budget, || Ok((calls(), Recorded::default())), end)?;
    Ok((past.block, seen.into_iter().flatten().collect()))
}
