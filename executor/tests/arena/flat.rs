//! Flat state in a map: the oracle of an arena's roots, by alloy-trie's hash builder, and the source
//! that evicted shards are read back from. Knows nothing of tries itself.

use alloy_primitives::{B256, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, TrieAccount,
    root::{state_root, storage_root},
};
use executor::{
    Account, StateDiff,
    state::arena::{FlatEntry, ShardSource, SourceError},
};
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Slots by their hash; none is zero.
pub(crate) type Slots = BTreeMap<B256, U256>;

/// Accounts by their hashed addresses, with their storage.
pub(crate) type Flat = BTreeMap<B256, (Account, Slots)>;

/// An account as its leaf holds it.
pub(crate) fn trie_account((account, slots): &(Account, Slots)) -> TrieAccount {
    TrieAccount {
        nonce: account.nonce,
        balance: account.balance_wei,
        storage_root: if slots.is_empty() {
            EMPTY_ROOT_HASH
        } else {
            storage_root(slots.iter().map(|(slot, value)| (*slot, *value)))
        },
        code_hash: account.code_hash,
    }
}

/// The RLP of an account's leaf.
pub(crate) fn leaf(entry: &(Account, Slots)) -> Vec<u8> {
    let mut encoded = Vec::new();
    trie_account(entry).encode(&mut encoded);
    encoded
}

/// The root as alloy-trie computes it.
pub(crate) fn root(flat: &Flat) -> B256 {
    state_root(flat.iter().map(|(address, entry)| (*address, trie_account(entry))))
}

/// A flat state that an arena reads from, shared with who changes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) flat: Arc<Mutex<Flat>>,
    /// Reading fails.
    pub(crate) fails: Arc<AtomicBool>,
    pub(crate) reads: Arc<AtomicUsize>,
}

impl Source {
    /// Follows a block.
    pub(crate) fn apply(&self, diff: &StateDiff) {
        let mut flat = self.flat.lock().unwrap();
        for (address, change) in &diff.accounts {
            let key = keccak256(address);
            let Some(account) = change.after else {
                flat.remove(&key);
                continue;
            };
            let entry = flat.entry(key).or_default();
            entry.0 = account;
            if change.wiped {
                entry.1.clear();
            }
            for (slot, value) in &change.slots {
                let slot = keccak256(slot.to_be_bytes::<32>());
                if value.after.is_zero() {
                    entry.1.remove(&slot);
                } else {
                    entry.1.insert(slot, value.after);
                }
            }
        }
    }
}

impl ShardSource for Source {
    fn read_shard(
        &self,
        hashed_addresses: RangeInclusive<B256>,
        entry: &mut dyn FnMut(FlatEntry),
    ) -> Result<(), SourceError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        for (address, (account, slots)) in self.flat.lock().unwrap().range(hashed_addresses) {
            let hashed_address = *address;
            // Fails half-way, as disks do.
            if self.fails.load(Ordering::Relaxed) {
                return Err("the disk is gone".into());
            }
            entry(FlatEntry::Account { hashed_address, account: *account });
            for (hashed_slot, value) in slots {
                let (hashed_slot, value) = (*hashed_slot, *value);
                entry(FlatEntry::Slot { hashed_address, hashed_slot, value });
            }
        }
        Ok(())
    }
}
