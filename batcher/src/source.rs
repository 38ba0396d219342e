//! Where the batcher gets L2 blocks: the seam to the node. Owns the trait only.

use crate::encoder::{BlockId, SourceBlock};
use alloy::primitives::B256;
use async_trait::async_trait;
use executor::{BlockInput, Header};
use std::fmt;

/// The node could not answer. The caller tries again later.
#[derive(Debug, thiserror::Error)]
#[error("L2 block source: {0}")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// The node's canonical L2 chain.
#[async_trait]
pub trait BlockSource: Send + Sync + fmt::Debug {
    /// The last sealed block.
    async fn head(&self) -> Result<BlockId, SourceError>;

    /// The canonical block of this number; `None` where there is none.
    async fn block(&self, number: u64) -> Result<Option<SourceBlock>, SourceError>;

    /// Executes what was derived on the state after its parent, in order and on a way of its own, and gives
    /// the header that comes out. Its parent is canonical. `None` when that state is not available.
    async fn replay(&self, input: &BlockInput) -> Result<Option<Header>, SourceError>;

    /// The output root of a block ([`executor::genesis::output_root`]); `None` when the block is not
    /// canonical or its state is not available.
    async fn output_root(&self, block: BlockId) -> Result<Option<B256>, SourceError>;
}
