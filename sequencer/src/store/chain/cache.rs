//! Accounts and slots that were read or changed lately, kept between blocks: most of what a block
//! reads, the blocks before it touched.
//!
//! An entry has the value at the head and the version of the chain since which it is known to hold:
//! every block and every rollback makes a new version. A view of an earlier version does not use what
//! is newer than itself, and adds nothing. What does not fit is forgotten, half of it at a time, and
//! what was used since the last time stays. Knows no files.

use alloy::primitives::{Address, U256, map::HashMap};
use executor::{Account, StateDiff};
use std::{
    hash::Hash,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Parts with a lock each, so that the workers of a block seldom wait for each other.
const PARTS: usize = 16;
/// Accounts kept, in each generation of each part: 131,072 in all, about 20 MiB.
const ACCOUNTS_MAX: usize = 4_096;
/// Slots kept in the same way: 262,144 in all, about 40 MiB.
const SLOTS_MAX: usize = 8_192;

/// See the module.
#[derive(Debug)]
pub(super) struct StateCache {
    /// The version whose values it has.
    version: AtomicU64,
    parts: [Mutex<Part>; PARTS],
}

#[derive(Debug, Default)]
struct Part {
    accounts: Generations<Address, Option<Account>>,
    slots: Generations<(Address, U256), U256>,
}

/// Two maps: when the newer one is full the older one is forgotten. What is used moves to the newer.
#[derive(Debug)]
struct Generations<K, V> {
    newer: HashMap<K, Known<V>>,
    older: HashMap<K, Known<V>>,
}

/// A value, and the version since which it holds.
#[derive(Clone, Copy, Debug)]
struct Known<V> {
    value: V,
    since: u64,
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { newer: HashMap::default(), older: HashMap::default() }
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Generations<K, V> {
    fn get(&mut self, key: K, version: u64, max: usize) -> Option<V> {
        if let Some(known) = self.newer.get(&key) {
            return (known.since <= version).then_some(known.value);
        }
        let known = self.older.remove(&key)?;
        self.insert(key, known, max);
        (known.since <= version).then_some(known.value)
    }

    fn insert(&mut self, key: K, known: Known<V>, max: usize) {
        if self.newer.len() >= max {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, known);
        self.older.remove(&key);
    }
}

impl StateCache {
    /// Empty, at a version.
    pub(super) fn new(version: u64) -> Self {
        Self { version: AtomicU64::new(version), parts: Default::default() }
    }

    fn part(&self, address: Address) -> MutexGuard<'_, Part> {
        // Not keyed: whoever aims at one part makes its lock busier and nothing else.
        let part = &self.parts[usize::from(address[19]) % PARTS];
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account, as a view of this version has it.
    pub(super) fn account(&self, address: Address, version: u64) -> Option<Option<Account>> {
        self.part(address).accounts.get(address, version, ACCOUNTS_MAX)
    }

    /// A slot in the same way.
    pub(super) fn slot(&self, address: Address, slot: U256, version: u64) -> Option<U256> {
        self.part(address).slots.get((address, slot), version, SLOTS_MAX)
    }

    /// Adds what was read at a version, unless there is a later one by now.
    pub(super) fn add_account(&self, address: Address, value: Option<Account>, version: u64) {
        let mut part = self.part(address);
        // Under the lock: a block that comes now changes this part afterwards.
        if self.version.load(Ordering::SeqCst) == version {
            part.accounts.insert(address, Known { value, since: version }, ACCOUNTS_MAX);
        }
    }

    /// The same for a slot.
    pub(super) fn add_slot(&self, address: Address, slot: U256, value: U256, version: u64) {
        let mut part = self.part(address);
        if self.version.load(Ordering::SeqCst) == version {
            part.slots.insert((address, slot), Known { value, since: version }, SLOTS_MAX);
        }
    }

    /// Follows a block to the next version; called before anybody can have a view of that.
    pub(super) fn follow(&self, version: u64, diff: &StateDiff) {
        self.version.store(version, Ordering::SeqCst);
        for (address, change) in &diff.accounts {
            if change.wiped || change.after.is_none() {
                // Whatever slots are known may be gone; that is rare.
                return self.clear(version);
            }
            let mut part = self.part(*address);
            let known = Known { value: change.after, since: version };
            part.accounts.insert(*address, known, ACCOUNTS_MAX);
            for (slot, value) in &change.slots {
                let known = Known { value: value.after, since: version };
                part.slots.insert((*address, *slot), known, SLOTS_MAX);
            }
        }
    }

    /// Forgets everything, and is at the next version.
    pub(super) fn clear(&self, version: u64) {
        self.version.store(version, Ordering::SeqCst);
        for part in &self.parts {
            *part.lock().unwrap_or_else(PoisonError::into_inner) = Part::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::state::{AccountDiff, SlotDiff};
    use std::collections::BTreeMap;

    fn diff(value: u64) -> StateDiff {
        let slot = SlotDiff { before: U256::ZERO, after: U256::from(value) };
        let after = Some(Account { nonce: value, ..Account::default() });
        let slots = BTreeMap::from([(U256::ZERO, slot)]);
        let change = AccountDiff { after, slots, ..AccountDiff::default() };
        StateDiff { accounts: BTreeMap::from([(Address::ZERO, change)]), ..StateDiff::default() }
    }

    #[test]
    fn a_view_sees_no_later_version_and_adds_nothing_to_one() {
        let cache = StateCache::new(4);
        let (address, slot) = (Address::ZERO, U256::ZERO);
        cache.add_slot(address, slot, U256::from(1), 4);
        cache.add_account(address, None, 3);
        assert_eq!(cache.slot(address, slot, 4), Some(U256::from(1)));
        assert_eq!(cache.account(address, 4), None, "it was not of this version");
        cache.follow(5, &diff(7));
        assert_eq!((cache.slot(address, slot, 4), cache.account(address, 4)), (None, None));
        assert_eq!(cache.slot(address, slot, 5), Some(U256::from(7)));
        assert_eq!(cache.account(address, 6).unwrap().unwrap().nonce, 7);
        cache.add_slot(address, slot, U256::from(9), 4);
        assert_eq!(cache.slot(address, slot, 5), Some(U256::from(7)));
        cache.clear(6);
        assert_eq!((cache.slot(address, slot, 6), cache.account(address, 6)), (None, None));
    }

    #[test]
    fn a_removed_account_takes_its_slots_along() {
        let cache = StateCache::new(0);
        cache.follow(1, &diff(7));
        let mut removal = diff(7).reversed();
        removal.accounts.values_mut().for_each(|change| change.slots.clear());
        cache.follow(2, &removal);
        assert_eq!(cache.slot(Address::ZERO, U256::ZERO, 2), None);
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = StateCache::new(0);
        let used = (Address::ZERO, U256::MAX);
        cache.add_slot(used.0, used.1, U256::from(5), 0);
        for number in 0..10 * SLOTS_MAX {
            cache.add_slot(Address::ZERO, U256::from(number), U256::from(1), 0);
            assert_eq!(cache.slot(used.0, used.1, 0), Some(U256::from(5)));
        }
        let part = cache.part(Address::ZERO);
        assert!(part.slots.newer.len() <= SLOTS_MAX && part.slots.older.len() <= SLOTS_MAX);
    }
}
