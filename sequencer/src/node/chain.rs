//! The node's chain as JSON-RPC reads it.

use crate::{
    rpc::{Chain, ChainError, Heads, Rollup},
    store::{
        ChainStore, ChainStoreError, ChainView, Head, StoredBlock,
        chain::{ChainEvent, FollowError, Followed, OpenBlock, TransactionAt},
    },
};
use alloy::primitives::{B256, U256};
use batcher::tracker;
use executor::{BlockEnv, ChainRules, Genesis, Header, genesis::GenesisL1, state::AccountProof};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{broadcast, watch};

/// The chain store with the heads that L1 determines.
#[derive(Debug)]
pub struct NodeChain {
    rules: Arc<ChainRules>,
    l1: GenesisL1,
    store: ChainStore,
    l1_heads: watch::Receiver<tracker::Heads>,
    block_time: Duration,
    is_derived: bool,
}

impl NodeChain {
    /// Serves `store`.
    #[must_use]
    pub fn new(
        genesis: &Genesis,
        store: ChainStore,
        l1_heads: watch::Receiver<tracker::Heads>,
        block_time: Duration,
    ) -> Self {
        let (rules, l1) = (genesis.chain_rules(), genesis.l1.clone());
        Self { rules, l1, store, l1_heads, block_time, is_derived: false }
    }

    /// The same of a store that has nothing but what was derived from L1: its newest block is safe.
    #[must_use]
    pub fn derived(self) -> Self {
        Self { is_derived: true, ..self }
    }
}

fn failed(error: ChainStoreError) -> ChainError {
    ChainError(error.into())
}

impl Chain for NodeChain {
    type View = ChainView;

    fn rules(&self) -> &Arc<ChainRules> {
        &self.rules
    }

    fn heads(&self) -> Heads {
        let latest = self.store.head().number;
        let l1 = *self.l1_heads.borrow();
        let safe = if self.is_derived { latest } else { l1.safe.block.number };
        Heads { latest, safe: safe.min(latest), finalized: l1.finalized.block.number.min(latest) }
    }

    fn subscribe_head(&self) -> watch::Receiver<Head> {
        self.store.subscribe_head()
    }

    fn pending_env(&self) -> Result<BlockEnv, ChainError> {
        let number = self.store.head().number;
        let found = self.store.header(number).map_err(failed)?;
        let (header, hash) = found.ok_or_else(|| {
            failed(ChainStoreError::NoSuchBlock { head: self.store.head(), number })
        })?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_secs = now.map_or(0, |now| now.as_secs());
        // A sub-second chain estimates with the next second, too: the transaction may land there.
        let timestamp = now_secs.max(header.timestamp + self.block_time.as_secs().max(1));
        Ok(BlockEnv::rollup(&self.rules, (&header, hash), header.mix_hash, timestamp))
    }

    fn open_block(&self) -> Option<Arc<OpenBlock>> {
        self.store.open_block()
    }

    fn subscribe_events(&self) -> Option<broadcast::Receiver<ChainEvent>> {
        Some(self.store.subscribe_events())
    }

    fn follow_from(
        &self,
        after: u64,
        visit: &mut dyn FnMut(u64, Followed) -> Result<(), FollowError>,
    ) -> Option<Result<(), FollowError>> {
        Some(self.store.follow_from(after, visit))
    }

    fn positions(&self) -> (u64, u64) {
        (self.store.position(), self.store.oldest_position())
    }

    fn pending_view(&self) -> Result<Option<ChainView>, ChainError> {
        self.store.pending_view().map(Some).map_err(failed)
    }

    fn header(&self, number: u64) -> Result<Option<(Header, B256)>, ChainError> {
        self.store.header(number).map_err(failed)
    }

    fn block(&self, number: u64) -> Result<Option<StoredBlock>, ChainError> {
        self.store.block(number).map_err(failed)
    }

    fn block_number(&self, hash: B256) -> Result<Option<u64>, ChainError> {
        self.store.block_number(hash).map_err(failed)
    }

    fn transaction_position(&self, hash: B256) -> Result<Option<(u64, usize)>, ChainError> {
        self.store.transaction_position(hash).map_err(failed)
    }

    fn transaction_at(
        &self,
        number: u64,
        index: usize,
    ) -> Result<Option<TransactionAt>, ChainError> {
        self.store.transaction_at(number, index).map_err(failed)
    }

    fn first_state(&self) -> Result<u64, ChainError> {
        Ok(self.store.kept().map_err(failed)?.first_state)
    }

    fn first_block(&self) -> Result<u64, ChainError> {
        Ok(self.store.kept().map_err(failed)?.first_block)
    }

    fn message_passer_proof(
        &self,
        number: u64,
        slots: &[U256],
    ) -> Result<Option<AccountProof>, ChainError> {
        self.store.message_passer_proof(number, slots).map_err(failed)
    }

    fn rollup(&self) -> Option<Rollup> {
        Some(Rollup { l1: self.l1.clone(), block_time: self.block_time })
    }

    fn view(&self, number: u64) -> Result<Option<ChainView>, ChainError> {
        self.store.view_at(number).map_err(failed)
    }
}
