//! Conditions of senders, checked right before their transactions are executed: against the block
//! and the state that all transactions before them have left.
//!
//! Does not decide what becomes of one whose condition does not hold.

use crate::{
    store::ChainView,
    txpool::{KnownState, Terms, Unmet},
};
use alloy::primitives::{Address, B256, U256};
use executor::{ExecuteError, Execution, Transaction, ViewError};
use std::{collections::HashMap, sync::Arc};

/// The state in the middle of a block.
struct Amid<'a, 'v> {
    execution: &'a mut Execution<'v, ChainView>,
    view: &'a ChainView,
}

impl KnownState for Amid<'_, '_> {
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.execution.slot(address, slot)
    }

    /// Storage that the block has changed has no root before it is sealed.
    fn storage_root(&mut self, address: Address) -> Result<Option<B256>, ViewError> {
        if self.execution.is_storage_changed(address)? {
            return Ok(None);
        }
        KnownState::storage_root(&mut self.view, address)
    }
}

/// The first condition that does not hold now.
///
/// # Errors
/// [`ExecuteError`] when the state cannot be read.
pub(super) fn find_unmet(
    terms: &Terms,
    execution: &mut Execution<'_, ChainView>,
    view: &ChainView,
) -> Result<Option<Unmet>, ExecuteError> {
    let Some(conditions) = &terms.conditions else { return Ok(None) };
    let env = execution.env();
    match conditions.check_block(env.number, env.timestamp) {
        Ok(()) => Ok(conditions.find_unmet(&mut Amid { execution, view })?),
        Err(unmet) => Ok(Some(unmet)),
    }
}

/// How many of these transactions can be executed before anything is checked: the first, and those
/// after it up to the next that has conditions.
pub(super) fn up_to_next(
    transactions: &[Transaction],
    conditional: &HashMap<B256, Arc<Terms>>,
) -> usize {
    if conditional.is_empty() {
        return transactions.len();
    }
    let mut later = transactions.iter().skip(1);
    let next = later.position(|transaction| conditional.contains_key(&transaction.hash()));
    next.map_or(transactions.len(), |next| next + 1)
}
