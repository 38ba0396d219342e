//! The nodes above the shards. They are made anew for every root: there are at most 17.
//!
//! Each shard tells its uppermost node in a form that can be put below any path. So it does not
//! matter here whether a shard is in memory, and when only one shard has accounts, its uppermost node
//! is that of the whole trie.

use super::{
    encode,
    key::{common, nibble},
    shard::{Kind, Shard},
    slot::Slot,
};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use std::{ops::Range, vec::Vec};

/// The uppermost node of a shard. Every node of the accounts trie is known by its hash: an account
/// alone has more than 64 bytes.
#[derive(Clone, Debug)]
pub(super) struct Top {
    /// A key of the shard.
    key: B256,
    node: TopNode,
    /// The node's hash when it hangs where the shard does.
    pub(super) hash: B256,
}

#[derive(Clone, Debug)]
enum TopNode {
    /// The only account, as RLP.
    Leaf {
        value: Vec<u8>,
    },
    Branch {
        depth: u8,
        hash: B256,
    },
}

impl Top {
    /// That of a hashed shard which hangs at `depth`; `None` when it is empty.
    pub(super) fn of(shard: &Shard, depth: u8) -> Option<Self> {
        let child = shard.nodes.child(shard.root);
        let link = child.link();
        if link.is_empty() {
            return None;
        }
        let key = *shard.key_below(Kind::Accounts, link);
        let node = if link.is_leaf() {
            let mut value = Vec::new();
            shard.put_account(link.index(), &mut value);
            TopNode::Leaf { value }
        } else {
            let branch = shard.nodes.branch(link);
            let hash = if branch.depth == depth { child.hash() } else { shard.branch_hash(link) };
            TopNode::Branch { depth: branch.depth, hash }
        };
        Some(Self { key, node, hash: child.hash() })
    }

    /// The node's hash when it hangs at another depth.
    fn hash_at(&self, from: u8) -> B256 {
        let mut encoded = Vec::new();
        match &self.node {
            TopNode::Leaf { value } => encode::leaf(&mut encoded, &self.key, from, value),
            TopNode::Branch { depth, hash } => return below(&self.key, (from, *depth), *hash),
        }
        keccak256(encoded)
    }
}

/// The hash of a branch, or of the extension that leads to it.
fn below(key: &B256, span: (u8, u8), hash: B256) -> B256 {
    if span.0 == span.1 { hash } else { keccak256(extension(key, span, hash)) }
}

fn extension(key: &B256, span: (u8, u8), hash: B256) -> Vec<u8> {
    let mut encoded = Vec::new();
    encode::extension(&mut encoded, key, span, 33, |out| put_hash(hash, out));
    encoded
}

fn put_hash(hash: B256, out: &mut Vec<u8>) {
    out.push(0xa0);
    out.extend_from_slice(hash.as_slice());
}

/// Where the way to a key leaves the crown.
#[derive(Debug)]
pub(super) enum Exit {
    /// The key is not in the trie.
    Absent,
    /// At the uppermost node of this shard, which hangs at a depth. It need not be the key's shard.
    Shard { index: usize, depth: u8 },
}

/// What lies above the shards. `depth` is the number of nibbles that tell them apart.
pub(super) struct Crown<'s> {
    pub(super) depth: u8,
    pub(super) slots: &'s [Slot],
}

/// A part of the crown.
pub(super) enum Node {
    Empty,
    Shard(usize),
    Fork(Fork),
}

pub(super) struct Fork {
    pub(super) depth: u8,
    /// A shard below it.
    shard: usize,
    pub(super) mask: u16,
    /// Those of its children, in order of their nibbles.
    pub(super) hashes: Vec<B256>,
}

impl Fork {
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut encoded = Vec::new();
        let items_bytes = self.hashes.len() * 33;
        encode::branch(&mut encoded, self.mask, items_bytes, &self.hashes, |hash, out| {
            put_hash(*hash, out);
        });
        encoded
    }
}

impl<'s> Crown<'s> {
    fn top(&self, shard: usize) -> Option<&'s Top> {
        self.slots[shard].top.as_ref()
    }

    /// The root of the whole trie.
    pub(super) fn root(&self) -> B256 {
        let node = self.node(0..self.slots.len(), 0);
        self.hash_at(&node, 0).unwrap_or(EMPTY_ROOT_HASH)
    }

    /// The encoded nodes on the way to a key, and where it goes on.
    pub(super) fn descend(&self, key: &B256, proof: &mut Vec<Bytes>) -> Exit {
        let (mut shards, mut from) = (0..self.slots.len(), 0);
        loop {
            let fork = match self.node(shards.clone(), from) {
                Node::Empty => return Exit::Absent,
                Node::Shard(index) => return Exit::Shard { index, depth: from },
                Node::Fork(fork) => fork,
            };
            let encoded = fork.encoded();
            if fork.depth > from {
                let Some(top) = self.top(fork.shard) else { return Exit::Absent };
                let span = (from, fork.depth);
                proof.push(extension(&top.key, span, keccak256(&encoded)).into());
                if common(key, &top.key) < fork.depth {
                    return Exit::Absent;
                }
            }
            proof.push(encoded.into());
            from = fork.depth + 1;
            shards = self.sharing(key, from);
        }
    }

    /// The shards whose keys share so many nibbles with this one.
    pub(super) fn sharing(&self, key: &B256, nibbles: u8) -> Range<usize> {
        let width = self.slots.len() >> (4 * nibbles);
        let within = (0..nibbles).fold(0, |within, at| within << 4 | usize::from(nibble(key, at)));
        within * width..(within + 1) * width
    }

    /// A key below a fork.
    pub(super) fn key_below(&self, fork: &Fork) -> Option<&'s B256> {
        self.top(fork.shard).map(|top| &top.key)
    }

    /// The node over these shards, all those that share `depth` nibbles.
    pub(super) fn node(&self, shards: Range<usize>, depth: u8) -> Node {
        if depth == self.depth {
            let has_accounts = self.top(shards.start).is_some();
            return if has_accounts { Node::Shard(shards.start) } else { Node::Empty };
        }
        let width = shards.len() / 16;
        let part = |nibble: usize| {
            let start = shards.start + nibble * width;
            self.node(start..start + width, depth + 1)
        };
        let mut fork = Fork { depth, shard: 0, mask: 0, hashes: Vec::with_capacity(16) };
        let mut last = Node::Empty;
        for nibble in 0..16 {
            let node = part(nibble);
            if let Some(hash) = self.hash_at(&node, depth + 1) {
                fork.mask |= 1 << nibble;
                fork.hashes.push(hash);
                last = node;
            }
        }
        match (&last, fork.hashes.len()) {
            (_, 0 | 1) => last,
            (Node::Shard(shard) | Node::Fork(Fork { shard, .. }), _) => {
                Node::Fork(Fork { shard: *shard, ..fork })
            }
            (Node::Empty, _) => Node::Empty,
        }
    }

    /// The hash of a node that hangs at depth `from`.
    fn hash_at(&self, node: &Node, from: u8) -> Option<B256> {
        match node {
            Node::Empty => None,
            Node::Shard(index) => {
                let top = self.top(*index)?;
                Some(if from == self.depth { top.hash } else { top.hash_at(from) })
            }
            Node::Fork(fork) => {
                let top = self.top(fork.shard)?;
                Some(below(&top.key, (from, fork.depth), keccak256(fork.encoded())))
            }
        }
    }
}
