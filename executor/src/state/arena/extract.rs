//! A part of the arena's state as a persistent trie: the way from the one to the other.
//!
//! Every node is visited once, and its reference taken over as it is. Hashed are only the keys, and
//! the branches below extensions, whose references the arena does not keep. What is needed is told by
//! [`wanted`](super::wanted).

use super::{
    ArenaError, StateArena,
    crown::Node,
    key::{NIBBLES, set_nibble},
    nodes::{Branch, Leaf},
    shard::{Kind, Shard},
    wanted::{Want, Wanted, along, split},
};
use crate::state::{AccountLeaf, Part, Reads, StateDiff, StateTrie};
use alloy_primitives::{B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, nodes::RlpNode};
use std::{ops::Range, vec::Vec};

impl StateArena {
    /// The part of the state that reading `reads`, proving it and applying `diff` need; the rest is
    /// known by its hash alone. The root is the arena's, and [`StateTrie::witness`] of the same
    /// `reads` and `diff` is that of the whole trie.
    ///
    /// Slots of accounts that `diff` removes or wipes are there only if they are in `reads`.
    ///
    /// # Errors
    /// [`ArenaError`] when an evicted shard cannot be read back.
    pub fn trie_for(&mut self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ArenaError> {
        self.trie_of(&Wanted::new(reads, &[diff]))
    }

    /// The same for keys that are hashed already, and for more than one change.
    ///
    /// # Errors
    /// [`ArenaError`] when an evicted shard cannot be read back.
    pub fn trie_of(&mut self, wanted: &Wanted) -> Result<StateTrie, ArenaError> {
        if self.root == EMPTY_ROOT_HASH {
            return Ok(StateTrie::default());
        }
        let wants = Some(&wanted.accounts[..]).filter(|wants| !wants.is_empty());
        let part = self.part((0..self.slots.len(), 0), self.root, wants, &wanted.slots)?;
        Ok(StateTrie::of_part(self.root, Some(part)))
    }

    /// The node over these shards, which hangs at a depth, and what is wanted below it.
    fn part(
        &mut self,
        (shards, from): (Range<usize>, u8),
        hash: B256,
        wants: Option<&[Want]>,
        slots: &[Want],
    ) -> Result<Part<AccountLeaf>, ArenaError> {
        let reference = RlpNode::word_rlp(&hash);
        let Some(wants) = wants else { return Ok(Part::blind(reference)) };
        let fork = match self.crown().node(shards, from) {
            Node::Empty => return Ok(Part::blind(reference)),
            Node::Shard(index) => {
                let shard = self.resident(index)?;
                return Ok(shard.accounts_part(from, reference, wants, slots));
            }
            Node::Fork(fork) => fork,
        };
        let Some(key) = self.crown().key_below(&fork).copied() else {
            return Ok(Part::blind(reference));
        };
        let depth = fork.depth;
        let is_extended = depth > from;
        let wants = if is_extended { along(wants, &key, depth) } else { wants };
        let mut children = Vec::with_capacity(fork.hashes.len());
        for ((nibble, wants), hash) in split(wants, depth, fork.mask).zip(&fork.hashes) {
            let mut path = key;
            set_nibble(&mut path, depth, nibble);
            let shards = self.crown().sharing(&path, depth + 1);
            children.push((nibble, self.part((shards, depth + 1), *hash, wants, slots)?));
        }
        if !is_extended {
            return Ok(Part::branch(children, reference));
        }
        let branch = Part::branch(children, RlpNode::word_rlp(&keccak256(fork.encoded())));
        Ok(Part::extension(path(&key, from, depth), branch, reference))
    }
}

impl Shard {
    /// The accounts of this shard, which hangs at depth `from`; with their storage, as far as it is
    /// wanted.
    fn accounts_part(
        &self,
        from: u8,
        reference: RlpNode,
        wants: &[Want],
        slots: &[Want],
    ) -> Part<AccountLeaf> {
        let leaf = |index: u32, wants: &[Want]| {
            let key = self.accounts.get(index).key();
            let want = wants.binary_search_by_key(key, |want| want.key);
            let slots = want.map_or(&slots[..0], |want| &slots[wants[want].slots.clone()]);
            AccountLeaf::new(self.account(index), self.storage_part(index, slots))
        };
        self.part((Kind::Accounts, self.root, from), reference, Some(wants), &leaf)
    }

    /// The storage of an account; `None` where there is none.
    fn storage_part(&self, account: u32, wants: &[Want]) -> Option<Part<U256>> {
        let place = self.storage_place(account)?;
        let reference = self.nodes.child(place).to_rlp();
        let wants = Some(wants).filter(|wants| !wants.is_empty());
        let leaf = |index: u32, _: &[Want]| self.slots.get(index).value.into();
        Some(self.part((Kind::Storage, place, 0), reference, wants, &leaf))
    }

    /// The node at a place and depth, and what is wanted below it. `leaf` makes a leaf's value from
    /// its index and the wants whose ways lead to it.
    fn part<V>(
        &self,
        (kind, place, from): (Kind, u32, u8),
        reference: RlpNode,
        wants: Option<&[Want]>,
        leaf: &impl Fn(u32, &[Want]) -> V,
    ) -> Part<V> {
        let Some(wants) = wants else { return Part::blind(reference) };
        let link = self.nodes.child(place).link();
        if link.is_leaf() {
            let path = path(self.key_below(kind, link), from, NIBBLES);
            return Part::leaf(path, leaf(link.index(), wants), reference);
        }
        let branch = self.nodes.branch(link);
        if branch.depth == from {
            return self.branch_part((kind, branch), reference, wants, leaf);
        }
        let key = self.key_below(kind, link);
        let wants = along(wants, key, branch.depth);
        let mut encoded = Vec::new();
        self.nodes.put_branch(link, &mut encoded);
        let own = RlpNode::from_rlp(&encoded);
        let below = if wants.is_empty() {
            // An extension says by itself where it leads, and what becomes of it beside the way.
            Part::blind(own)
        } else {
            self.branch_part((kind, branch), own, wants, leaf)
        };
        Part::extension(path(key, from, branch.depth), below, reference)
    }

    fn branch_part<V>(
        &self,
        (kind, branch): (Kind, Branch),
        reference: RlpNode,
        wants: &[Want],
        leaf: &impl Fn(u32, &[Want]) -> V,
    ) -> Part<V> {
        let children = branch.places().zip(split(wants, branch.depth, branch.mask));
        let children = children.map(|(place, (nibble, wants))| {
            let reference = self.nodes.child(place).to_rlp();
            (nibble, self.part((kind, place, branch.depth + 1), reference, wants, leaf))
        });
        Part::branch(children, reference)
    }
}

/// The nibbles of a key from one depth to another.
fn path(key: &B256, from: u8, to: u8) -> Nibbles {
    Nibbles::unpack_array(&key.0).slice_unchecked(usize::from(from), usize::from(to))
}
