//! One Merkle-Patricia trie with fixed-length keys: insert, remove with branch collapse, references,
//! proofs. Knows nothing of accounts.

#[cfg(feature = "std")]
mod part;

#[cfg(feature = "std")]
pub(in crate::state) use part::Part;

use crate::{error::ViewError, state::WitnessError};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use alloy_primitives::{
    B256, Bytes, keccak256,
    map::{B256Map, HashMap},
};
use alloy_rlp::Decodable;
use alloy_trie::{
    EMPTY_ROOT_HASH, Nibbles, TrieMask,
    nodes::{
        BranchNodeRef, ExtensionNode, ExtensionNodeRef, LeafNode, LeafNodeRef, RlpNode, TrieNode,
    },
};
use core::mem;

/// What a leaf holds. Encoding may complete cached parts of it, such as a nested trie's root.
pub(super) trait LeafValue: Clone {
    /// Appends the value's RLP.
    fn encode_leaf(&mut self, out: &mut Vec<u8>);
}

type Link<V> = Arc<Cell<V>>;

#[derive(Clone, Debug)]
struct Cell<V> {
    node: Node<V>,
    /// Encoded node, or its hash; `None` after a change until the next commit.
    reference: Option<RlpNode>,
}

#[derive(Clone, Debug)]
enum Node<V> {
    Leaf {
        path: Nibbles,
        value: V,
    },
    Extension {
        path: Nibbles,
        child: Link<V>,
    },
    Branch(Box<[Option<Link<V>>; 16]>),
    /// Known by its reference alone.
    Blind,
}

impl<V> Node<V> {
    fn into_link(self) -> Link<V> {
        Arc::new(Cell { node: self, reference: None })
    }

    /// This node below a longer path.
    fn prefixed(self, prefix: Nibbles) -> Self {
        match self {
            Self::Leaf { path, value } => Self::Leaf { path: prefix.join(&path), value },
            Self::Extension { path, child } => Self::Extension { path: prefix.join(&path), child },
            node if prefix.is_empty() => node,
            node => Self::Extension { path: prefix, child: node.into_link() },
        }
    }
}

/// A trie; cloning it is a reference count.
#[derive(Clone, Debug)]
pub(super) struct Trie<V>(Option<Link<V>>);

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self(None)
    }
}

enum Removal {
    Shrunk,
    Emptied,
}

/// Nodes of the trie before any change, beside the paths of removed keys, that decided the shape of
/// what remains.
pub(super) struct Siblings<V>(Vec<Link<V>>);

impl<V> Default for Siblings<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: LeafValue> Siblings<V> {
    /// Adds them by their hash.
    pub(super) fn collect(&self, nodes: &mut B256Map<Bytes>) {
        self.0.iter().for_each(|cell| cell.collect(nodes));
    }
}

impl<V: LeafValue> Cell<V> {
    fn encoded(&self) -> Bytes {
        let mut encoded = Vec::new();
        // Children of a committed node have references, so this encodes one node only.
        encode(&mut self.node.clone(), &mut encoded);
        encoded.into()
    }

    /// Adds this node by its hash, if it is committed and not embedded in its parent.
    fn collect(&self, nodes: &mut B256Map<Bytes>) {
        if let Some(hash) = self.reference.as_ref().and_then(RlpNode::as_hash) {
            nodes.entry(hash).or_insert_with(|| self.encoded());
        }
    }
}

impl<V: LeafValue> Trie<V> {
    pub(super) fn get(&self, path: Nibbles) -> Result<Option<&V>, ViewError> {
        let mut rest = path;
        let mut link = self.0.as_ref();
        while let Some(cell) = link {
            match &cell.node {
                Node::Leaf { path, value } => return Ok((*path == rest).then_some(value)),
                Node::Extension { path, child } => {
                    if !rest.starts_with(path) {
                        return Ok(None);
                    }
                    rest = rest.slice(path.len()..);
                    link = Some(child);
                }
                Node::Branch(children) => {
                    link = children[usize::from(rest.get_unchecked(0))].as_ref();
                    rest = rest.slice(1..);
                }
                Node::Blind => return Err(ViewError::MissingNode),
            }
        }
        Ok(None)
    }

    pub(super) fn insert(&mut self, path: Nibbles, value: V) -> Result<(), ViewError> {
        match &mut self.0 {
            Some(link) => insert(link, path, value),
            empty => {
                *empty = Some(Node::Leaf { path, value }.into_link());
                Ok(())
            }
        }
    }

    /// Removes a key; an absent one changes nothing.
    pub(super) fn remove(
        &mut self,
        path: Nibbles,
        siblings: &mut Siblings<V>,
    ) -> Result<(), ViewError> {
        if self.get(path)?.is_none() {
            return Ok(());
        }
        if let Some(link) = &mut self.0
            && let Removal::Emptied = remove(link, path, siblings)?
        {
            self.0 = None;
        }
        Ok(())
    }

    /// The part of the trie of `root` that the source holds, leaves decoded by `leaf`. Hashes cannot
    /// form a cycle, paths longer than a key are refused, and nodes that are reached on many paths
    /// are decoded once: this ends soon whatever the nodes are.
    pub(super) fn from_witness(
        root: B256,
        source: &mut Source<'_, V>,
        leaf: &mut impl FnMut(&[u8]) -> Result<V, WitnessError>,
    ) -> Result<Self, WitnessError> {
        if root == EMPTY_ROOT_HASH {
            return Ok(Self(None));
        }
        let link = link_of_witness(&RlpNode::word_rlp(&root), KEY_NIBBLES, source, leaf)?;
        Ok(Self(Some(link)))
    }

    /// Completes all references and returns the root.
    pub(super) fn commit(&mut self) -> B256 {
        if let Some(link) = &mut self.0 {
            reference(link, &mut Vec::new());
        }
        self.root()
    }

    /// Root of a committed trie.
    pub(super) fn root(&self) -> B256 {
        let reference = self.0.as_ref().and_then(|cell| cell.reference.as_ref());
        reference.map_or(EMPTY_ROOT_HASH, |reference| {
            reference.as_hash().unwrap_or_else(|| keccak256(reference.as_slice()))
        })
    }

    /// Encoded nodes from the root towards `path`; nodes embedded in their parent are not repeated.
    pub(super) fn proof(&self, path: Nibbles) -> Result<Vec<Bytes>, ViewError> {
        let mut proof = Vec::new();
        self.descend(path, |cell| {
            let encoded = cell.encoded();
            if proof.is_empty() || encoded.len() >= 32 {
                proof.push(encoded);
            }
        })?;
        Ok(proof)
    }

    /// Adds the nodes that [`Self::proof`] lists, by their hash.
    pub(super) fn collect(
        &self,
        path: Nibbles,
        nodes: &mut B256Map<Bytes>,
    ) -> Result<(), ViewError> {
        if let Some(root) = &self.0 {
            nodes.entry(self.root()).or_insert_with(|| root.encoded());
        }
        self.descend(path, |cell| cell.collect(nodes))
    }

    /// Visits the nodes of a committed trie from the root towards `path`, as far as they go.
    fn descend(&self, path: Nibbles, mut visit: impl FnMut(&Cell<V>)) -> Result<(), ViewError> {
        let mut rest = path;
        let mut link = self.0.as_ref();
        while let Some(cell) = link {
            if matches!(cell.node, Node::Blind) {
                return Err(ViewError::MissingNode);
            }
            visit(cell);
            match &cell.node {
                Node::Extension { path, child } if rest.starts_with(path) => {
                    rest = rest.slice(path.len()..);
                    link = Some(child);
                }
                Node::Branch(children) => {
                    link = children[usize::from(rest.get_unchecked(0))].as_ref();
                    rest = rest.slice(1..);
                }
                Node::Leaf { .. } | Node::Extension { .. } | Node::Blind => break,
            }
        }
        Ok(())
    }
}

/// Nibbles of a key: the keccak-256 of an address or slot.
const KEY_NIBBLES: usize = 64;

/// Nodes by their hash, and those decoded already, by hash and what remains of the key below them.
pub(super) struct Source<'n, V> {
    nodes: &'n B256Map<&'n Bytes>,
    decoded: HashMap<(B256, usize), Link<V>>,
}

impl<'n, V> Source<'n, V> {
    pub(super) fn new(nodes: &'n B256Map<&'n Bytes>) -> Self {
        Self { nodes, decoded: HashMap::default() }
    }
}

/// The node behind a reference, with everything known below it. `left` is what remains of the key.
fn link_of_witness<V: LeafValue>(
    reference: &RlpNode,
    left: usize,
    source: &mut Source<'_, V>,
    leaf: &mut impl FnMut(&[u8]) -> Result<V, WitnessError>,
) -> Result<Link<V>, WitnessError> {
    let cell = |node| Arc::new(Cell { node, reference: Some(reference.clone()) });
    let Some(hash) = reference.as_hash() else {
        return node_of_witness(reference.as_slice(), left, source, leaf).map(cell);
    };
    if let Some(link) = source.decoded.get(&(hash, left)) {
        return Ok(link.clone());
    }
    let link = match source.nodes.get(&hash).copied() {
        Some(encoded) => cell(node_of_witness(encoded, left, source, leaf)?),
        None => cell(Node::Blind),
    };
    source.decoded.insert((hash, left), link.clone());
    Ok(link)
}

fn node_of_witness<V: LeafValue>(
    mut encoded: &[u8],
    left: usize,
    source: &mut Source<'_, V>,
    leaf: &mut impl FnMut(&[u8]) -> Result<V, WitnessError>,
) -> Result<Node<V>, WitnessError> {
    let decoded = TrieNode::decode(&mut encoded).map_err(|_| WitnessError::Node)?;
    match decoded {
        TrieNode::Leaf(LeafNode { key, value, .. }) if key.len() == left => {
            Ok(Node::Leaf { path: key, value: leaf(&value)? })
        }
        TrieNode::Extension(ExtensionNode { key, child, .. })
            if !key.is_empty() && key.len() < left =>
        {
            let child = link_of_witness(&child, left - key.len(), source, leaf)?;
            Ok(Node::Extension { path: key, child })
        }
        TrieNode::Branch(branch) if left > 0 => {
            let mut children: Box<[Option<Link<V>>; 16]> = Box::default();
            for (nibble, child) in branch.as_ref().children() {
                if let Some(child) = child {
                    let link = link_of_witness(child, left - 1, source, leaf)?;
                    children[usize::from(nibble)] = Some(link);
                }
            }
            Ok(Node::Branch(children))
        }
        _ => Err(WitnessError::Node),
    }
}

fn branch_of<V>(children: [(u8, Link<V>); 2]) -> Node<V> {
    let mut slots: Box<[Option<Link<V>>; 16]> = Box::default();
    for (nibble, link) in children {
        slots[usize::from(nibble)] = Some(link);
    }
    Node::Branch(slots)
}

fn insert<V: LeafValue>(link: &mut Link<V>, path: Nibbles, value: V) -> Result<(), ViewError> {
    if matches!(link.node, Node::Blind) {
        return Err(ViewError::MissingNode);
    }
    let cell = Arc::make_mut(link);
    cell.reference = None;
    match &mut cell.node {
        Node::Branch(children) => {
            let child = &mut children[usize::from(path.get_unchecked(0))];
            let rest = path.slice(1..);
            match child {
                Some(child) => insert(child, rest, value),
                None => {
                    *child = Some(Node::Leaf { path: rest, value }.into_link());
                    Ok(())
                }
            }
        }
        Node::Extension { path: prefix, child } if path.starts_with(prefix) => {
            insert(child, path.slice(prefix.len()..), value)
        }
        Node::Leaf { path: own, value: own_value } if *own == path => {
            *own_value = value;
            Ok(())
        }
        node => {
            split(node, path, value);
            Ok(())
        }
    }
}

/// Puts a branch where the path of a leaf or extension and the new path part.
fn split<V>(node: &mut Node<V>, path: Nibbles, value: V) {
    let own_path = match node {
        Node::Leaf { path, .. } | Node::Extension { path, .. } => *path,
        Node::Branch(_) | Node::Blind => return,
    };
    let common = own_path.common_prefix_length(&path);
    let own_rest = own_path.slice(common + 1..);
    let moved = match mem::replace(node, Node::Blind) {
        Node::Leaf { value, .. } => Node::Leaf { path: own_rest, value }.into_link(),
        // An extension of one nibble leaves nothing: its branch moves up as it is.
        Node::Extension { child, .. } if own_rest.is_empty() => child,
        Node::Extension { child, .. } => Node::Extension { path: own_rest, child }.into_link(),
        Node::Branch(_) | Node::Blind => return,
    };
    let leaf = Node::Leaf { path: path.slice(common + 1..), value }.into_link();
    let branch =
        branch_of([(own_path.get_unchecked(common), moved), (path.get_unchecked(common), leaf)]);
    *node = branch.prefixed(own_path.slice(..common));
}

/// Removes a key that is present.
fn remove<V: LeafValue>(
    link: &mut Link<V>,
    path: Nibbles,
    siblings: &mut Siblings<V>,
) -> Result<Removal, ViewError> {
    let cell = Arc::make_mut(link);
    cell.reference = None;
    match &mut cell.node {
        Node::Leaf { .. } => return Ok(Removal::Emptied),
        Node::Blind => return Err(ViewError::MissingNode),
        Node::Extension { path: prefix, child } => {
            remove(child, path.slice(prefix.len()..), siblings)?;
            if !matches!(child.node, Node::Branch(_)) {
                let prefix = *prefix;
                let below = child.node.clone();
                cell.node = below.prefixed(prefix);
            }
        }
        Node::Branch(children) => {
            let child = &mut children[usize::from(path.get_unchecked(0))];
            if let Some(occupied) = child
                && let Removal::Emptied = remove(occupied, path.slice(1..), siblings)?
            {
                *child = None;
                if let Some(collapsed) = collapse(children, siblings)? {
                    cell.node = collapsed;
                }
            }
        }
    }
    Ok(Removal::Shrunk)
}

/// What a branch with a single child becomes; `None` while it has two or more.
fn collapse<V: LeafValue>(
    children: &mut [Option<Link<V>>; 16],
    siblings: &mut Siblings<V>,
) -> Result<Option<Node<V>>, ViewError> {
    let mut occupied = children.iter_mut().enumerate().filter(|(_, child)| child.is_some());
    let (Some((nibble, only)), None) = (occupied.next(), occupied.next()) else {
        return Ok(None);
    };
    let prefix = Nibbles::from_nibbles([u8::try_from(nibble).unwrap_or(0)]);
    let Some(child) = only.take() else {
        return Ok(None);
    };
    // One without reference is new, and may still be changed in place.
    if child.reference.is_some() {
        siblings.0.push(child.clone());
    }
    match &child.node {
        // Whether the child is a leaf decides the shape; its hash alone does not tell.
        Node::Blind => Err(ViewError::MissingNode),
        Node::Branch(_) => Ok(Some(Node::Extension { path: prefix, child })),
        Node::Leaf { .. } | Node::Extension { .. } => Ok(Some(child.node.clone().prefixed(prefix))),
    }
}

fn reference<V: LeafValue>(link: &mut Link<V>, buffer: &mut Vec<u8>) -> RlpNode {
    if let Some(reference) = &link.reference {
        return reference.clone();
    }
    let cell = Arc::make_mut(link);
    let start = buffer.len();
    encode(&mut cell.node, buffer);
    let reference = RlpNode::from_rlp(&buffer[start..]);
    buffer.truncate(start);
    cell.reference = Some(reference.clone());
    reference
}

/// Appends the RLP of one node, completing the references below it.
fn encode<V: LeafValue>(node: &mut Node<V>, out: &mut Vec<u8>) {
    match node {
        Node::Leaf { path, value } => {
            let mut encoded = Vec::new();
            value.encode_leaf(&mut encoded);
            LeafNodeRef { key: path, value: &encoded }.rlp(out);
        }
        Node::Extension { path, child } => {
            let child = reference(child, &mut Vec::new());
            ExtensionNodeRef::new(path, child.as_slice()).rlp(out);
        }
        Node::Branch(children) => {
            let mut stack = Vec::with_capacity(16);
            let mut mask = TrieMask::default();
            for (nibble, child) in (0u8..).zip(children.iter_mut()) {
                if let Some(child) = child {
                    stack.push(reference(child, &mut Vec::new()));
                    mask.set_bit(nibble);
                }
            }
            BranchNodeRef::new(&stack, mask).rlp(out);
        }
        // A blind node always has its reference, so it is never encoded.
        Node::Blind => {}
    }
}
