//! How a node is known to the node above it: by its place in the arena, and by its reference, the
//! hash or short encoding that the node above contains (Yellow Paper, appendix D).

use alloy_primitives::B256;
use alloy_trie::nodes::RlpNode;
use std::vec::Vec;

/// A leaf, a branch, or nothing, and whether its reference is up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link(u32);

impl Link {
    const LEAF: u32 = 1 << 31;
    const DIRTY: u32 = 1 << 30;
    const EMBEDDED: u32 = 1 << 29;
    const INDEX: u32 = Self::EMBEDDED - 1;
    /// Nothing: only a root is ever empty. No node has this index.
    pub(super) const EMPTY: Self = Self(Self::INDEX);

    /// A leaf without reference yet.
    pub(super) fn leaf(index: u32) -> Self {
        Self(index | Self::LEAF | Self::DIRTY)
    }

    /// A branch without reference yet.
    pub(super) fn branch(index: u32) -> Self {
        Self(index | Self::DIRTY)
    }

    pub(super) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }

    pub(super) fn is_leaf(self) -> bool {
        self.0 & Self::LEAF != 0
    }

    pub(super) fn is_dirty(self) -> bool {
        self.0 & Self::DIRTY != 0
    }

    pub(super) fn index(self) -> u32 {
        self.0 & Self::INDEX
    }
}

/// A reference to a node of fewer than 32 bytes is the node itself.
pub(super) const HASHED_BYTES_MIN: usize = 32;

/// A place that a node hangs on: under a branch, or at the root of a trie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    /// The hash, or an encoding of fewer than 32 bytes, which tells its own length.
    reference: [u8; 32],
    link: Link,
}

impl Child {
    pub(super) const EMPTY: Self = Self::new(Link::EMPTY);

    pub(super) const fn new(link: Link) -> Self {
        Self { reference: [0; 32], link }
    }

    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// The same node after a change to it, or to the path that leads to it.
    pub(super) fn changed(self) -> Self {
        Self { link: Link(self.link.0 | Link::DIRTY), ..self }
    }

    /// Notes that the node has changed.
    pub(super) fn touch(&mut self) {
        self.link.0 |= Link::DIRTY;
    }

    /// Sets the reference of a node that must be known by its hash, or is long enough.
    pub(super) fn set_hash(&mut self, hash: B256) {
        self.reference = hash.0;
        self.link.0 &= !(Link::DIRTY | Link::EMBEDDED);
    }

    /// Sets the reference of a node of fewer than 32 bytes.
    pub(super) fn embed(&mut self, encoded: &[u8]) {
        self.reference[..encoded.len()].copy_from_slice(encoded);
        self.link.0 = self.link.0 & !Link::DIRTY | Link::EMBEDDED;
    }

    /// The hash; meaningless for an embedded node.
    pub(super) fn hash(&self) -> B256 {
        B256::from(self.reference)
    }

    fn embedded(&self) -> Option<&[u8]> {
        // A list of fewer than 56 bytes: the first byte is 0xc0 and the length of what follows.
        let length = || usize::from(self.reference[0].wrapping_sub(0xbf));
        (self.link.0 & Link::EMBEDDED != 0).then(|| &self.reference[..length()])
    }

    /// The reference as the persistent trie keeps it.
    pub(super) fn to_rlp(self) -> RlpNode {
        let embedded = self.embedded().and_then(RlpNode::from_raw);
        embedded.unwrap_or_else(|| RlpNode::word_rlp(&self.hash()))
    }

    /// Bytes that the reference takes in the node above.
    pub(super) fn item_bytes(&self) -> usize {
        self.embedded().map_or(33, <[u8]>::len)
    }

    /// Appends the reference as an item of the node above.
    pub(super) fn put_item(&self, out: &mut Vec<u8>) {
        match self.embedded() {
            Some(encoded) => out.extend_from_slice(encoded),
            None => {
                out.push(0xa0);
                out.extend_from_slice(&self.reference);
            }
        }
    }
}
