//! The state trie: Ethereum's Merkle-Patricia trie over accounts, and one over each account's
//! storage, resident in memory and persistent in the functional sense.
//!
//! A trie is immutable; applying a diff gives a new one that shares all unchanged nodes, so the
//! tries of recent blocks cost only their differences and a proof at an older block needs no undo.
//! Nodes keep their encoded reference, so only changed paths are hashed again. Not here: storage on
//! disk (the store rebuilds the trie from flat state at start). Source: Yellow Paper, appendix D.

mod node;

#[cfg(feature = "std")]
pub(in crate::state) use node::Part;

use super::{Account, AccountDiff, Reads, StateDiff, WitnessError};
use crate::error::ViewError;
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256, map::B256Map};
use alloy_rlp::{Decodable, Encodable};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount};
use node::{LeafValue, Siblings, Source, Trie};

/// Accounts and their storage, committed to by one root.
#[derive(Clone, Debug)]
pub struct StateTrie {
    accounts: Trie<AccountLeaf>,
    root: B256,
}

/// An account and its storage.
#[derive(Clone, Debug, Default)]
pub(in crate::state) struct AccountLeaf {
    account: Account,
    storage: Trie<U256>,
}

#[cfg(feature = "std")]
impl AccountLeaf {
    /// An account with the part of its storage that is known; `None` where it has no storage.
    pub(in crate::state) fn new(account: Account, storage: Option<Part<U256>>) -> Self {
        Self { account, storage: Trie::of_part(storage) }
    }
}

impl LeafValue for U256 {
    fn encode_leaf(&mut self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}

impl LeafValue for AccountLeaf {
    fn encode_leaf(&mut self, out: &mut Vec<u8>) {
        TrieAccount {
            nonce: self.account.nonce,
            balance: self.account.balance_wei,
            storage_root: self.storage.commit(),
            code_hash: self.account.code_hash,
        }
        .encode(out);
    }
}

/// Proof of one account and some of its slots (EIP-1186), each from the root down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountProof {
    /// Address proved.
    pub address: Address,
    /// The account; the default where there is none.
    pub account: Account,
    /// Root of its storage trie.
    pub storage_hash: B256,
    /// RLP nodes of the account's path.
    pub account_proof: Vec<Bytes>,
    /// One per requested slot, in the order of the request.
    pub storage_proof: Vec<SlotProof>,
}

/// Proof of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotProof {
    /// Slot.
    pub slot: U256,
    /// Its value; zero where nothing is stored.
    pub value: U256,
    /// RLP nodes of the slot's path.
    pub proof: Vec<Bytes>,
}

impl Default for StateTrie {
    fn default() -> Self {
        Self { accounts: Trie::default(), root: EMPTY_ROOT_HASH }
    }
}

fn account_path(address: Address) -> Nibbles {
    Nibbles::unpack(keccak256(address))
}

fn slot_path(slot: U256) -> Nibbles {
    Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()))
}

/// Nodes beside changed paths that a change depended on.
#[derive(Default)]
struct Seen {
    accounts: Siblings<AccountLeaf>,
    storage: Siblings<U256>,
}

/// Values first, then what becomes zero.
fn apply_slots(
    storage: &mut Trie<U256>,
    change: &AccountDiff,
    seen: &mut Siblings<U256>,
) -> Result<(), ViewError> {
    let (zeros, values): (Vec<_>, Vec<_>) =
        change.slots.iter().partition(|(_, value)| value.after.is_zero());
    for (slot, value) in values {
        storage.insert(slot_path(*slot), value.after)?;
    }
    zeros.into_iter().try_for_each(|(slot, _)| storage.remove(slot_path(*slot), seen))
}

impl StateTrie {
    /// Root of the accounts trie.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.root
    }

    /// The trie after a change; `self` stays as it is.
    ///
    /// # Errors
    /// [`ViewError::MissingNode`] when a node on the way is known by its hash alone.
    pub fn apply(&self, diff: &StateDiff) -> Result<Self, ViewError> {
        self.apply_seen(diff, &mut Seen::default())
    }

    /// What goes comes last, so that a branch is not taken apart only to be put together again;
    /// Ethereum's other clients do the same, and their witnesses depend on it.
    fn apply_seen(&self, diff: &StateDiff, seen: &mut Seen) -> Result<Self, ViewError> {
        let mut accounts = self.accounts.clone();
        for (address, change) in &diff.accounts {
            let Some(account) = change.after else { continue };
            let path = account_path(*address);
            let mut leaf = accounts.get(path)?.cloned().unwrap_or_default();
            leaf.account = account;
            if change.wiped {
                leaf.storage = Trie::default();
            }
            apply_slots(&mut leaf.storage, change, &mut seen.storage)?;
            accounts.insert(path, leaf)?;
        }
        for (address, _) in diff.accounts.iter().filter(|(_, change)| change.after.is_none()) {
            accounts.remove(account_path(*address), &mut seen.accounts)?;
        }
        Ok(Self { root: accounts.commit(), accounts })
    }

    /// The nodes, by their hash, that one needs to read `reads` and to apply `diff` knowing nothing
    /// else of this trie.
    ///
    /// # Errors
    /// [`ViewError::MissingNode`] when a node on the way is known by its hash alone.
    pub fn witness(&self, reads: &Reads, diff: &StateDiff) -> Result<B256Map<Bytes>, ViewError> {
        let mut nodes = B256Map::default();
        for (address, slots) in reads {
            self.accounts.collect(account_path(*address), &mut nodes)?;
            self.collect_slots(*address, slots.iter(), &mut nodes)?;
        }
        for (address, change) in &diff.accounts {
            self.accounts.collect(account_path(*address), &mut nodes)?;
            if change.after.is_some() && !change.wiped {
                self.collect_slots(*address, change.slots.keys(), &mut nodes)?;
            }
        }
        let mut seen = Seen::default();
        self.apply_seen(diff, &mut seen)?;
        seen.accounts.collect(&mut nodes);
        seen.storage.collect(&mut nodes);
        Ok(nodes)
    }

    fn collect_slots<'s>(
        &self,
        address: Address,
        mut slots: impl Iterator<Item = &'s U256>,
        nodes: &mut B256Map<Bytes>,
    ) -> Result<(), ViewError> {
        let Some(leaf) = self.accounts.get(account_path(address))? else { return Ok(()) };
        slots.try_for_each(|slot| leaf.storage.collect(slot_path(*slot), nodes))
    }

    /// Builds a trie from flat state keyed by hash: every account with all of its slots.
    ///
    /// # Errors
    /// The first error that `storage_of` returns.
    pub fn from_hashed<E: From<ViewError>>(
        accounts: impl IntoIterator<Item = Result<(B256, Account), E>>,
        mut storage_of: impl FnMut(B256) -> Result<Vec<(B256, U256)>, E>,
    ) -> Result<Self, E> {
        let mut trie = Trie::default();
        for entry in accounts {
            let (hashed_address, account) = entry?;
            let mut storage = Trie::default();
            for (hashed_slot, value) in storage_of(hashed_address)? {
                storage.insert(Nibbles::unpack(hashed_slot), value)?;
            }
            trie.insert(Nibbles::unpack(hashed_address), AccountLeaf { account, storage })?;
        }
        Ok(Self { root: trie.commit(), accounts: trie })
    }

    /// The part of the trie of `root` that `nodes` (by their hash) hold; the rest stays known by its
    /// hash alone.
    ///
    /// # Errors
    /// [`WitnessError::Node`] when a node is none of such a trie.
    pub(crate) fn from_witness(root: B256, nodes: &B256Map<&Bytes>) -> Result<Self, WitnessError> {
        let mut slots = Source::new(nodes);
        let accounts = Trie::from_witness(root, &mut Source::new(nodes), &mut |value| {
            let leaf = TrieAccount::decode(&mut &value[..]).map_err(|_| WitnessError::Node)?;
            let storage = Trie::from_witness(leaf.storage_root, &mut slots, &mut |value| {
                U256::decode(&mut &value[..]).map_err(|_| WitnessError::Node)
            })?;
            let account =
                Account { nonce: leaf.nonce, balance_wei: leaf.balance, code_hash: leaf.code_hash };
            Ok(AccountLeaf { account, storage })
        })?;
        Ok(Self { accounts, root })
    }

    /// The trie that hangs from this node, whose root is `root`; `None` for the empty one.
    #[cfg(feature = "std")]
    pub(in crate::state) fn of_part(root: B256, accounts: Option<Part<AccountLeaf>>) -> Self {
        Self { accounts: Trie::of_part(accounts), root }
    }

    /// A storage slot as the trie has it; zero where nothing is stored.
    ///
    /// # Errors
    /// [`ViewError::MissingNode`] when a node on the way is known by its hash alone.
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        let Some(leaf) = self.accounts.get(account_path(address))? else { return Ok(U256::ZERO) };
        Ok(leaf.storage.get(slot_path(slot))?.copied().unwrap_or_default())
    }

    /// The account as the trie has it.
    ///
    /// # Errors
    /// [`ViewError::MissingNode`] when a node on the way is known by its hash alone.
    pub fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        Ok(self.accounts.get(account_path(address))?.map(|leaf| leaf.account))
    }

    /// Root of an account's storage trie; the empty root where there is no account.
    ///
    /// # Errors
    /// [`ViewError::MissingNode`] when a node on the way is known by its hash alone.
    pub fn storage_root(&self, address: Address) -> Result<B256, ViewError> {
        let leaf = self.accounts.get(account_path(address))?;
        Ok(leaf.map_or(EMPTY_ROOT_HASH, |leaf| leaf.storage.root()))
    }

    /// Merkle proofs of an account and of `slots` in its storage, of presence or absence.
    ///
    /// # Errors
    /// [`ViewError::MissingNode`] when a node on the way is known by its hash alone.
    pub fn account_proof(
        &self,
        address: Address,
        slots: &[U256],
    ) -> Result<AccountProof, ViewError> {
        let path = account_path(address);
        let leaf = self.accounts.get(path)?.cloned().unwrap_or_default();
        let prove_slot = |slot: &U256| -> Result<SlotProof, ViewError> {
            let path = slot_path(*slot);
            let value = leaf.storage.get(path)?.copied().unwrap_or_default();
            Ok(SlotProof { slot: *slot, value, proof: leaf.storage.proof(path)? })
        };
        let storage_proof = slots.iter().map(prove_slot).collect::<Result<_, _>>()?;
        Ok(AccountProof {
            address,
            account: leaf.account,
            storage_hash: leaf.storage.root(),
            account_proof: self.accounts.proof(path)?,
            storage_proof,
        })
    }
}
