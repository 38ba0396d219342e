//! Looking at the state of a block that a lane is executing, between two transactions.
//!
//! Loads nothing into the journal: what is looked at counts as untouched, and costs nobody gas.

use super::{access::is_destroyed, diff::starts_empty, journal::LaneJournal};
use crate::{error::ViewError, state::StateView};
use alloy_primitives::{Address, U256};

impl<V: StateView> LaneJournal<'_, V> {
    /// A slot as the next transaction will find it.
    pub(crate) fn peek_slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        let Some(account) = self.state().get(&address) else {
            return self.view().slot(address, slot);
        };
        if is_destroyed(account) {
            return Ok(U256::ZERO);
        }
        match account.storage.get(&slot) {
            Some(known) => Ok(known.present_value),
            None if starts_empty(account) => Ok(U256::ZERO),
            None => self.view().slot(address, slot),
        }
    }

    /// Whether any slot of the account differs from what it was before the block.
    pub(crate) fn is_storage_changed(&self, address: Address) -> Result<bool, ViewError> {
        let Some(account) = self.state().get(&address) else { return Ok(false) };
        if is_destroyed(account) {
            return Ok(true);
        }
        for (slot, known) in &account.storage {
            if known.present_value != self.view().slot(address, *slot)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
