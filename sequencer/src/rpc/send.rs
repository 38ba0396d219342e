//! The way of a raw transaction into the pool: decode, recover, check, add, tell.
//!
//! Runs on a blocking thread as a whole. The synchronous form (EIP-7966) registers for the receipt
//! before the transaction can be taken into a block, so that it cannot miss it.

use super::{
    block_id::view,
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    fees::Quantity,
    format,
    jsonrpc::{Outcome, Params},
    table::{Answer, json},
};
use crate::store::chain::StoredBlock;
use crate::txpool::{AccountState, Added, Status};
use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY};
use executor::{FeeSchedule, StateView, Transaction};
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

/// The block that includes a transaction, and the transaction's index in it.
pub(super) type Included = (Arc<StoredBlock>, usize);

/// A request that waits for its receipt.
#[derive(Debug)]
pub(super) struct Waiting {
    hash: B256,
    receipt: oneshot::Receiver<Included>,
    timeout: Duration,
}

impl Waiting {
    /// Waits for the receipt, or for the time to pass.
    pub(super) async fn finish<C: Chain>(self, ctx: &RpcContext<C>) -> Outcome {
        let hash = self.hash;
        match tokio::time::timeout(self.timeout, self.receipt).await {
            Ok(Ok((block, index))) => {
                let receipt =
                    format::receipt(ctx.chain.rules(), &block, index).ok_or(RpcError::Internal)?;
                to_raw_value(&receipt).map_err(|_| RpcError::Internal)
            }
            Ok(Err(_)) | Err(_) => {
                ctx.feed.forget_waiters(&hash);
                Err(RpcError::SyncTimeout { hash })
            }
        }
    }
}

pub(super) fn send<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let transaction = ctx.admission.decode(params.required::<Bytes>(0)?)?;
    json(&add(ctx, transaction)?.hash)
}

pub(super) fn send_sync<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let raw: Bytes = params.required(0)?;
    let millis = params.optional::<Quantity>(1)?.map_or(SYNC_TIMEOUT_MILLIS, |millis| millis.0);
    let timeout = Duration::from_millis(millis.min(SYNC_TIMEOUT_MILLIS_MAX));
    let transaction = ctx.admission.decode(raw)?;
    let hash = transaction.hash();
    let receipt = ctx.feed.wait_for(hash)?;
    let error = match add(ctx, transaction) {
        Ok(Added { status: Status::NonceGap { .. }, .. }) => RpcError::SyncNotReady { hash },
        Ok(_) => return Ok(Answer::Wait(Waiting { hash, receipt, timeout })),
        Err(error) => error,
    };
    drop(receipt);
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
    let view = view(ctx, ctx.chain.heads().latest)?;
    let account = view.account(sender)?.unwrap_or_default();
    let is_contract =
        account.code_hash != KECCAK256_EMPTY && !view.code(account.code_hash)?.is_eip7702();
    let fees = FeeSchedule::of_state(ctx.chain.rules(), &view)?;
    let (nonce, balance_wei) = (account.nonce, account.balance_wei);
    Ok(AccountState { nonce, balance_wei, is_contract, fees })
}
