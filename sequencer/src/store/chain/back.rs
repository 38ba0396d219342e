//! The way back: from the newest state to that after an earlier block, by what the blocks in between
//! were before; and with it the tries of earlier blocks, of which the engine only has the newest. Does
//! not know which blocks somebody asks for.

use super::{ChainStoreError, Corruption, view::ChainView};
use crate::store::tables::{AccountChangeSets, Headers, StorageChangeSets, Table};
use alloy::primitives::{Address, B256, U256};
use executor::{
    Account, Reads, StateDiff, StateTrie,
    state::{AccountDiff, SlotDiff, arena::Wanted},
};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Changes read at most to go back to a block outside the proof window: about a second of work, which
/// bounds what one request for an old proof can cost.
pub(super) const CHANGES_MAX: usize = 500_000;
/// Attempts to find the engine at the block that the changes lead back from. More than one is needed
/// only where a block comes in between.
const ATTEMPTS_MAX: usize = 16;

/// What an account was before the first of the changes, as far as they say.
#[derive(Default)]
struct Before {
    /// `None` where only its slots changed.
    account: Option<Option<Account>>,
    slots: BTreeMap<U256, U256>,
}

type Accounts = BTreeMap<Address, Before>;

impl ChainView {
    /// The change from the view's head back to its block; the values before it are not filled in.
    /// Fails with [`ChainStoreError::TrieTooOld`] where it takes more than `changes_max` changes.
    pub(super) fn way_back(&self, changes_max: usize) -> Result<StateDiff, ChainStoreError> {
        let mut accounts = Accounts::new();
        // Oldest first, and what is there stays.
        self.add_rows(&mut accounts, changes_max)?;
        let first = self.block().number.max(self.folded().number);
        for block in self.layer().blocks.iter().filter(|block| block.number() > first) {
            for (address, change) in &block.record.diff.accounts {
                let before = accounts.entry(*address).or_default();
                if change.before != change.after {
                    before.account.get_or_insert(change.before);
                }
                for (slot, value) in &change.slots {
                    before.slots.entry(*slot).or_insert(value.before);
                }
            }
        }
        let mut diff = StateDiff::default();
        for (address, before) in accounts {
            let after = match before.account {
                Some(account) => account,
                None => self.read_account(address)?,
            };
            let slot = |(slot, after)| (slot, SlotDiff { before: U256::ZERO, after });
            let slots = before.slots.into_iter().map(slot).collect();
            diff.accounts.insert(address, AccountDiff { before: None, after, wiped: false, slots });
        }
        Ok(diff)
    }

    /// What the view's block itself changed, as it is stored: accounts and slots before it and after.
    ///
    /// # Errors
    /// [`ChainStoreError`] when it cannot be read. Of a block whose history is pruned nothing is found.
    pub(crate) fn own_change(&self) -> Result<StateDiff, ChainStoreError> {
        let number = self.block().number;
        if let Some(block) = self.layer().get(number) {
            return Ok(block.record.diff.clone());
        }
        let mut diff = StateDiff::default();
        let rows = self.rows();
        rows.visit_from::<AccountChangeSets, ChainStoreError>(&number, |(of, address), before| {
            if of != number {
                return Ok(ControlFlow::Break(()));
            }
            let change = diff.accounts.entry(address).or_default();
            (change.before, change.after) = (before, self.read_account(address)?);
            Ok(ControlFlow::Continue(()))
        })?;
        rows.visit_from::<StorageChangeSets, ChainStoreError>(
            &number,
            |((of, address), slot), before| {
                if of != number {
                    return Ok(ControlFlow::Break(()));
                }
                let after = self.read_slot(address, slot)?;
                let change = diff.accounts.entry(address).or_default();
                change.slots.insert(slot, SlotDiff { before, after });
                Ok(ControlFlow::Continue(()))
            },
        )?;
        Ok(diff)
    }

    /// Fills in the values before a change of this view's state.
    pub(super) fn fill_before(&self, diff: &mut StateDiff) -> Result<(), ChainStoreError> {
        for (address, change) in &mut diff.accounts {
            change.before = self.read_account(*address)?;
            for (slot, value) in &mut change.slots {
                value.before = self.read_slot(*address, *slot)?;
            }
        }
        Ok(())
    }

    /// The changes of the blocks that the tables have.
    fn add_rows(&self, accounts: &mut Accounts, changes_max: usize) -> Result<(), ChainStoreError> {
        let number = self.block().number;
        let (first, mut changes) = (number.saturating_add(1), 0_usize);
        let mut count = || {
            changes += 1;
            if changes > changes_max { Err(ChainStoreError::TrieTooOld { number }) } else { Ok(()) }
        };
        let rows = self.rows();
        rows.visit_from::<AccountChangeSets, ChainStoreError>(&first, |(_, address), account| {
            count()?;
            accounts.entry(address).or_default().account.get_or_insert(account);
            Ok(ControlFlow::Continue(()))
        })?;
        rows.visit_from::<StorageChangeSets, ChainStoreError>(
            &first,
            |((_, address), slot), value| {
                count()?;
                accounts.entry(address).or_default().slots.entry(slot).or_insert(value);
                Ok(ControlFlow::Continue(()))
            },
        )
    }

    /// Of this state's trie what reading `reads` and making the change `diff` needs. Reads
    /// `changes_max` changes at most where the block is outside the proof window.
    pub(super) fn trie_within(
        &self,
        reads: &Reads,
        diff: &StateDiff,
        changes_max: usize,
    ) -> Result<StateTrie, ChainStoreError> {
        let roots = &self.store().0.roots;
        if let Some(trie) = roots.trie_for(self.block(), &Wanted::new(reads, &[diff]))? {
            return Ok(trie);
        }
        let _turn = roots.turn_to_go_back();
        let block = self.block();
        for _ in 0..ATTEMPTS_MAX {
            // The engine may be further than this view's head.
            let now = self.store().view_of(block)?;
            let is_in_window = roots.is_in_window(block.number, now.head().number);
            let back = now.way_back(if is_in_window { usize::MAX } else { changes_max })?;
            let wanted = Wanted::new(reads, &[&back, diff]);
            let Some(trie) = roots.trie_for(now.head(), &wanted)? else { continue };
            let trie = trie.apply(&back)?;
            let (header, number) = (now.state_root()?, block.number);
            if trie.root() != header {
                return Err(Corruption::WayBack { number, header }.into());
            }
            return Ok(trie);
        }
        Err(ChainStoreError::Contended)
    }

    /// State root in the header of the view's block.
    pub(super) fn state_root(&self) -> Result<B256, ChainStoreError> {
        let number = self.block().number;
        if let Some(block) = self.layer().get(number) {
            return Ok(block.record.header.state_root);
        }
        let missing = Corruption::Missing { table: Headers::SPEC.name, number };
        Ok(self.rows().read::<Headers>(&number)?.ok_or(missing)?.header.state_root)
    }
}
