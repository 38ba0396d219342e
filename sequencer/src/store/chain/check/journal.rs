//! What the records of the order log make of the state in the tables: for every account and slot that
//! one of them touches, its value from that record on. Each record gives a version of the state, the
//! tables are version 0, and every version can be read. Does not know records, and computes no root.

use crate::store::chain::write::hashed_slot;
use alloy::primitives::{Address, B256, U256, keccak256};
use executor::{Account, StateDiff};
use std::collections::BTreeMap;

/// The values of one account or slot, each from a version on, oldest first. `None` is what the tables
/// have.
#[derive(Clone, Debug)]
pub(super) struct Values<V>(Vec<(usize, Option<V>)>);

impl<V: Copy + PartialEq> Values<V> {
    /// The value at a version, if it is not that of the tables.
    pub(super) fn at(&self, version: usize) -> Option<V> {
        let known = self.0.partition_point(|(since, _)| *since <= version);
        self.0[..known].last().and_then(|(_, value)| *value)
    }

    /// Versions from which on the value is another one.
    pub(super) fn changes(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(since, _)| *since)
    }

    fn set(&mut self, version: usize, value: Option<V>) {
        if self.at(version) != value {
            self.0.push((version, value));
        }
    }
}

impl<V> Default for Values<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The touched part of every version.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// The last version.
    version: usize,
    accounts: BTreeMap<B256, Values<Option<Account>>>,
    slots: BTreeMap<(B256, B256), Values<U256>>,
}

impl Journal {
    /// The last version.
    pub(super) fn version(&self) -> usize {
        self.version
    }

    /// The account at the last version, if it is not as in the tables.
    pub(super) fn account(&self, address: Address) -> Option<Option<Account>> {
        self.accounts.get(&keccak256(address))?.at(self.version)
    }

    /// The slot at the last version, if it is not as in the tables.
    pub(super) fn slot(&self, address: Address, slot: U256) -> Option<U256> {
        self.slots.get(&(keccak256(address), hashed_slot(slot)))?.at(self.version)
    }

    /// Adds the version that a block's change gives.
    pub(super) fn apply(&mut self, diff: &StateDiff) {
        self.version += 1;
        self.set(diff);
    }

    /// Adds a version that is as an earlier one.
    pub(super) fn go_back_to(&mut self, earlier: usize) {
        self.version += 1;
        let now = self.version;
        self.accounts.values_mut().for_each(|values| values.set(now, values.at(earlier)));
        self.slots.values_mut().for_each(|values| values.set(now, values.at(earlier)));
    }

    /// Adds a version that is the tables with `diff` applied to them.
    pub(super) fn go_back_below(&mut self, diff: &StateDiff) {
        self.go_back_to(0);
        self.set(diff);
    }

    fn set(&mut self, diff: &StateDiff) {
        for (address, change) in &diff.accounts {
            let hash = keccak256(address);
            self.accounts.entry(hash).or_default().set(self.version, Some(change.after));
            for (slot, value) in &change.slots {
                let values = self.slots.entry((hash, hashed_slot(*slot))).or_default();
                values.set(self.version, Some(value.after));
            }
        }
    }

    /// The touched accounts, in the order of the tables. Whoever has a touched slot is one of them.
    pub(super) fn accounts(&self) -> impl Iterator<Item = B256> {
        self.accounts.keys().copied()
    }

    /// The values of an account, if it is touched.
    pub(super) fn account_values(&self, hash: B256) -> Option<&Values<Option<Account>>> {
        self.accounts.get(&hash)
    }

    /// The touched slots of an account, in the order of the tables.
    pub(super) fn slots(&self, account: B256) -> impl Iterator<Item = (B256, &Values<U256>)> {
        let all = (account, B256::ZERO)..=(account, B256::repeat_byte(0xff));
        self.slots.range(all).map(|((_, slot), values)| (*slot, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::state::{AccountDiff, SlotDiff};

    #[test]
    fn every_version_can_be_read_after_rollbacks_too() {
        let (who, slot) = (Address::repeat_byte(1), U256::from(7));
        let diff = |value: u64| {
            let values = SlotDiff { before: U256::ZERO, after: U256::from(value) };
            let account = AccountDiff { slots: [(slot, values)].into(), ..AccountDiff::default() };
            StateDiff { accounts: [(who, account)].into(), ..StateDiff::default() }
        };
        let mut journal = Journal::default();
        assert_eq!(journal.slot(who, slot), None);
        journal.apply(&diff(1));
        journal.apply(&diff(2));
        journal.go_back_to(1);
        assert_eq!(journal.slot(who, slot), Some(U256::from(1)));
        journal.go_back_to(0);
        assert_eq!((journal.slot(who, slot), journal.account(who)), (None, None));
        journal.go_back_below(&diff(5));
        journal.apply(&StateDiff::default());
        assert_eq!((journal.slot(who, slot), journal.version()), (Some(U256::from(5)), 6));
        let (_, values) = journal.slots(keccak256(who)).next().unwrap();
        let all: Vec<_> = (0..=6).map(|version| values.at(version)).collect();
        let expected = [None, Some(1), Some(2), Some(1), None, Some(5), Some(5)];
        assert_eq!(all, expected.map(|value| value.map(U256::from)));
    }
}
