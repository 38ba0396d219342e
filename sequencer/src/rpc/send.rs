//! The way of a raw transaction into the pool, as its sender sees it: parameters, decoding, answers.
//!
//! What comes between is the admission's (`admit`). Who waits for a level of acknowledgement, as the
//! synchronous form (EIP-7966) does, registers before the transaction can be executed, so that it
//! cannot miss it.

use super::{
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    fees::Quantity,
    format,
    jsonrpc::{Outcome, Params},
    table::{Answer, json},
};
use crate::store::chain::{MiniBlock, StoredBlock};
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
    /// In a block whose batch is on L1.
    Batched,
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
                            format::open_receipt(ctx.chain.rules(), mini_block, *index)
                        }
                        Included::Sealed(block, index) => {
                            format::receipt(ctx.chain.rules(), block, *index)
                        }
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
                // What L1 determines is in a batch there; the poster does not tell the one before
                // the other.
                Level::Batched | Level::Safe => heads.safe,
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

/// Methods that put a transaction into the pool. In a batch, those that follow each other do not
/// wait for each other.
pub(super) const SEND_METHODS: [&str; 3] = [SEND, SEND_CONDITIONAL, SEND_SYNC];
const SEND: &str = "eth_sendRawTransaction";
const SEND_CONDITIONAL: &str = "eth_sendRawTransactionConditional";
const SEND_SYNC: &str = "eth_sendRawTransactionSync";

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
            Answer::Admit(_) | Answer::Forward(_) => Err(RpcError::Internal),
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
    /// When the answer comes.
    acknowledgement: Option<Level>,
}

/// Decodes and checks what can be checked from the request alone.
fn decode<C: Chain>(
    ctx: &RpcContext<C>,
    raw: Bytes,
    conditions: Option<Conditions>,
    options: &SendOptions,
) -> Result<(Unrecovered, Option<Arc<Terms>>), RpcError> {
    let terms = Terms { max_total_fee_wei: options.max_total_fee, conditions };
    let transaction = ctx.admission.decode(raw)?;
    ctx.admission.check_terms(&terms, transaction.signed().gas_limit())?;
    Ok((transaction, (!terms.is_empty()).then(|| Arc::new(terms))))
}

pub(super) fn send<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    if let Some(answer) = ctx.options.sends.answer(SEND, params) {
        return answer;
    }
    let options = params.optional::<SendOptions>(1)?.unwrap_or_default();
    let (transaction, terms) = decode(ctx, params.required(0)?, None, &options)?;
    answer_with_hash(ctx, transaction, terms, &options)
}

/// As the OP Stack has it: refused when a condition does not hold now, dropped when one does not hold
/// at inclusion.
pub(super) fn send_conditional<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    if let Some(answer) = ctx.options.sends.answer(SEND_CONDITIONAL, params) {
        return answer;
    }
    let (raw, conditions) = (params.required(0)?, params.required(1)?);
    let options = params.optional::<SendOptions>(2)?.unwrap_or_default();
    let (transaction, terms) = decode(ctx, raw, Some(conditions), &options)?;
    answer_with_hash(ctx, transaction, terms, &options)
}

fn answer_with_hash<C: Chain>(
    ctx: &RpcContext<C>,
    transaction: Unrecovered,
    terms: Option<Arc<Terms>>,
    options: &SendOptions,
) -> Reply {
    let level = options.acknowledgement.unwrap_or(Level::Received);
    if level > Level::Received {
        let timeout = Duration::from_millis(SYNC_TIMEOUT_MILLIS_MAX);
        return wait(ctx, (transaction, terms), (level, Reported::Hash), timeout);
    }
    let hash = transaction.hash();
    let added = ctx.admissions.submit(transaction, terms)?;
    Ok(Answer::Admit(Admitting { hash, added, waiting: None }))
}

pub(super) fn send_sync<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    if let Some(answer) = ctx.options.sends.answer(SEND_SYNC, params) {
        return answer;
    }
    let raw: Bytes = params.required(0)?;
    let millis = params.optional::<Quantity>(1)?.map_or(SYNC_TIMEOUT_MILLIS, |millis| millis.0);
    let timeout = Duration::from_millis(millis.min(SYNC_TIMEOUT_MILLIS_MAX));
    let options = params.optional::<SendOptions>(2)?.unwrap_or_default();
    // There is no receipt before that.
    let level = options.acknowledgement.unwrap_or(Level::Durable).max(Level::Durable);
    let decoded = decode(ctx, raw, None, &options)?;
    wait(ctx, decoded, (level, Reported::Receipt), timeout)
}

/// Submits a transaction, and waits for it.
fn wait<C: Chain>(
    ctx: &RpcContext<C>,
    (transaction, terms): (Unrecovered, Option<Arc<Terms>>),
    (level, reported): (Level, Reported),
    timeout: Duration,
) -> Reply {
    let hash = transaction.hash();
    let included = ctx.feed.wait_for(hash, level)?;
    let waiting = Some(Waiting { hash, included, level, reported, timeout });
    match ctx.admissions.submit(transaction, terms) {
        Ok(added) => Ok(Answer::Admit(Admitting { hash, added, waiting })),
        Err(error) => {
            drop(waiting);
            ctx.feed.forget_waiters(&hash);
            Err(error)
        }
    }
}
