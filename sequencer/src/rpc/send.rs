//! The way of a raw transaction into the pool: decode, recover, check, add, tell.
//!
//! Runs on a blocking thread as a whole. Who waits for a level of acknowledgement, as the synchronous
//! form (EIP-7966) does, registers before the transaction can be executed, so that it cannot miss it.

use super::{
    block_id::pending_view,
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    fees::Quantity,
    format,
    jsonrpc::{Outcome, Params},
    table::{Answer, json},
};
use crate::store::chain::{MiniBlock, StoredBlock};
use crate::txpool::{AccountState, Added, Status};
use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY};
use executor::{StateView, Transaction};
use serde::Deserialize;
use serde_json::value::to_raw_value;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

type Reply = Result<Answer, RpcError>;

/// How long eth_sendRawTransactionSync waits unless told, as EIP-7966 recommends.
const SYNC_TIMEOUT_MILLIS: u64 = 2_000;
/// How long it waits at most; more is cut, so that a waiting request cannot outlive its client.
const SYNC_TIMEOUT_MILLIS_MAX: u64 = 60_000;

/// Time between two looks at how far L1 has come.
const STAGE_POLL: Duration = Duration::from_millis(100);

/// How sure a transaction must be before it is acknowledged. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Level {
    /// In the pool.
    Received,
    /// Executed, and its place and receipt durable in the order log.
    Durable,
    /// In a sealed block.
    Sealed,
    /// In a block that L1's data determines.
    Safe,
    /// In a block that finalized L1 data determines.
    Finalized,
}

/// Where a transaction was included.
#[derive(Clone, Debug)]
pub(super) enum Included {
    /// In a part of the open block, at this place of it.
    Open(Arc<MiniBlock>, usize),
    /// In a sealed block, at this index.
    Sealed(Arc<StoredBlock>, usize),
}

/// What is answered when the level is reached.
#[derive(Clone, Copy, Debug)]
enum Reported {
    Hash,
    Receipt,
}

/// A request that waits for its transaction.
#[derive(Debug)]
pub(super) struct Waiting {
    hash: B256,
    included: oneshot::Receiver<Included>,
    level: Level,
    reported: Reported,
    timeout: Duration,
}

impl Waiting {
    /// Waits for the level, or for the time to pass.
    pub(super) async fn finish<C: Chain>(mut self, ctx: &RpcContext<C>) -> Outcome {
        let hash = self.hash;
        match tokio::time::timeout(self.timeout, self.reach(ctx)).await {
            Ok(Some(included)) => match self.reported {
                Reported::Hash => to_raw_value(&hash).map_err(|_| RpcError::Internal),
                Reported::Receipt => {
                    let receipt = match &included {
                        Included::Open(mini_block, index) => {
                            format::open_receipt(mini_block, *index)
                        }
                        Included::Sealed(block, index) => format::receipt(block, *index),
                    };
                    let receipt = receipt.ok_or(RpcError::Internal)?;
                    to_raw_value(&receipt).map_err(|_| RpcError::Internal)
                }
            },
            Ok(None) | Err(_) => {
                drop(self);
                ctx.feed.forget_waiters(&hash);
                Err(RpcError::SyncTimeout { hash })
            }
        }
    }

    /// `None` where the transaction is not known any more.
    async fn reach<C: Chain>(&mut self, ctx: &RpcContext<C>) -> Option<Included> {
        let included = (&mut self.included).await.ok()?;
        let Included::Sealed(block, _) = &included else { return Some(included) };
        let number = block.header.number;
        loop {
            let heads = ctx.chain.heads();
            let head = match self.level {
                Level::Received | Level::Durable | Level::Sealed => return Some(included),
                Level::Safe => heads.safe,
                Level::Finalized => heads.finalized,
            };
            if heads.latest < number {
                return None;
            }
            if head >= number {
                return Some(included);
            }
            tokio::time::sleep(STAGE_POLL).await;
        }
    }
}

/// What a client may say about a send beside the transaction.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendOptions {
    acknowledgement: Option<Level>,
}

pub(super) fn send<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let raw: Bytes = params.required(0)?;
    let options = params.optional::<SendOptions>(1)?.unwrap_or_default();
    let level = options.acknowledgement.unwrap_or(Level::Received);
    let transaction = ctx.admission.decode(raw)?;
    if level == Level::Received {
        return json(&add(ctx, transaction)?.hash);
    }
    let timeout = Duration::from_millis(SYNC_TIMEOUT_MILLIS_MAX);
    wait(ctx, transaction, (level, Reported::Hash), timeout)
}

pub(super) fn send_sync<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let raw: Bytes = params.required(0)?;
    let millis = params.optional::<Quantity>(1)?.map_or(SYNC_TIMEOUT_MILLIS, |millis| millis.0);
    let timeout = Duration::from_millis(millis.min(SYNC_TIMEOUT_MILLIS_MAX));
    let options = params.optional::<SendOptions>(2)?.unwrap_or_default();
    // There is no receipt before that.
    let level = options.acknowledgement.unwrap_or(Level::Durable).max(Level::Durable);
    let transaction = ctx.admission.decode(raw)?;
    wait(ctx, transaction, (level, Reported::Receipt), timeout)
}

/// Adds a transaction, and waits for it.
fn wait<C: Chain>(
    ctx: &RpcContext<C>,
    transaction: Transaction,
    (level, reported): (Level, Reported),
    timeout: Duration,
) -> Reply {
    let hash = transaction.hash();
    let included = ctx.feed.wait_for(hash, level)?;
    let error = match add(ctx, transaction) {
        Ok(Added { status: Status::NonceGap { .. }, .. }) => RpcError::SyncNotReady { hash },
        Ok(_) => return Ok(Answer::Wait(Waiting { hash, included, level, reported, timeout })),
        Err(error) => error,
    };
    drop(included);
    ctx.feed.forget_waiters(&hash);
    Err(error)
}

/// Adds an admitted transaction and tells the builder and the subscribers.
fn add<C: Chain>(ctx: &RpcContext<C>, transaction: Transaction) -> Result<Added, RpcError> {
    let account = sender_state(ctx, transaction.sender())?;
    let base_fee_wei = ctx.chain.pending_env()?.base_fee_wei.unwrap_or(0);
    let added = ctx.pool().add(transaction.clone(), account, base_fee_wei, Instant::now())?;
    ctx.options.new_transaction.notify_one();
    ctx.feed.announce(transaction);
    Ok(added)
}

fn sender_state<C: Chain>(ctx: &RpcContext<C>, sender: Address) -> Result<AccountState, RpcError> {
    let view = pending_view(ctx)?;
    let account = view.account(sender)?.unwrap_or_default();
    let is_contract =
        account.code_hash != KECCAK256_EMPTY && !view.code(account.code_hash)?.is_eip7702();
    Ok(AccountState { nonce: account.nonce, balance_wei: account.balance_wei, is_contract })
}
