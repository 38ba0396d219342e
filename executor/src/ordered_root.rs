//! The root of a trie over a list: index to item, all of it at once, as a block header commits to
//! transactions and receipts. Leaves are hashed together, then the branches of each level.
//!
//! `alloy_trie::root::ordered_trie_root_with_encoder` is the same one node at a time; it is what this
//! is compared with, and what runs without std. Not for tries that change: see the arena.

use crate::keccak::{Backend, Batch};
use alloy_primitives::{B256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieMask,
    nodes::{BranchNodeRef, ExtensionNodeRef, LeafNodeRef, RlpNode},
};
use std::vec::Vec;

/// A key, the RLP of an index, has at most 9 bytes; a branch is above its last nibble.
const LEVELS: usize = 18;

/// A node, known by its index among the others.
struct Node {
    /// A key below it.
    key: Nibbles,
    /// Depth of the place where it hangs.
    from: usize,
    shape: Shape,
    reference: RlpNode,
}

enum Shape {
    Leaf {
        item: usize,
    },
    /// Children are the nodes before it, of the number of bits in the mask, in order.
    Branch {
        depth: usize,
        mask: TrieMask,
        children: Vec<usize>,
    },
}

/// Root of the trie over `count` items; `encode` appends one of them.
pub(crate) fn ordered_root(
    backend: Backend,
    count: usize,
    mut encode: impl FnMut(usize, &mut Vec<u8>),
) -> Option<B256> {
    let mut batch = Batch::new(backend)?;
    let mut keys: Vec<_> = (0..count)
        .map(|item| (Nibbles::unpack(alloy_rlp::encode_fixed_size(&item)), item))
        .collect();
    keys.sort_unstable();
    if keys.is_empty() {
        return Some(EMPTY_ROOT_HASH);
    }
    let mut nodes = Vec::with_capacity(count + count / 8 + 1);
    let mut levels = [const { Vec::new() }; LEVELS];
    let root = build(&keys, 0, &mut nodes, &mut levels);
    let (mut value, mut message) = (Vec::new(), Vec::new());
    for index in 0..nodes.len() {
        let Shape::Leaf { item } = nodes[index].shape else { continue };
        value.clear();
        message.clear();
        encode(item, &mut value);
        let path = nodes[index].key.slice(nodes[index].from..);
        LeafNodeRef::new(&path, &value).encode(&mut message);
        submit(&mut batch, &mut nodes, index, &message);
    }
    finish(&mut batch, &mut nodes);
    for level in levels.iter().rev() {
        hash_level(level, &mut nodes, &mut batch, &mut message);
    }
    let root = &nodes[root].reference;
    Some(root.as_hash().unwrap_or_else(|| keccak256(root.as_slice())))
}

/// Makes the nodes over these keys, which share `from` nibbles; returns the index of the uppermost.
fn build(
    keys: &[(Nibbles, usize)],
    from: usize,
    nodes: &mut Vec<Node>,
    levels: &mut [Vec<usize>; LEVELS],
) -> usize {
    let (first, item) = keys[0];
    let shape = if keys.len() == 1 {
        Shape::Leaf { item }
    } else {
        // Keys are in order, so what the first and the last share, all share. None is the start of
        // another one, so all of them go on.
        let depth = first.common_prefix_length(&keys[keys.len() - 1].0);
        let nibble = |key: &Nibbles| key.get_unchecked(depth);
        let mut mask = TrieMask::default();
        let mut children = Vec::with_capacity(16);
        for chunk in keys.chunk_by(|(a, _), (b, _)| nibble(a) == nibble(b)) {
            mask.set_bit(nibble(&chunk[0].0));
            children.push(build(chunk, depth + 1, nodes, levels));
        }
        levels[depth].push(nodes.len());
        Shape::Branch { depth, mask, children }
    };
    nodes.push(Node { key: first, from, shape, reference: RlpNode::default() });
    nodes.len() - 1
}

/// Hashes branches of one depth, and the extensions that lead to them.
fn hash_level(
    level: &[usize],
    nodes: &mut [Node],
    batch: &mut Batch<usize>,
    message: &mut Vec<u8>,
) {
    let mut stack = Vec::with_capacity(16);
    for &index in level {
        let Shape::Branch { mask, children, .. } = &nodes[index].shape else { continue };
        stack.clear();
        stack.extend(children.iter().map(|child| nodes[*child].reference.clone()));
        message.clear();
        BranchNodeRef::new(&stack, *mask).encode(message);
        submit(batch, nodes, index, message);
    }
    finish(batch, nodes);
    for &index in level {
        let Node { key, from, shape: Shape::Branch { depth, .. }, reference } = &nodes[index]
        else {
            continue;
        };
        if depth > from {
            message.clear();
            ExtensionNodeRef::new(&key.slice(*from..*depth), reference).encode(message);
            submit(batch, nodes, index, message);
        }
    }
    finish(batch, nodes);
}

/// Sets the reference of the node that `message` encodes: the node itself while it is short.
fn submit(batch: &mut Batch<usize>, nodes: &mut [Node], index: usize, message: &[u8]) {
    match RlpNode::from_raw(message) {
        Some(embedded) if message.len() < 32 => nodes[index].reference = embedded,
        _ => batch.push(index, message, &mut |index, hash| set(nodes, index, hash)),
    }
}

fn finish(batch: &mut Batch<usize>, nodes: &mut [Node]) {
    batch.finish(&mut |index, hash| set(nodes, index, hash));
}

fn set(nodes: &mut [Node], index: usize, hash: B256) {
    nodes[index].reference = RlpNode::word_rlp(&hash);
}
