//! Merkle proofs out of the arena: the encoded nodes from a root towards a key, as far as they go.

use super::{
    ArenaError, StateArena,
    crown::Exit,
    encode,
    key::{common, nibble},
    link::{HASHED_BYTES_MIN, Link},
    shard::{Kind, Shard},
};
use crate::state::{Account, AccountProof, SlotProof};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use std::vec::Vec;

/// Proof of an account and some of its slots by hashed keys; see [`AccountProof`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedProof {
    /// The account, if there is one.
    pub account: Option<Account>,
    /// Root of its storage trie.
    pub storage_root: B256,
    /// RLP nodes of the account's path.
    pub account_nodes: Vec<Bytes>,
    /// Value and RLP nodes of the path of every slot, in the order of the request.
    pub slots: Vec<(U256, Vec<Bytes>)>,
}

impl StateArena {
    /// Merkle proofs of an account and of `slots` in its storage, of presence or absence.
    ///
    /// # Errors
    /// [`ArenaError`] when an evicted shard cannot be read back.
    pub fn account_proof(
        &mut self,
        address: Address,
        slots: &[U256],
    ) -> Result<AccountProof, ArenaError> {
        let hashed = slots.iter().map(|slot| keccak256(slot.to_be_bytes::<32>()));
        let proof = self.hashed_proof(keccak256(address), &hashed.collect::<Vec<_>>())?;
        let storage_proof = slots.iter().zip(proof.slots);
        Ok(AccountProof {
            address,
            account: proof.account.unwrap_or_default(),
            storage_hash: proof.storage_root,
            account_proof: proof.account_nodes,
            storage_proof: storage_proof
                .map(|(slot, (value, proof))| SlotProof { slot: *slot, value, proof })
                .collect(),
        })
    }

    /// The same by hashed keys.
    ///
    /// # Errors
    /// [`ArenaError`] when an evicted shard cannot be read back.
    pub fn hashed_proof(
        &mut self,
        hashed_address: B256,
        hashed_slots: &[B256],
    ) -> Result<HashedProof, ArenaError> {
        let mut proof = HashedProof {
            account: None,
            storage_root: EMPTY_ROOT_HASH,
            account_nodes: Vec::new(),
            slots: hashed_slots.iter().map(|_| (U256::ZERO, Vec::new())).collect(),
        };
        let exit = self.crown().descend(&hashed_address, &mut proof.account_nodes);
        let Exit::Shard { index, depth } = exit else { return Ok(proof) };
        let shard = self.resident(index)?;
        let accounts = (Kind::Accounts, shard.root, depth);
        shard.prove(accounts, &hashed_address, &mut proof.account_nodes);
        let Some(leaf) = shard.find(&hashed_address) else { return Ok(proof) };
        proof.account = Some(shard.account(leaf));
        proof.storage_root = shard.storage_root(leaf);
        let Some(place) = shard.storage_place(leaf) else { return Ok(proof) };
        for (slot, (value, nodes)) in hashed_slots.iter().zip(&mut proof.slots) {
            *value = shard.slot(place, slot).into();
            shard.prove((Kind::Storage, place, 0), slot, nodes);
        }
        Ok(proof)
    }
}

impl Shard {
    /// Appends the nodes from the one at a place and depth towards `key`. A node that is contained in
    /// the one above it is not repeated.
    fn prove(
        &self,
        (kind, mut place, mut from): (Kind, u32, u8),
        key: &B256,
        proof: &mut Vec<Bytes>,
    ) {
        let mut push = |encoded: Vec<u8>| {
            if proof.is_empty() || encoded.len() >= HASHED_BYTES_MIN {
                proof.push(encoded.into());
            }
        };
        loop {
            let link = self.nodes.child(place).link();
            if link.is_empty() {
                return;
            }
            let mut encoded = Vec::new();
            if link.is_leaf() {
                self.put_leaf((kind, link.index()), from, &mut Vec::new(), &mut encoded);
                return push(encoded);
            }
            let depth = self.nodes.branch(link).depth;
            self.nodes.put_branch(link, &mut encoded);
            if depth > from {
                let other = self.key_below(kind, link);
                push(extension(other, (from, depth), &encoded));
                if common(key, other) < depth {
                    return;
                }
            }
            push(encoded);
            let Some(next) = self.nodes.branch(link).place(nibble(key, depth)) else { return };
            (place, from) = (next, depth + 1);
        }
    }

    /// The hash of a branch without the extension that leads to it.
    pub(super) fn branch_hash(&self, link: Link) -> B256 {
        let mut encoded = Vec::new();
        self.nodes.put_branch(link, &mut encoded);
        keccak256(encoded)
    }
}

/// The extension that leads to a branch.
fn extension(key: &B256, span: (u8, u8), branch: &[u8]) -> Vec<u8> {
    let mut item = Vec::new();
    if branch.len() < HASHED_BYTES_MIN {
        item.extend_from_slice(branch);
    } else {
        item.push(0xa0);
        item.extend_from_slice(keccak256(branch).as_slice());
    }
    let mut encoded = Vec::new();
    encode::extension(&mut encoded, key, span, item.len(), |out| out.extend_from_slice(&item));
    encoded
}
