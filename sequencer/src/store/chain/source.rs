//! Where shards of the trie come back from: the state tables. Right for a shard that has not changed
//! since the block that the tables had when it was evicted, which `roots` sees to.

use super::ChainStoreError;
use crate::store::{
    kv::{Access, Kv, KvTransaction},
    tables::{HashedAccounts, HashedStorages},
};
use alloy::primitives::B256;
use executor::state::arena::{ArenaError, FlatEntry, ShardSource, SourceError};
use std::{
    ops::{ControlFlow, RangeInclusive},
    sync::Arc,
};

/// The state tables as flat state.
#[derive(Debug)]
pub(super) struct Flat(pub(super) Arc<Kv>);

impl ShardSource for Flat {
    fn read_shard(
        &self,
        range: RangeInclusive<B256>,
        entry: &mut dyn FnMut(FlatEntry),
    ) -> Result<(), SourceError> {
        Ok(read(&self.0.snapshot()?, &range, entry)?)
    }
}

fn read<K: Access>(
    rows: &KvTransaction<K>,
    range: &RangeInclusive<B256>,
    entry: &mut dyn FnMut(FlatEntry),
) -> Result<(), ChainStoreError> {
    rows.visit_from::<HashedAccounts, ChainStoreError>(
        range.start(),
        |hashed_address, account| {
            if hashed_address > *range.end() {
                return Ok(ControlFlow::Break(()));
            }
            entry(FlatEntry::Account { hashed_address, account });
            Ok(ControlFlow::Continue(()))
        },
    )?;
    rows.visit_from::<HashedStorages, ChainStoreError>(range.start(), |key, value| {
        let (hashed_address, hashed_slot) = key;
        if hashed_address > *range.end() {
            return Ok(ControlFlow::Break(()));
        }
        entry(FlatEntry::Slot { hashed_address, hashed_slot, value });
        Ok(ControlFlow::Continue(()))
    })
}

/// What went wrong below the arena, where it was the tables.
pub(super) fn error(error: ArenaError) -> ChainStoreError {
    match error {
        ArenaError::Source { shard, error } => match error.downcast::<ChainStoreError>() {
            Ok(error) => *error,
            Err(error) => ArenaError::Source { shard, error }.into(),
        },
        error => error.into(),
    }
}
