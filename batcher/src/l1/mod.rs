//! Reading L1: the Inbox's appends with their bytes, and L1 blocks with their deposits.
//!
//! Everything here is a thin shell over an [`alloy`] provider; what it returns has been checked
//! against the hashes that commit to it, so that a faulty endpoint can delay but not deceive: an
//! append's bytes against the Inbox's accumulator, deposits against the receipts of their block. Which
//! blocks L1 has, and in which of them an append is, remains the endpoint's word.
//! Deliberately absent: any decision about L2, and memory between calls.

pub mod ahead;
pub mod beacon;
pub mod blobs;
pub mod endpoint;
pub mod failover;
pub mod inbox;
pub mod origin;
pub(crate) mod refusal;
pub mod served;

pub use ahead::{AppendsAhead, BlocksAhead};
pub use blobs::{AnvilBlobs, BlobRequest, BlobSource, FirstOf, Unavailable};
pub use endpoint::EndpointUrl;
pub use failover::{EndpointError, Failover, Failure, Patience};
pub use inbox::{InboxPosition, InboxReader, PostedAppend};
pub use origin::{BlobFeeSchedule, L1Block, L1BlockReader};
pub use served::ServedArchive;

use crate::encoder::BlockId;
use alloy::{
    eips::BlockNumberOrTag,
    providers::{DynProvider, Provider},
    transports::{RpcError, TransportErrorKind},
};
use std::time::Duration;

/// Attempts of one request before its error is handed to the caller, who decides when to come back.
const ATTEMPTS_MAX: u32 = 4;
/// Wait after the first failed attempt; doubled after each.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);

/// L1 could not be read, grouped by what the caller does.
#[derive(Debug, thiserror::Error)]
pub enum L1Error {
    /// Retry: the endpoint failed, repeatedly.
    #[error("L1 endpoint: {0}")]
    Rpc(#[from] RpcError<TransportErrorKind>),
    /// Retry: the endpoint answers, but does not have this yet or any more.
    #[error("L1 endpoint has no {0}")]
    Missing(Missing),
    /// Retry: no source has the bytes of an append, or all gave wrong ones.
    #[error(transparent)]
    Unavailable(Box<Unavailable>),
    /// Reset: L1 was reorganised while it was read.
    #[error("L1 was reorganised")]
    Reorged,
    /// Retry: the task that read ahead stopped before its end.
    #[error("reading ahead stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
    /// Halt: what the endpoint says contradicts the hashes that commit to it.
    #[error("L1 endpoint contradicts itself: {0}")]
    Contradiction(Contradiction),
    /// Halt: the KZG library or its worker failed.
    #[error(transparent)]
    Kzg(#[from] crate::kzg::KzgError),
}

/// What an endpoint does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A block.
    #[error("block {0}")]
    Block(u64),
    /// The block a tag stands for.
    #[error("block of tag {0}")]
    Tag(BlockNumberOrTag),
    /// The receipts of a block that it has.
    #[error("receipts of block {0}")]
    Receipts(u64),
    /// All appends up to a block, whose Inbox has more than there were logs of.
    #[error("logs of all inbox batches up to block {0}")]
    Appends(u64),
}

/// How an endpoint contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// An Inbox event does not follow from the one before it, or its accumulator is wrong.
    #[error("inbox batch {0} does not follow")]
    Batch(u64),
    /// An append's transaction does not carry the bytes that the event commits to.
    #[error("transaction of inbox batch {0} has other bytes")]
    Payload(u64),
    /// A block has no fee or beacon fields although the chain is past Cancun.
    #[error("L1 block {0} is before Cancun")]
    OldBlock(u64),
    /// The receipts of a block are not those that its header commits to.
    #[error("receipts of another block than {0}")]
    Receipts(u64),
    /// A log is not of the block that was asked for.
    #[error("log of another block than {0}")]
    Log(u64),
}

/// Calls `request` until it succeeds, at most [`ATTEMPTS_MAX`] times.
pub(crate) async fn retry<T, F, Fut>(request: F) -> Result<T, L1Error>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, RpcError<TransportErrorKind>>>,
{
    let mut wait = BACKOFF_FIRST;
    let mut attempt = 1;
    loop {
        match request().await {
            Ok(value) => return Ok(value),
            // The endpoint understood and refused: asking again changes nothing.
            Err(error @ RpcError::ErrorResp(_)) => return Err(error.into()),
            Err(error) if attempt >= ATTEMPTS_MAX => return Err(error.into()),
            Err(error) => tracing::debug!(%error, attempt, "L1 request failed, trying again"),
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
        attempt += 1;
    }
}

/// Number and hash of the block a number or tag stands for; `None` where there is none.
pub(crate) async fn block_id(
    provider: &DynProvider,
    tag: BlockNumberOrTag,
) -> Result<Option<BlockId>, L1Error> {
    let block = retry(async || provider.get_block_by_number(tag).await).await?;
    Ok(block.map(|block| BlockId { number: block.header.number, hash: block.header.hash }))
}

/// What became of a block that L1 had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is on L1.
    Canonical,
    /// Another block has its number: L1 was reorganised.
    Lost,
    /// L1 was not read that far, or the endpoint is not there: yet, or again after a reorg. No reason to
    /// give the block up.
    NotRead,
}

/// What became of a block that L1 had, as the endpoint sees it now.
pub(crate) async fn standing(provider: &DynProvider, block: BlockId) -> Result<Standing, L1Error> {
    Ok(match block_id(provider, block.number.into()).await? {
        Some(found) if found == block => Standing::Canonical,
        Some(_) => Standing::Lost,
        None => Standing::NotRead,
    })
}
