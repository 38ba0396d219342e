//! What of the chain is kept: from which block on there are states, and from which on blocks. Pruning
//! and importing move these; reads ask them. Does not remove anything.

use super::{ChainStore, ChainStoreError, Corruption, Head, write_meta};
use crate::store::{
    kv::{Access, KvTransaction, KvWriter},
    tables::{Key, Meta, MetaKey, TableError, Value},
};

/// What is kept of a chain. A chain that was neither pruned nor imported has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The first block whose state can be read.
    pub first_state: u64,
    /// The first block from which on every block is stored. Block 0 always is, and so are blocks
    /// whose output is on L1, as far as the node has seen them.
    pub first_block: u64,
    /// Outputs that are final on L1.
    pub final_outputs: Option<FinalOutputs>,
}

/// How far the outputs on L1 are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalOutputs {
    /// Index of the output after the newest final one.
    pub next_index: u64,
    /// L2 block of the newest final one. No block up to it gets another output or is undone.
    pub block: u64,
}

impl Value for FinalOutputs {
    fn to_value(&self) -> Vec<u8> {
        (self.next_index, self.block).to_key()
    }
    fn from_value(bytes: &[u8]) -> Option<Self> {
        <(u64, u64)>::read(bytes).map(|(next_index, block)| Self { next_index, block })
    }
}

impl Kept {
    /// What a chain with all of its blocks keeps.
    pub(super) const ALL: Self = Self { first_state: 0, first_block: 1, final_outputs: None };

    /// As a transaction sees it.
    pub(super) fn read<K: Access>(transaction: &KvTransaction<K>) -> Result<Self, ChainStoreError> {
        let final_outputs = read_optional(transaction, MetaKey::FinalOutputs)?;
        let first_state = read_optional(transaction, MetaKey::FirstState)?;
        let first_block = read_optional(transaction, MetaKey::FirstBlock)?;
        Ok(Self {
            first_state: first_state.unwrap_or(Self::ALL.first_state),
            first_block: first_block.unwrap_or(Self::ALL.first_block),
            final_outputs,
        })
    }

    /// The lowest block that the chain can go back to: from there on it has states and blocks.
    pub(super) fn rollback_min(&self) -> u64 {
        match self.first_block {
            0 | 1 => self.first_state,
            first_block => self.first_state.max(first_block),
        }
    }

    /// Writes where states and blocks begin.
    pub(super) fn write(&self, writer: &KvWriter) -> Result<(), TableError> {
        write_meta(writer, MetaKey::FirstState, self.first_state.to_value())?;
        write_meta(writer, MetaKey::FirstBlock, self.first_block.to_value())?;
        match self.final_outputs {
            Some(outputs) => write_meta(writer, MetaKey::FinalOutputs, outputs.to_value()),
            None => Ok(()),
        }
    }
}

fn read_optional<V: Value, K: Access>(
    transaction: &KvTransaction<K>,
    key: MetaKey,
) -> Result<Option<V>, ChainStoreError> {
    let Some(bytes) = transaction.read::<Meta>(&key)? else { return Ok(None) };
    Ok(Some(V::from_value(&bytes).ok_or(Corruption::Meta)?))
}

impl ChainStore {
    /// What is kept now.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read.
    pub fn kept(&self) -> Result<Kept, ChainStoreError> {
        Kept::read(&self.0.kv.snapshot()?)
    }
}

/// Refuses to go back to where there is nothing any more.
pub(super) fn check_rollback<K: Access>(
    transaction: &KvTransaction<K>,
    number: u64,
    head: Head,
) -> Result<(), ChainStoreError> {
    let first = Kept::read(transaction)?.rollback_min();
    // The head itself is never gone.
    if number < first && number < head.number {
        return Err(ChainStoreError::HistoryPruned { number, first });
    }
    Ok(())
}
