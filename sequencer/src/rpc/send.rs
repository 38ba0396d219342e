//! The way of a raw transaction into the pool, as its sender sees it: parameters, decoding, answers.
//!
//! What comes between is the admission's (`admit`). The synchronous form (EIP-7966) registers for the
//! receipt before the transaction can be taken into a block, so that it cannot miss it.

use super::{
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    fees::Quantity,
    format,
    jsonrpc::{Outcome, Params},
    table::{Answer, json},
};
use crate::store::chain::StoredBlock;
use crate::txpool::{Added, Conditions, Status, Terms};
use alloy::{
    consensus::Transaction as _,
    primitives::{B256, Bytes, U256},
};
use executor::Unrecovered;
use serde::Deserialize;
use serde_json::value::to_raw_value;
use std::{sync::Arc, time::Duration};
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
                let receipt = format::receipt(&block, index).ok_or(RpcError::Internal)?;
                to_raw_value(&receipt).map_err(|_| RpcError::Internal)
            }
            Ok(Err(_)) | Err(_) => {
                ctx.feed.forget_waiters(&hash);
                Err(RpcError::SyncTimeout { hash })
            }
        }
    }
}

/// Methods that put a transaction into the pool. In a batch, those that follow each other do not
/// wait for each other.
pub(super) const SEND_METHODS: [&str; 3] =
    ["eth_sendRawTransaction", "eth_sendRawTransactionConditional", "eth_sendRawTransactionSync"];

/// A request that waits for the admission of its transaction, and then, if it is synchronous, for
/// the receipt.
#[derive(Debug)]
pub(super) struct Admitting {
    hash: B256,
    added: oneshot::Receiver<Result<Added, RpcError>>,
    waiting: Option<Waiting>,
}

impl Admitting {
    fn answer<C: Chain>(
        self,
        ctx: &RpcContext<C>,
        added: Result<Result<Added, RpcError>, oneshot::error::RecvError>,
    ) -> Reply {
        let Self { hash, waiting, .. } = self;
        let Some(waiting) = waiting else {
            return json(&added.map_err(|_| RpcError::Internal)??.hash);
        };
        let error = match added {
            Ok(Ok(Added { status: Status::NonceGap { .. }, .. })) => {
                RpcError::SyncNotReady { hash }
            }
            Ok(Ok(_)) => return Ok(Answer::Wait(waiting)),
            Ok(Err(error)) => error,
            Err(_) => RpcError::Internal,
        };
        drop(waiting);
        ctx.feed.forget_waiters(&hash);
        Err(error)
    }

    /// Waits on this thread for the admission.
    pub(super) fn block<C: Chain>(mut self, ctx: &RpcContext<C>) -> Reply {
        let (_, none) = oneshot::channel();
        let added = std::mem::replace(&mut self.added, none).blocking_recv();
        self.answer(ctx, added)
    }

    /// Waits for the admission, and for the receipt if that is asked for.
    pub(super) async fn finish<C: Chain>(mut self, ctx: &RpcContext<C>) -> Outcome {
        let added = (&mut self.added).await;
        match self.answer(ctx, added)? {
            Answer::Json(result) => Ok(result),
            Answer::Wait(waiting) => waiting.finish(ctx).await,
            Answer::Admit(_) => Err(RpcError::Internal),
        }
    }
}

/// What a sender may ask with a transaction. Unknown keys are refused: a cap that is misspelt must
/// not be ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendOptions {
    /// Most that gas and data may cost together, wei.
    max_total_fee: Option<U256>,
}

/// Decodes and checks what can be checked from the request alone.
fn decode<C: Chain>(
    ctx: &RpcContext<C>,
    raw: Bytes,
    conditions: Option<Conditions>,
    options: Option<SendOptions>,
) -> Result<(Unrecovered, Option<Arc<Terms>>), RpcError> {
    let max_total_fee_wei = options.and_then(|options| options.max_total_fee);
    let terms = Terms { max_total_fee_wei, conditions };
    let transaction = ctx.admission.decode(raw)?;
    ctx.admission.check_terms(&terms, transaction.signed().gas_limit())?;
    Ok((transaction, (!terms.is_empty()).then(|| Arc::new(terms))))
}

pub(super) fn send<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (transaction, terms) = decode(ctx, params.required(0)?, None, params.optional(1)?)?;
    let hash = transaction.hash();
    let added = ctx.admissions.submit(transaction, terms)?;
    Ok(Answer::Admit(Admitting { hash, added, waiting: None }))
}

/// As the OP Stack has it: refused when a condition does not hold now, dropped when one does not hold
/// at inclusion.
pub(super) fn send_conditional<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let (raw, conditions) = (params.required(0)?, params.required(1)?);
    let (transaction, terms) = decode(ctx, raw, Some(conditions), params.optional(2)?)?;
    let hash = transaction.hash();
    let added = ctx.admissions.submit(transaction, terms)?;
    Ok(Answer::Admit(Admitting { hash, added, waiting: None }))
}

pub(super) fn send_sync<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let raw: Bytes = params.required(0)?;
    let millis = params.optional::<Quantity>(1)?.map_or(SYNC_TIMEOUT_MILLIS, |millis| millis.0);
    let timeout = Duration::from_millis(millis.min(SYNC_TIMEOUT_MILLIS_MAX));
    let (transaction, terms) = decode(ctx, raw, None, params.optional(2)?)?;
    let hash = transaction.hash();
    let receipt = ctx.feed.wait_for(hash)?;
    let waiting = Some(Waiting { hash, receipt, timeout });
    match ctx.admissions.submit(transaction, terms) {
        Ok(added) => Ok(Answer::Admit(Admitting { hash, added, waiting })),
        Err(error) => {
            drop(waiting);
            ctx.feed.forget_waiters(&hash);
            Err(error)
        }
    }
}
