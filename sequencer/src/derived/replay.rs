//! A sealed block executed once more, in order, on the state before it: what the batcher's gate asks for,
//! and what tells whether a stored block is a derived one of which some transactions cannot be executed.
//!
//! The state root is taken from the stored header where the execution changed exactly what the stored
//! block did, key by key: that header's root was computed from these changes. Otherwise it is computed
//! from the trie before the block, which takes longer. Decides nothing about a difference.

use crate::store::{ChainStore, ChainStoreError, ChainView};
use alloy::primitives::{Address, B256, U256};
use executor::{
    Account, BlockInput, ExecuteError, Header, Mode, PostState, Reads, StateDiff, StateTrie,
    StateView, ViewError, execute,
};
use revm::bytecode::Bytecode;

/// A block could not be executed again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ChainStoreError),
    /// The execution failed.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
}

/// What a block came to.
#[derive(Debug)]
pub(crate) enum Replayed {
    /// This header.
    Header(Box<Header>),
    /// Another state than the stored block's, of which no root can be had any more.
    OtherState,
    /// The state before it is gone.
    Gone,
}

impl Replayed {
    /// The header, where there is one.
    pub(crate) fn into_header(self) -> Option<Header> {
        match self {
            Self::Header(header) => Some(*header),
            Self::OtherState | Self::Gone => None,
        }
    }
}

/// Executes `input` on the stored state before it; a block of its number is stored.
///
/// # Errors
/// [`ReplayError`].
pub(crate) fn replay(store: &ChainStore, input: &BlockInput) -> Result<Replayed, ReplayError> {
    let number = input.env.number;
    let Some(before) = number.checked_sub(1) else { return Ok(Replayed::Gone) };
    let (Some(before), Some(after)) = (view_at(store, before)?, view_at(store, number)?) else {
        return Ok(Replayed::Gone);
    };
    let Some((header, _)) = store.header(number)? else { return Ok(Replayed::Gone) };
    let view =
        Before { state: before, stored: after.own_change()?, stored_root: header.state_root };
    match execute(&view, input, Mode::Sequential) {
        Ok(block) => Ok(Replayed::Header(Box::new(block.header))),
        Err(ExecuteError::View(ViewError::MissingNode)) => Ok(Replayed::OtherState),
        Err(ExecuteError::View(ViewError::MissingBlockHash(_))) => Ok(Replayed::Gone),
        Err(error) => Err(error.into()),
    }
}

fn view_at(store: &ChainStore, number: u64) -> Result<Option<ChainView>, ChainStoreError> {
    match store.view_at(number) {
        Err(ChainStoreError::HistoryPruned { .. }) => Ok(None),
        view => view,
    }
}

/// The state before a stored block, and what that block changed.
struct Before {
    state: ChainView,
    stored: StateDiff,
    stored_root: B256,
}

impl StateView for Before {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        self.state.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.state.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.state.code(code_hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.state.block_hash(number)
    }

    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        self.state.trie_for(reads, diff)
    }

    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        if changes(diff).eq(changes(&self.stored)) {
            return Ok(PostState { root: self.stored_root, trie: None });
        }
        self.state.after(diff)
    }
}

/// An account or a slot after a change.
#[derive(Debug, PartialEq, Eq)]
enum After {
    Account(Address, Option<Account>),
    Slot(Address, U256, U256),
}

/// What really changed, in order.
fn changes(diff: &StateDiff) -> impl Iterator<Item = After> {
    diff.accounts.iter().flat_map(|(address, change)| {
        let account =
            (change.before != change.after).then_some(After::Account(*address, change.after));
        let slots = change.slots.iter().filter(|(_, value)| value.before != value.after);
        let slots = slots.map(|(slot, value)| After::Slot(*address, *slot, value.after));
        account.into_iter().chain(slots)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollup_chain;
    use executor::{BlockEnv, ChainRules, Genesis, Transaction};
    use std::sync::Arc;

    const BLOCKS: u64 = 12;

    fn sealed(directory: &std::path::Path) -> (Genesis, ChainStore) {
        let genesis = rollup_chain::genesis();
        let store = ChainStore::open(directory, &genesis).unwrap();
        for number in 0..BLOCKS {
            let (header, hash) = store.header(number).unwrap().unwrap();
            let view = store.view().unwrap();
            store.seal(rollup_chain::next_block(&genesis, &view, (&header, hash))).unwrap();
            if number == BLOCKS / 2 {
                // Some of them are read from the tables, the others from the log.
                store.fold_all().unwrap();
            }
        }
        (genesis, store)
    }

    fn input(
        rules: &Arc<ChainRules>,
        store: &ChainStore,
        number: u64,
        change: impl FnOnce(&mut Vec<Transaction>),
    ) -> (Header, BlockInput) {
        let (parent, hash) = store.header(number - 1).unwrap().unwrap();
        let block = store.block(number).unwrap().unwrap();
        let (prevrandao, timestamp) = (block.header.mix_hash, block.header.timestamp);
        let env = BlockEnv::rollup(rules, (&parent, hash), prevrandao, timestamp);
        let mut transactions = block.transactions;
        change(&mut transactions);
        (block.header, BlockInput { rules: rules.clone(), env, transactions })
    }

    #[test]
    fn a_stored_block_comes_out_as_it_is_and_another_one_as_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (genesis, store) = sealed(directory.path());
        let rules = genesis.chain_rules();
        for number in 1..=BLOCKS {
            let (header, same) = input(&rules, &store, number, |_| {});
            let replayed = replay(&store, &same).unwrap().into_header();
            assert_eq!(replayed, Some(header.clone()), "block {number}");
            // Without its last transaction nothing but the trie can tell the root.
            let (_, less) = input(&rules, &store, number, |all| _ = all.pop());
            let replayed = replay(&store, &less).unwrap().into_header().unwrap();
            let view = store.view_at(number - 1).unwrap().unwrap();
            let executed = execute(&view, &less, Mode::Sequential).unwrap();
            assert_eq!(replayed, executed.header);
            assert_ne!(replayed.state_root, header.state_root);
        }
        let (_, mut unknown) = input(&rules, &store, BLOCKS, |_| {});
        unknown.env.number = BLOCKS + 2;
        assert!(matches!(replay(&store, &unknown).unwrap(), Replayed::Gone));
    }
}
