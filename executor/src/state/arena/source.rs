//! Flat state by hashed keys: what an evicted shard is read back from. The database implements it; a
//! test does with a map.

use crate::state::Account;
use alloy_primitives::{B256, U256};
use core::error::Error;
use std::{boxed::Box, ops::RangeInclusive};

/// A line of flat state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlatEntry {
    /// An account.
    Account {
        /// keccak-256 of its address.
        hashed_address: B256,
        /// The account.
        account: Account,
    },
    /// A slot of an account.
    Slot {
        /// keccak-256 of the account's address.
        hashed_address: B256,
        /// keccak-256 of the slot.
        hashed_slot: B256,
        /// Its value.
        value: U256,
    },
}

/// What a source fails with.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// Flat state that agrees with the arena: all changes that the arena has are in it, and no more.
/// Whether it does is checked, by its root, at every read.
pub trait ShardSource: Send + Sync {
    /// Hands out every account whose hashed address is in the range, and all of its slots. Any order
    /// will do; the order of the keys is the fastest.
    ///
    /// # Errors
    /// Whatever hinders reading; the arena then stays as it is.
    fn read_shard(
        &self,
        hashed_addresses: RangeInclusive<B256>,
        entry: &mut dyn FnMut(FlatEntry),
    ) -> Result<(), SourceError>;
}
