//! Nodes put together from outside, for who knows all references already: nothing is hashed here, and
//! nothing is checked.

use super::{Cell, Link, Node, Trie};
use alloc::{boxed::Box, sync::Arc};
use alloy_trie::{Nibbles, nodes::RlpNode};

/// A node, what is known below it, and its reference.
pub(in crate::state) struct Part<V>(Link<V>);

impl<V> Part<V> {
    fn new(node: Node<V>, reference: RlpNode) -> Self {
        Self(Arc::new(Cell { node, reference: Some(reference) }))
    }

    /// A node known by its reference alone.
    pub(in crate::state) fn blind(reference: RlpNode) -> Self {
        Self::new(Node::Blind, reference)
    }

    pub(in crate::state) fn leaf(path: Nibbles, value: V, reference: RlpNode) -> Self {
        Self::new(Node::Leaf { path, value }, reference)
    }

    /// `branch` is one, or blind.
    pub(in crate::state) fn extension(path: Nibbles, branch: Self, reference: RlpNode) -> Self {
        Self::new(Node::Extension { path, child: branch.0 }, reference)
    }

    /// Children by their nibbles: two or more.
    pub(in crate::state) fn branch(
        children: impl IntoIterator<Item = (u8, Self)>,
        reference: RlpNode,
    ) -> Self {
        let mut links: Box<[Option<Link<V>>; 16]> = Box::default();
        for (nibble, child) in children {
            links[usize::from(nibble)] = Some(child.0);
        }
        Self::new(Node::Branch(links), reference)
    }
}

impl<V> Trie<V> {
    /// The trie that hangs from this node; `None` for the empty one.
    pub(in crate::state) fn of_part(root: Option<Part<V>>) -> Self {
        Self(root.map(|part| part.0))
    }
}
