//! A derived chain in the chain store: a block that is there already is compared, one that differs is
//! rolled back with all above it, and one that is missing is executed and sealed.
//!
//! So a process that died anywhere goes on by deriving again from wherever it knows the Inbox's
//! position: what it has costs no execution. Every block is durable when it is settled, as the
//! sequencer's are: the fdatasync is beside the indexing of the block and does not bound the speed.

use super::{
    Counts, SettleError, off_thread,
    replay::{Replayed, replay},
};
use crate::store::ChainStore;
use alloy::primitives::B256;
use async_trait::async_trait;
use batcher::{
    derive::Derived,
    tracker::{DerivedChain, Likeness, TrackError},
};
use executor::{BlockInput, Header, Knowledge, Options, execute_with};
use std::sync::Arc;

/// The chain; cloning shares it.
#[derive(Clone, Debug)]
pub struct StoredChain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: ChainStore,
    /// What the blocks so far taught about the next ones.
    knowledge: Knowledge,
    counts: Arc<Counts>,
}

impl StoredChain {
    /// Over `store`, which nobody else adds blocks to.
    #[must_use]
    pub fn new(store: ChainStore, counts: Arc<Counts>) -> Self {
        Self(Arc::new(Inner { store, knowledge: Knowledge::default(), counts }))
    }

    /// Removes the blocks above `number`, if there are some.
    ///
    /// # Errors
    /// [`TrackError::Unsettled`] when the store cannot go back.
    pub async fn cut(&self, number: u64) -> Result<(), TrackError> {
        let chain = self.0.clone();
        off_thread(move || chain.cut(number)).await
    }
}

impl Inner {
    fn cut(&self, number: u64) -> Result<(), SettleError> {
        let head = self.store.head().number;
        if head <= number {
            return Ok(());
        }
        tracing::warn!(from = head, to = number, "L1 determines other blocks now: rolling back");
        let removed = self.store.rollback_to(number);
        removed.map(drop).map_err(|error| SettleError::Store { number, error })
    }

    /// The stored block, where it is what `input` gives.
    fn find(&self, input: &BlockInput) -> Result<Option<(Header, B256)>, SettleError> {
        let number = input.env.number;
        let failed = |error| SettleError::Store { number, error };
        if number > self.store.head().number {
            return Ok(None);
        }
        let Some(stored) = self.store.block(number).map_err(failed)? else { return Ok(None) };
        let is_same = match Likeness::of(input, &stored.header, &stored.transactions) {
            Likeness::Same => true,
            Likeness::Part => match replay(&self.store, input)? {
                Replayed::Header(header) => *header == stored.header,
                Replayed::OtherState => false,
                // Pruned is only what is below an output that is final on L1: nothing else can be derived
                // there any more, and the store has no way back.
                Replayed::Gone => true,
            },
            Likeness::Other => false,
        };
        Ok(is_same.then_some((stored.header, stored.hash)))
    }

    fn settle(&self, input: &BlockInput) -> Result<(Header, B256), SettleError> {
        let number = input.env.number;
        let failed = |error| SettleError::Store { number, error };
        if let Some(found) = self.find(input)? {
            self.counts.found(number);
            return Ok(found);
        }
        self.cut(number.saturating_sub(1))?;
        let view = self.store.view().map_err(failed)?;
        let options = Options { knowledge: Some(&self.knowledge), ..Options::default() };
        let block = execute_with(&view, input, options)
            .map_err(|error| SettleError::Execute { number, error })?;
        let settled = (block.header.clone(), block.hash);
        let transactions = block.transactions.clone();
        self.store.seal(block).map_err(failed)?;
        self.counts.executed(number, &transactions);
        Ok(settled)
    }
}

#[async_trait]
impl DerivedChain for StoredChain {
    async fn settle(&self, derived: Derived) -> Result<(Header, B256), TrackError> {
        let chain = self.0.clone();
        off_thread(move || chain.settle(&derived.input)).await
    }
}
