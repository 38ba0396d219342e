//! What a sender asks of the node beyond the transaction itself: conditions on block and state, and a
//! cap on the whole fee. They travel with the pool entry and are no part of the transaction.
//!
//! Conditions are those of the OP Stack's eth_sendRawTransactionConditional, in op-geth's words. Owns
//! their form, cost and checks; does not know where a state comes from ([`KnownState`]).

use alloy::primitives::{Address, B256, U256};
use executor::{Reads, StateDiff, StateView, ViewError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most that conditions may cost to check, inclusive: accounts, slots, roots and bounds, each one.
/// op-geth's limit. More is refused when it is sent.
pub const CONDITIONS_COST_MAX: usize = 1_000;

/// What the sender asks for with one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terms {
    /// Most that the sender pays for gas and data together, wei; above it the transaction waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_total_fee_wei: Option<U256>,
    /// Under which the transaction may be included; when one does not hold, it is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
}

impl Terms {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.max_total_fee_wei.is_none() && self.conditions.is_none()
    }
}

/// Conditions on the block that includes a transaction, and on the state right before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conditions {
    /// Storage that must be as stated.
    #[serde(default)]
    pub known_accounts: BTreeMap<Address, KnownAccount>,
    /// Lowest block number.
    #[serde(default, with = "alloy::serde::quantity::opt")]
    pub block_number_min: Option<u64>,
    /// Highest block number.
    #[serde(default, with = "alloy::serde::quantity::opt")]
    pub block_number_max: Option<u64>,
    /// Lowest timestamp, unix seconds.
    #[serde(default, with = "alloy::serde::quantity::opt")]
    pub timestamp_min: Option<u64>,
    /// Highest timestamp, unix seconds.
    #[serde(default, with = "alloy::serde::quantity::opt")]
    pub timestamp_max: Option<u64>,
}

/// What is known of an account's storage: all of it by its root, or single slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KnownAccount {
    /// Root of the storage trie.
    StorageRoot(B256),
    /// Values of slots.
    Slots(BTreeMap<U256, U256>),
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// Too early by number.
    #[error("failed header check: failed block number minimum constraint")]
    BlockNumberMin,
    /// Too late by number.
    #[error("failed header check: failed block number maximum constraint")]
    BlockNumberMax,
    /// Too early by time.
    #[error("failed header check: failed timestamp minimum constraint")]
    TimestampMin,
    /// Too late by time.
    #[error("failed header check: failed timestamp maximum constraint")]
    TimestampMax,
    /// Another storage root. `None` where the block has changed the storage: it has no root yet.
    #[error(
        "failed state check: failed account storage root constraint. Got {}, Expected {expected}",
        found.map_or_else(|| "changed storage".to_owned(), |root| root.to_string())
    )]
    StorageRoot {
        /// As it is.
        found: Option<B256>,
        /// As stated.
        expected: B256,
    },
    /// Another value in a slot.
    #[error(
        "failed state check: failed account storage slot key {} constraint. Got {}, Expected {}",
        B256::from(*slot), B256::from(*found), B256::from(*expected)
    )]
    Slot {
        /// The slot.
        slot: U256,
        /// As it is.
        found: U256,
        /// As stated.
        expected: U256,
    },
}

/// Conditions that can never hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Lowest block number above the highest.
    #[error("block number minimum constraint must be less than the maximum")]
    BlockNumbers,
    /// Lowest timestamp above the highest.
    #[error("timestamp minimum constraint must be less than the maximum")]
    Timestamps,
}

impl Conditions {
    /// What checking costs: one for every account, root, slot and pair of bounds.
    #[must_use]
    pub fn cost(&self) -> usize {
        let accounts = self.known_accounts.values().map(|known| match known {
            KnownAccount::StorageRoot(_) => 2,
            KnownAccount::Slots(slots) => 1 + slots.len(),
        });
        let numbers = self.block_number_min.or(self.block_number_max);
        let timestamps = self.timestamp_min.or(self.timestamp_max);
        let bounds = usize::from(numbers.is_some()) + usize::from(timestamps.is_some());
        accounts.sum::<usize>() + bounds
    }

    /// Whether they can hold at all.
    ///
    /// # Errors
    /// [`Contradiction`] naming the bounds that exclude each other.
    pub fn validate(&self) -> Result<(), Contradiction> {
        let crossed =
            |min: Option<u64>, max: Option<u64>| min.zip(max).is_some_and(|(min, max)| min > max);
        if crossed(self.block_number_min, self.block_number_max) {
            return Err(Contradiction::BlockNumbers);
        }
        if crossed(self.timestamp_min, self.timestamp_max) {
            return Err(Contradiction::Timestamps);
        }
        Ok(())
    }

    /// Whether a block of this number and timestamp may include the transaction.
    ///
    /// # Errors
    /// [`Unmet`]: the first bound that does not hold.
    pub fn check_block(&self, number: u64, timestamp: u64) -> Result<(), Unmet> {
        if self.block_number_min.is_some_and(|min| number < min) {
            return Err(Unmet::BlockNumberMin);
        }
        if self.block_number_max.is_some_and(|max| number > max) {
            return Err(Unmet::BlockNumberMax);
        }
        if self.timestamp_min.is_some_and(|min| timestamp < min) {
            return Err(Unmet::TimestampMin);
        }
        if self.timestamp_max.is_some_and(|max| timestamp > max) {
            return Err(Unmet::TimestampMax);
        }
        Ok(())
    }

    /// The first of the known accounts that is not as stated, in the order of addresses.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    pub fn find_unmet(&self, state: &mut impl KnownState) -> Result<Option<Unmet>, ViewError> {
        for (address, known) in &self.known_accounts {
            match known {
                KnownAccount::StorageRoot(expected) => {
                    let found = state.storage_root(*address)?;
                    if found != Some(*expected) {
                        return Ok(Some(Unmet::StorageRoot { found, expected: *expected }));
                    }
                }
                KnownAccount::Slots(slots) => {
                    if let Some(unmet) = find_unmet_slot(*address, slots, state)? {
                        return Ok(Some(unmet));
                    }
                }
            }
        }
        Ok(None)
    }
}

fn find_unmet_slot(
    address: Address,
    slots: &BTreeMap<U256, U256>,
    state: &mut impl KnownState,
) -> Result<Option<Unmet>, ViewError> {
    for (&slot, &expected) in slots {
        let found = state.slot(address, slot)?;
        if found != expected {
            return Ok(Some(Unmet::Slot { slot, found, expected }));
        }
    }
    Ok(None)
}

/// A state that conditions are checked against.
pub trait KnownState {
    /// Value of a slot.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, ViewError>;

    /// Root of an account's storage; `None` where the state is in the middle of a block that has
    /// changed it.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    fn storage_root(&mut self, address: Address) -> Result<Option<B256>, ViewError>;
}

/// The state after a block.
impl<V: StateView> KnownState for &V {
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, ViewError> {
        StateView::slot(*self, address, slot)
    }

    fn storage_root(&mut self, address: Address) -> Result<Option<B256>, ViewError> {
        let reads = Reads::from([(address, BTreeSet::default())]);
        let trie = self.trie_for(&reads, &StateDiff::default())?;
        trie.storage_root(address).map(Some)
    }
}
