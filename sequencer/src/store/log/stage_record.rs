//! How far a block has come on L1, as the log keeps it for those who follow the chain. Pure.
//!
//! | part | bytes |
//! |---|---|
//! | stage | 1 |
//! | hash of the block | 32 |

use alloy::primitives::B256;

/// How far a block has come on L1. Each stage includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// A transaction with its batch is in an L1 block.
    Batched,
    /// It can be derived from L1 as it is.
    Safe,
    /// It can be derived from finalized L1 blocks.
    Finalized,
}

/// A block has reached a stage, and all blocks before it with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageRecord {
    /// The stage.
    pub stage: Stage,
    /// Hash of the block.
    pub hash: B256,
}

impl StageRecord {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let stage = match self.stage {
            Stage::Batched => 1,
            Stage::Safe => 2,
            Stage::Finalized => 3,
        };
        [&[stage], self.hash.as_slice()].concat()
    }

    /// Reads what [`Self::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (stage, hash) = bytes.split_first()?;
        let stage = match stage {
            1 => Stage::Batched,
            2 => Stage::Safe,
            3 => Stage::Finalized,
            _ => return None,
        };
        Some(Self { stage, hash: B256::try_from(hash).ok()? })
    }
}
