//! What the arena is compared with: alloy-trie's hash builder as reth drives it.
//!
//! Of every branch node that has branches below it, the masks and the hashes of those are stored. To
//! bring the root up to date, one walks down the stored nodes: a subtree without changed key is taken
//! over by its hash, the leaves of the others are read from flat state again, and what the builder
//! says of the nodes on the way replaces what was stored. All of it is in memory: a database would
//! only be slower.

use alloy_primitives::{B256, map::HashMap};
use alloy_trie::{BranchNodeCompact, HashBuilder, Nibbles};
use std::collections::BTreeMap;

/// A value of flat state.
pub(crate) trait Value {
    /// Appends the RLP of its leaf.
    fn encode_leaf(&self, out: &mut Vec<u8>);
}

/// A trie: flat state and stored branch nodes.
#[derive(Debug)]
pub(crate) struct Baseline<V> {
    /// By hashed key. The owner changes it before it asks for the root.
    pub(crate) flat: BTreeMap<B256, V>,
    nodes: HashMap<Nibbles, BranchNodeCompact>,
    root: B256,
}

/// One way down.
struct Walk<'t, V> {
    flat: &'t BTreeMap<B256, V>,
    nodes: &'t HashMap<Nibbles, BranchNodeCompact>,
    builder: HashBuilder,
    visited: Vec<Nibbles>,
    value: Vec<u8>,
}

impl<V: Value> Baseline<V> {
    /// A trie over all of `flat`.
    pub(crate) fn new(flat: BTreeMap<B256, V>) -> Self {
        let mut trie = Self { flat, nodes: HashMap::default(), root: B256::ZERO };
        trie.update(&[Nibbles::default()]);
        trie
    }

    pub(crate) fn root(&self) -> B256 {
        self.root
    }

    /// Does again what making it took, for the clock.
    pub(crate) fn rebuild(&self) -> B256 {
        let nodes = HashMap::default();
        let mut walk = Walk::new(self, &nodes);
        walk.down(Nibbles::default(), &[]);
        walk.builder.root()
    }

    /// The root after these keys of `flat`, in order, have changed, come or gone.
    pub(crate) fn update(&mut self, changed: &[Nibbles]) -> B256 {
        let mut walk = Walk::new(self, &self.nodes);
        walk.down(Nibbles::default(), changed);
        let (mut builder, visited) = (walk.builder, walk.visited);
        self.root = builder.root();
        let (_, updates) = builder.split();
        for path in visited {
            self.nodes.remove(&path);
        }
        self.nodes.extend(updates);
        self.root
    }
}

impl<'t, V: Value> Walk<'t, V> {
    fn new(trie: &'t Baseline<V>, nodes: &'t HashMap<Nibbles, BranchNodeCompact>) -> Self {
        let builder = HashBuilder::default().with_updates(true);
        Self { flat: &trie.flat, nodes, builder, visited: Vec::new(), value: Vec::new() }
    }

    /// Adds all that is below `path`; all of `changed` is.
    fn down(&mut self, path: Nibbles, mut changed: &[Nibbles]) {
        let Some(node) = self.nodes.get(&path) else { return self.leaves(path) };
        self.visited.push(path);
        for nibble in 0..16 {
            let inside = changed.partition_point(|key| key.get_unchecked(path.len()) <= nibble);
            let (inside, rest) = changed.split_at(inside);
            changed = rest;
            let mut child = path;
            child.push_unchecked(nibble);
            let is_branch = node.hash_mask.is_bit_set(nibble);
            let is_stored = node.tree_mask.is_bit_set(nibble);
            match (inside.is_empty(), is_branch) {
                (true, true) => {
                    let hash = node.hash_for_nibble(nibble);
                    self.builder.add_branch(child, hash, is_stored);
                }
                (false, true) if is_stored => self.down(child, inside),
                (true, false) if !node.state_mask.is_bit_set(nibble) => {}
                // A leaf, a branch over leaves, or, seldom, an extension.
                _ => self.leaves(child),
            }
        }
    }

    /// Adds all leaves below `path`.
    fn leaves(&mut self, path: Nibbles) {
        let end = |fill: u8| {
            let mut key = B256::repeat_byte(fill << 4 | fill);
            for (at, nibble) in path.to_vec().into_iter().enumerate() {
                let byte = &mut key[at / 2];
                *byte = if at % 2 == 0 { *byte & 15 | nibble << 4 } else { *byte & 0xf0 | nibble };
            }
            key
        };
        for (key, value) in self.flat.range(end(0)..=end(15)) {
            self.value.clear();
            value.encode_leaf(&mut self.value);
            self.builder.add_leaf_unchecked(Nibbles::unpack(key), &self.value);
        }
    }
}
