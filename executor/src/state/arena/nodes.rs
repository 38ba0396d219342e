//! The shape of tries: branches and what hangs on them. Inserts and removes keys, and marks what must
//! be hashed again; does not hash, and does not know what a leaf holds besides its key.
//!
//! A branch knows its depth, not the path that leads to it: the path is that of any leaf below it, so
//! an extension needs no node of its own, and a branch that comes to lie deeper or higher below
//! another one stays as it is. A branch has at least two children.

use super::{
    key::{NIBBLES, common, nibble},
    link::{Child, Link},
    slab::{ITEMS_MAX, Runs, Slab},
};
use alloy_primitives::B256;
use std::vec::Vec;

/// What a leaf must tell.
pub(super) trait Leaf {
    fn key(&self) -> &B256;
}

/// A fork in the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch {
    /// Its children, in order of their nibbles, are a run that starts here.
    children: u32,
    /// A bit for each nibble that has a child.
    pub(super) mask: u16,
    /// Nibbles of the path to it.
    pub(super) depth: u8,
}

impl Branch {
    fn count(self) -> usize {
        self.mask.count_ones() as usize
    }

    /// How many children come before that of a nibble.
    fn rank(self, nibble: u8) -> u32 {
        (self.mask & ((1 << nibble) - 1)).count_ones()
    }

    fn has(self, nibble: u8) -> bool {
        self.mask >> nibble & 1 == 1
    }

    /// The place of a nibble's child.
    pub(super) fn place(self, nibble: u8) -> Option<u32> {
        self.has(nibble).then(|| self.children + self.rank(nibble))
    }

    /// The places of all children.
    pub(super) fn places(self) -> std::ops::Range<u32> {
        self.children..self.children + self.mask.count_ones()
    }
}

/// The branches of any number of tries.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    branches: Slab<Branch>,
    children: Runs<Child>,
}

/// Places passed on the way from a root to a leaf: at most one for each nibble, and the leaf's.
type Path = Vec<u32>;

impl Nodes {
    /// A new trie; returns the place of its root.
    pub(super) fn add_trie(&mut self) -> u32 {
        self.children.add(1, Child::EMPTY)
    }

    /// Gives back the root of an empty trie.
    pub(super) fn remove_trie(&mut self, root: u32) {
        *self.children.get_mut(root) = Child::EMPTY;
        self.children.remove(root, 1);
    }

    pub(super) fn child(&self, place: u32) -> &Child {
        self.children.get(place)
    }

    pub(super) fn child_mut(&mut self, place: u32) -> &mut Child {
        self.children.get_mut(place)
    }

    pub(super) fn branch(&self, link: Link) -> Branch {
        *self.branches.get(link.index())
    }

    pub(super) fn children(&self, branch: Branch) -> &[Child] {
        self.children.run(branch.children, branch.count())
    }

    /// A key below a node; it has the nibbles of the path to it.
    pub(super) fn key_below<'l, L: Leaf>(&self, mut link: Link, leaves: &'l Slab<L>) -> &'l B256 {
        while !link.is_leaf() {
            link = self.child(self.branch(link).children).link();
        }
        leaves.get(link.index()).key()
    }

    /// The leaf of a key.
    pub(super) fn find<L: Leaf>(&self, root: u32, key: &B256, leaves: &Slab<L>) -> Option<u32> {
        let mut link = self.child(root).link();
        while !link.is_empty() {
            if link.is_leaf() {
                return (leaves.get(link.index()).key() == key).then_some(link.index());
            }
            let branch = self.branch(link);
            link = self.child(branch.place(nibble(key, branch.depth))?).link();
        }
        None
    }

    /// The leaf of a key, new where there was none, and in any case about to change. `depth` is that
    /// of the root.
    pub(super) fn entry<L: Leaf>(
        &mut self,
        (root, mut depth): (u32, u8),
        key: &B256,
        leaves: &mut Slab<L>,
        new: impl FnOnce() -> L,
    ) -> u32 {
        let mut place = root;
        loop {
            let child = *self.child(place);
            let link = child.link();
            if link.is_empty() {
                let leaf = leaves.add(new());
                *self.child_mut(place) = Child::new(Link::leaf(leaf));
                return leaf;
            }
            if link.is_leaf() {
                let other = *leaves.get(link.index()).key();
                let shared = common(&other, key);
                if shared == NIBBLES {
                    self.child_mut(place).touch();
                    return link.index();
                }
                let leaf = leaves.add(new());
                self.fork(
                    place,
                    shared,
                    [(nibble(&other, shared), child), leaf_at(key, shared, leaf)],
                );
                return leaf;
            }
            let branch = self.branch(link);
            if branch.depth > depth {
                let other = *self.key_below(link, leaves);
                let shared = common(&other, key);
                if shared < branch.depth {
                    let leaf = leaves.add(new());
                    let old = (nibble(&other, shared), child);
                    self.fork(place, shared, [old, leaf_at(key, shared, leaf)]);
                    return leaf;
                }
            }
            self.child_mut(place).touch();
            let Some(next) = branch.place(nibble(key, branch.depth)) else {
                let leaf = leaves.add(new());
                self.grow(link, leaf_at(key, branch.depth, leaf));
                return leaf;
            };
            (place, depth) = (next, branch.depth + 1);
        }
    }

    /// Puts a branch with two children at a place.
    fn fork(&mut self, place: u32, depth: u8, [a, b]: [(u8, Child); 2]) {
        let run = self.children.add(2, Child::EMPTY);
        let (first, second) = if a.0 < b.0 { (a.1, b.1) } else { (b.1, a.1) };
        *self.children.get_mut(run) = first.changed();
        *self.children.get_mut(run + 1) = second.changed();
        let mask = 1 << a.0 | 1 << b.0;
        let branch = self.branches.add(Branch { children: run, mask, depth });
        *self.child_mut(place) = Child::new(Link::branch(branch));
    }

    /// Adds a child to a branch.
    fn grow(&mut self, link: Link, (nibble, child): (u8, Child)) {
        let branch = self.branches.get_mut(link.index());
        let rank = branch.rank(nibble) as usize;
        branch.children = self.children.insert(branch.children, branch.count(), rank, child);
        branch.mask |= 1 << nibble;
    }

    /// Removes a key; returns its leaf, which the caller takes out of `leaves`. A branch that would
    /// be left with one child makes room for it.
    pub(super) fn remove<L: Leaf>(
        &mut self,
        root: u32,
        key: &B256,
        leaves: &Slab<L>,
    ) -> Option<u32> {
        let leaf = self.find(root, key, leaves)?;
        let path = self.path(root, key);
        path.iter().for_each(|place| self.child_mut(*place).touch());
        let Some(place) = path.len().checked_sub(2).map(|last| path[last]) else {
            *self.child_mut(root) = Child::EMPTY;
            return Some(leaf);
        };
        let link = self.child(place).link();
        let branch = self.branch(link);
        let nibble = nibble(key, branch.depth);
        let (rank, count) = (branch.rank(nibble), branch.count());
        if count == 2 {
            let sibling = *self.child(branch.children + 1 - rank);
            *self.child_mut(place) = sibling.changed();
            self.children.remove(branch.children, count);
            self.branches.remove(link.index());
        } else {
            let children = self.children.take(branch.children, count, rank as usize);
            let mask = branch.mask & !(1 << nibble);
            *self.branches.get_mut(link.index()) = Branch { children, mask, ..branch };
        }
        Some(leaf)
    }

    /// The places on the way to a key that is there.
    fn path(&self, root: u32, key: &B256) -> Path {
        let mut path = Path::with_capacity(usize::from(NIBBLES) / 4);
        let mut next = Some(root);
        while let Some(place) = next {
            path.push(place);
            let link = self.child(place).link();
            next = if link.is_leaf() {
                None
            } else {
                let branch = self.branch(link);
                branch.place(nibble(key, branch.depth))
            };
        }
        path
    }

    /// Removes all keys of a trie, and their leaves.
    pub(super) fn clear<L>(&mut self, root: u32, leaves: &mut Slab<L>) {
        let mut links = Vec::from([self.child(root).link()]);
        *self.child_mut(root) = Child::EMPTY;
        while let Some(link) = links.pop() {
            if link.is_empty() {
                continue;
            }
            if link.is_leaf() {
                leaves.remove(link.index());
                continue;
            }
            let branch = self.branch(link);
            links.extend(self.children(branch).iter().map(Child::link));
            self.children.remove(branch.children, branch.count());
            self.branches.remove(link.index());
        }
    }

    /// Makes a trie of leaves that lie side by side in order of their keys, all different. `first` is
    /// the index of the first one.
    #[allow(clippy::cast_possible_truncation, reason = "leaves are at most ITEMS_MAX")]
    pub(super) fn build<L: Leaf>(&mut self, place: u32, first: u32, leaves: &[L]) {
        let [start, .., end] = leaves else {
            if !leaves.is_empty() {
                *self.child_mut(place) = Child::new(Link::leaf(first));
            }
            return;
        };
        let depth = common(start.key(), end.key());
        let mask = leaves.iter().fold(0u16, |mask, leaf| mask | 1 << nibble(leaf.key(), depth));
        let children = self.children.add(mask.count_ones() as usize, Child::EMPTY);
        let branch = Branch { children, mask, depth };
        let index = self.branches.add(branch);
        *self.child_mut(place) = Child::new(Link::branch(index));
        let (mut rest, mut first) = (leaves, first);
        for place in branch.places() {
            let Some(head) = rest.first() else { return };
            let own = nibble(head.key(), depth);
            let count = rest.partition_point(|leaf| nibble(leaf.key(), depth) == own);
            self.build(place, first, &rest[..count]);
            (rest, first) = (&rest[count..], first + count as u32);
        }
    }

    /// Whether `keys` more keys surely fit.
    pub(super) fn has_room(&self, keys: usize) -> bool {
        // A key adds at most one branch, and moves or adds at most three runs.
        let children = keys.saturating_mul(3 * 16);
        let branches = self.branches.places().saturating_add(keys);
        self.children.places().saturating_add(children) < u32::MAX as usize && branches < ITEMS_MAX
    }

    /// Makes room for tries of this many leaves of random keys, which have 0.4 branches a leaf.
    pub(super) fn reserve(&mut self, leaves: usize) {
        self.branches.reserve(leaves / 2);
        self.children.reserve(leaves + leaves / 2);
    }

    /// Gives back room that is not used.
    pub(super) fn shrink(&mut self) {
        self.branches.shrink();
        self.children.shrink();
    }

    pub(super) fn bytes(&self) -> usize {
        self.branches.bytes() + self.children.bytes()
    }
}

fn leaf_at(key: &B256, depth: u8, leaf: u32) -> (u8, Child) {
    (nibble(key, depth), Child::new(Link::leaf(leaf)))
}
