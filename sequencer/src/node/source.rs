//! The node's chain as the batcher reads it. Reads only.

use crate::{
    derived::replay,
    store::{ChainStore, ChainStoreError},
};
use alloy::primitives::B256;
use async_trait::async_trait;
use batcher::{
    encoder::{BlockId, SourceBlock},
    source::{BlockSource, SourceError},
};
use executor::{BlockInput, Header, genesis::output_root};

/// The chain store.
#[derive(Debug)]
pub(super) struct StoreSource(pub(super) ChainStore);

impl StoreSource {
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ChainStore) -> Result<T, ChainStoreError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let store = self.0.clone();
        let read = tokio::task::spawn_blocking(move || read(&store));
        let result = read.await.map_err(|error| SourceError(error.into()))?;
        result.map_err(|error| SourceError(error.into()))
    }
}

#[async_trait]
impl BlockSource for StoreSource {
    async fn head(&self) -> Result<BlockId, SourceError> {
        let head = self.0.head();
        Ok(BlockId { number: head.number, hash: head.hash })
    }

    async fn block(&self, number: u64) -> Result<Option<SourceBlock>, SourceError> {
        let block = self.read(move |store| store.block(number)).await?;
        Ok(block.map(|block| SourceBlock {
            header: block.header,
            hash: block.hash,
            transactions: block.transactions,
        }))
    }

    async fn replay(&self, input: &BlockInput) -> Result<Option<Header>, SourceError> {
        let (store, input) = (self.0.clone(), input.clone());
        let replayed = tokio::task::spawn_blocking(move || replay(&store, &input)).await;
        let replayed = replayed.map_err(|error| SourceError(error.into()))?;
        Ok(replayed.map_err(|error| SourceError(error.into()))?.into_header())
    }

    async fn output_root(&self, block: BlockId) -> Result<Option<B256>, SourceError> {
        self.read(move |store| {
            let header = store.header(block.number)?;
            let messages = store.message_passer_root(block.number)?;
            let (Some((header, hash)), Some(messages)) = (header, messages) else {
                return Ok(None);
            };
            Ok((hash == block.hash).then(|| output_root(header.state_root, messages, hash)))
        })
        .await
    }
}
