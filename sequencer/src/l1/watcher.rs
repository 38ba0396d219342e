//! Follows L1 block by block: every block is checked to be the child of the one before, written to
//! the ledger, then shown to the builder. An L1 reorg takes both back to the common ancestor. Another
//! block at the same height is one; an endpoint that does not have a block is waited for.
//!
//! Never gives up: while L1 is unreachable the node goes on sequencing on the last origin, and the
//! watcher catches up later. Stops only when the ledger fails or the reorg passes genesis.

use super::L1Chain;
use crate::store::ledger::{Ledger, LedgerError};
use alloy::eips::BlockNumberOrTag;
use batcher::{
    encoder::BlockId,
    l1::{L1Block, L1BlockReader, L1Error, Missing, Standing},
};
use std::{sync::Arc, time::Duration};

/// Why the watcher stopped; the node stops with it.
#[derive(Debug, thiserror::Error)]
pub enum WatcherError {
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// L1 no longer contains the block that genesis is anchored to.
    #[error("L1 block {number} of the chain's genesis is not on L1 any more: this is another L1")]
    AnchorGone {
        /// Number of the anchor block.
        number: u64,
    },
    /// L1 was reorganised further back than is remembered.
    #[error("L1 was reorganised below block {number}, deeper than this node follows")]
    TooDeep {
        /// Oldest block that is remembered.
        number: u64,
    },
}

/// Follows L1.
#[derive(Debug)]
pub struct Watcher {
    /// Reads L1.
    pub reader: L1BlockReader,
    /// Keeps what was read.
    pub ledger: Ledger,
    /// What the builder sees.
    pub chain: Arc<L1Chain>,
    /// Number of the block that genesis is anchored to.
    pub anchor_number: u64,
    /// Wait between questions while there is nothing new.
    pub poll: Duration,
}

impl Watcher {
    /// Follows L1 until the ledger fails.
    ///
    /// # Errors
    /// [`WatcherError`].
    pub async fn run(self) -> Result<(), WatcherError> {
        let mut failing = false;
        loop {
            match self.step().await {
                Ok(progress) => {
                    if failing {
                        tracing::info!("L1 can be followed again");
                        failing = false;
                    }
                    if !progress {
                        tokio::time::sleep(self.poll).await;
                    }
                }
                Err(Step::Fatal(error)) => return Err(error),
                Err(Step::Retry(error)) => {
                    if !failing {
                        tracing::warn!(%error, "L1 cannot be followed; sequencing goes on");
                        failing = true;
                    }
                    tokio::time::sleep(self.poll).await;
                }
            }
        }
    }

    fn tip(&self) -> Option<BlockId> {
        let tip = self.chain.block(self.chain.tip_number())?;
        Some(BlockId { number: tip.origin.number, hash: tip.origin.hash })
    }

    /// Takes one block, or sees that there is none, or goes back by a reorg.
    async fn step(&self) -> Result<bool, Step> {
        let Some(tip) = self.tip() else { return Ok(false) };
        if !self.chain.has_room() {
            // The builder takes a block at every slot; until then L1 is only asked whether it lives.
            self.reader.block_id(BlockNumberOrTag::Latest).await?;
            self.chain.answered(tip.number);
            return Ok(false);
        }
        match self.reader.next(tip).await {
            Ok(Some(block)) => self.take(block).await,
            Ok(None) => match self.reader.standing(tip).await? {
                Standing::Canonical => {
                    self.chain.answered(tip.number);
                    Ok(false)
                }
                Standing::Lost => self.go_back(tip.number, tip.number).await,
                Standing::NotRead => self.go_back_on_shorter(tip.number).await,
            },
            Err(L1Error::Reorged) => self.go_back(tip.number, tip.number).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn take(&self, block: L1Block) -> Result<bool, Step> {
        self.ledger.append_l1_block(&block.origin, &block.deposits).await?;
        if !block.deposits.is_empty() {
            let (l1_block, count) = (block.origin.number, block.deposits.len());
            tracing::info!(l1_block, count, "deposits");
        }
        self.chain.answered(block.origin.number);
        self.chain.push(block);
        Ok(true)
    }

    /// L1 does not go as far as the tip: it was reorganised only where its newest block is another one
    /// than was read at that height.
    async fn go_back_on_shorter(&self, tip_number: u64) -> Result<bool, Step> {
        let missing = || L1Error::Missing(Missing::Block(tip_number));
        let latest = self.reader.block_id(BlockNumberOrTag::Latest).await?;
        let latest = latest.ok_or_else(missing)?;
        match self.chain.standing(latest.number, latest.hash) {
            Standing::Lost => self.go_back(tip_number, latest.number).await,
            Standing::Canonical | Standing::NotRead => Err(missing().into()),
        }
    }

    /// Finds the newest block that is still on L1, at `from` or below, and forgets those after it.
    async fn go_back(&self, tip_number: u64, from: u64) -> Result<bool, Step> {
        let mut number = from;
        loop {
            let Some(known) = self.chain.block(number) else {
                return Err(fatal(WatcherError::TooDeep { number: number + 1 }));
            };
            match self.reader.standing(BlockId { number, hash: known.origin.hash }).await? {
                Standing::Canonical => break,
                Standing::Lost => {}
                Standing::NotRead => return Err(L1Error::Missing(Missing::Block(number)).into()),
            }
            if number <= self.anchor_number {
                return Err(fatal(WatcherError::AnchorGone { number }));
            }
            number -= 1;
        }
        if number == tip_number {
            // The endpoint's parts are not equally far: its next block follows another one.
            return Ok(false);
        }
        tracing::warn!(from = tip_number, to = number, "L1 was reorganised");
        self.ledger.rollback_l1_to(number).await?;
        self.chain.truncate(number);
        Ok(true)
    }
}

/// Why a step ended early.
enum Step {
    Retry(RetryError),
    Fatal(WatcherError),
}

/// What passes by itself.
#[derive(Debug, thiserror::Error)]
enum RetryError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Ledger(LedgerError),
}

impl From<LedgerError> for Step {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(_) => Self::Retry(RetryError::Ledger(error)),
            error => Self::Fatal(error.into()),
        }
    }
}

impl From<L1Error> for Step {
    fn from(error: L1Error) -> Self {
        Self::Retry(error.into())
    }
}

fn fatal(error: WatcherError) -> Step {
    Step::Fatal(error)
}
