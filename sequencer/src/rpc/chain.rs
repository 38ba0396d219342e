//! What JSON-RPC needs to know of the chain: one trait, implemented by the node over its store and
//! by the tests over memory.
//!
//! Deliberately absent: writing, pool, and anything asynchronous but the head's watch.

use crate::store::chain::{
    ChainEvent, FollowError, Followed, Head, OpenBlock, StoredBlock, TransactionAt,
};
use alloy::primitives::{B256, U256};
use executor::{BlockEnv, ChainRules, Header, StateView, genesis::GenesisL1, state::AccountProof};
use std::{sync::Arc, time::Duration};
use tokio::sync::{broadcast, watch};

/// Heights of the heads by how sure they are: newest, posted to L1, final on L1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Newest block.
    pub latest: u64,
    /// Newest block that L1 data determines.
    pub safe: u64,
    /// Newest block that finalized L1 data determines.
    pub finalized: u64,
}

/// What defines a rollup besides its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// Where it lives on L1.
    pub l1: GenesisL1,
    /// Between two blocks.
    pub block_time: Duration,
}

/// The chain could not be read. The cause is logged, and no caller of RPC sees it.
#[derive(Debug, thiserror::Error)]
#[error("the chain cannot be read: {0}")]
pub struct ChainError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// A chain to serve. Every method may block on storage, so RPC calls them on blocking threads;
/// [`Self::heads`], [`Self::subscribe_head`] and [`Self::rules`] must not block.
pub trait Chain: Send + Sync + 'static {
    /// State after a block.
    type View: StateView + Sync;

    /// Rules of the chain.
    fn rules(&self) -> &Arc<ChainRules>;

    /// The heads as of now. `latest` is never above what [`Self::block`] can answer.
    fn heads(&self) -> Heads;

    /// Follows the newest block. Values may be skipped; RPC reads what lies between.
    fn subscribe_head(&self) -> watch::Receiver<Head>;

    /// Environment that a transaction meets in the next block: its timestamp is the later of now
    /// and one block time after the head.
    ///
    /// # Errors
    /// [`ChainError`] when the head cannot be read.
    fn pending_env(&self) -> Result<BlockEnv, ChainError>;

    /// The block that is being built, as far as it is durable; never blocks. `None` where nothing is
    /// open, or the chain does not show it.
    fn open_block(&self) -> Option<Arc<OpenBlock>> {
        None
    }

    /// Follows what happens to the chain, mini-blocks among it; `None` where it does not tell.
    fn subscribe_events(&self) -> Option<broadcast::Receiver<ChainEvent>> {
        None
    }

    /// Gives what happened after a position to `visit`, in order; `None` where the chain does not
    /// tell. Blocks on storage.
    fn follow_from(
        &self,
        _after: u64,
        _visit: &mut dyn FnMut(u64, Followed) -> Result<(), FollowError>,
    ) -> Option<Result<(), FollowError>> {
        None
    }

    /// Position of the last thing that happened, and the least that [`Self::follow_from`] takes. Never
    /// blocks.
    fn positions(&self) -> (u64, u64) {
        (0, 0)
    }

    /// State after what the open block has executed so far, or after the newest block.
    ///
    /// # Errors
    /// [`ChainError`] when the state cannot be read.
    fn pending_view(&self) -> Result<Option<Self::View>, ChainError> {
        self.view(self.heads().latest)
    }

    /// Header and hash of a block; `None` where there is none.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn header(&self, number: u64) -> Result<Option<(Header, B256)>, ChainError>;

    /// A whole block; `None` where there is none.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn block(&self, number: u64) -> Result<Option<StoredBlock>, ChainError>;

    /// Height of the canonical block of this hash.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn block_number(&self, hash: B256) -> Result<Option<u64>, ChainError>;

    /// Block and index of an included transaction.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn transaction_position(&self, hash: B256) -> Result<Option<(u64, usize)>, ChainError>;

    /// One transaction with its receipt, without the rest of its block; `None` where there is none.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn transaction_at(
        &self,
        number: u64,
        index: usize,
    ) -> Result<Option<TransactionAt>, ChainError>;

    /// The first block whose state is kept.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn first_state(&self) -> Result<u64, ChainError> {
        Ok(0)
    }

    /// The first block, but for block 0, from which on every block is kept.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn first_block(&self) -> Result<u64, ChainError> {
        Ok(1)
    }

    /// Proof of the message passer's account and slots after a block whose output is on L1; those
    /// outlive the tries. `None` for other blocks.
    ///
    /// # Errors
    /// [`ChainError`] when the chain cannot be read.
    fn message_passer_proof(
        &self,
        _number: u64,
        _slots: &[U256],
    ) -> Result<Option<AccountProof>, ChainError> {
        Ok(None)
    }

    /// What defines the rollup; `None` for a chain that is none. Must not block.
    fn rollup(&self) -> Option<Rollup> {
        None
    }

    /// State after a block; `None` when it is not kept any more. Its trie may be gone before it.
    ///
    /// # Errors
    /// [`ChainError`] when the state cannot be read.
    fn view(&self, number: u64) -> Result<Option<Self::View>, ChainError>;
}
