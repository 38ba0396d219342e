//! History: change sets and their index against each other, and the state of every kept block, one
//! block back at a time, against that block's header.

use super::{CheckError, Checker, Fault, Problem, alone, look, same_hash, wrong};
use crate::store::{
    chain::ChainStoreError,
    kv::{Access, KvTransaction},
    tables::{
        AccountChangeSets, AccountsHistory, HashedAccounts, HashedStorages, Headers, OutputParts,
        StorageChangeSets, StoragesHistory,
    },
};
use alloy::primitives::{Address, B256, U256};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{
    StateDiff,
    state::{
        AccountDiff, SlotDiff,
        arena::{ArenaError, ArenaOptions, StateArena},
    },
};
use std::{collections::btree_map::Entry, ops::ControlFlow};

impl<K: Access> Checker<'_, K> {
    pub(super) fn history(&mut self) -> Result<(), CheckError> {
        self.account_changes()?;
        self.storage_changes()?;
        self.earlier_states()
    }

    /// Whether changes of this block are kept; those of the message passer's slots always are.
    fn is_kept(&self) -> impl Fn(u64) -> Result<(), Fault> + use<K> {
        let (first, head) = (self.kept.first_state, self.head.number);
        move |number| {
            if number > head {
                return Err(Problem::Stray("it is above the head").into());
            }
            if number <= first && first > 0 {
                return Err(Problem::Stray("its history is pruned").into());
            }
            Ok(())
        }
    }

    fn account_changes(&mut self) -> Result<(), CheckError> {
        let (rows, is_kept) = (self.rows, self.is_kept());
        self.step::<AccountChangeSets>()?;
        self.visit::<AccountChangeSets>(|(number, address), _| {
            is_kept(number)?;
            let index = (address, number);
            let indexed = look::<AccountsHistory, K>(rows, &index)?;
            Ok(indexed.ok_or_else(|| alone::<AccountsHistory>(&index))?)
        })?;
        self.step::<AccountsHistory>()?;
        self.visit::<AccountsHistory>(|(address, number), ()| {
            let change = (number, address);
            match look::<AccountChangeSets, K>(rows, &change)? {
                Some(_) => Ok(()),
                None => Err(alone::<AccountChangeSets>(&change).into()),
            }
        })
    }

    fn storage_changes(&mut self) -> Result<(), CheckError> {
        let (rows, is_kept) = (self.rows, self.is_kept());
        self.step::<StorageChangeSets>()?;
        self.visit::<StorageChangeSets>(|((number, address), slot), _| {
            if address != L2_TO_L1_MESSAGE_PASSER {
                is_kept(number)?;
            }
            let index = ((address, slot), number);
            let indexed = look::<StoragesHistory, K>(rows, &index)?;
            Ok(indexed.ok_or_else(|| alone::<StoragesHistory>(&index))?)
        })?;
        self.step::<StoragesHistory>()?;
        self.visit::<StoragesHistory>(|((address, slot), number), ()| {
            let change = ((number, address), slot);
            match look::<StorageChangeSets, K>(rows, &change)? {
                Some(_) => Ok(()),
                None => Err(alone::<StorageChangeSets>(&change).into()),
            }
        })
    }

    /// Goes back block by block. Down to the first kept state every state root is compared; below
    /// it only the message passer's slots are known, and their root is.
    fn earlier_states(&mut self) -> Result<(), CheckError> {
        let (head, kept) = (self.head, self.kept);
        self.meter
            .step("states back to the first", head.number - kept.first_state.min(head.number));
        let mut trie = arena_over(self.rows)?;
        for number in (1..=head.number).rev() {
            let diff = way_back(self.rows, &mut trie, number)?;
            if !diff.accounts.is_empty() {
                trie.apply(&diff).map_err(ChainStoreError::from)?;
            }
            let before = number - 1;
            if before >= kept.first_state {
                self.meter.add(0);
                // A chain from a snapshot begins with a state whose block it has.
                let header = self.look::<Headers>(&before)?;
                let header = header.ok_or_else(|| wrong::<Headers>(&before, Problem::Missing))?;
                same_hash("the state root", header.header.state_root, trie.root())
                    .map_err(|problem| wrong::<Headers>(&before, problem))?;
            }
            let Some(part) = self.look::<OutputParts>(&before)? else { continue };
            let root = trie.storage_root(L2_TO_L1_MESSAGE_PASSER);
            let root = root.map_err(ChainStoreError::from)?;
            same_hash("the message passer's storage root", part, root)
                .map_err(|problem| wrong::<OutputParts>(&before, problem))?;
        }
        Ok(())
    }
}

/// The state of the tables.
fn arena_over<K: Access>(rows: &KvTransaction<K>) -> Result<StateArena, ChainStoreError> {
    let mut accounts = Vec::new();
    rows.visit_from::<HashedAccounts, ChainStoreError>(&B256::ZERO, |hashed_address, account| {
        accounts.push(Ok((hashed_address, account)));
        Ok(ControlFlow::Continue(()))
    })?;
    let mut slots = Vec::new();
    rows.visit_from::<HashedStorages, ChainStoreError>(&B256::ZERO, |(address, slot), value| {
        slots.push(Ok::<_, ArenaError>((address, slot, value)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(StateArena::from_hashed(ArenaOptions::default(), accounts, slots)?)
}

/// What block `number` changed, as the way back from the state after it; only the values that it
/// leads to are filled in.
fn way_back<K: Access>(
    rows: &KvTransaction<K>,
    trie: &mut StateArena,
    number: u64,
) -> Result<StateDiff, ChainStoreError> {
    let mut diff = StateDiff::default();
    rows.visit_from::<AccountChangeSets, ChainStoreError>(&number, |(block, address), after| {
        if block != number {
            return Ok(ControlFlow::Break(()));
        }
        diff.accounts.insert(address, AccountDiff { after, ..AccountDiff::default() });
        Ok(ControlFlow::Continue(()))
    })?;
    let mut add = |address: Address, slot: U256, after: U256| -> Result<(), ChainStoreError> {
        let change = match diff.accounts.entry(address) {
            Entry::Occupied(occupied) => occupied.into_mut(),
            // It did not change itself.
            Entry::Vacant(vacant) => {
                let after = trie.account(address)?;
                vacant.insert(AccountDiff { after, ..AccountDiff::default() })
            }
        };
        change.slots.insert(slot, SlotDiff { before: U256::ZERO, after });
        Ok(())
    };
    rows.visit_from::<StorageChangeSets, ChainStoreError>(&number, |key, after| {
        let ((block, address), slot) = key;
        if block != number {
            return Ok(ControlFlow::Break(()));
        }
        add(address, slot, after)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(diff)
}
