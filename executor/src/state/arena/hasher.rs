//! Hashing what has changed, level by level from the leaves up, with as many nodes of all shards in
//! one batch as there are. Changes references only; the shape of the tries is not touched.

use super::{
    encode,
    link::HASHED_BYTES_MIN,
    shard::{Kind, Shard},
};
use crate::keccak::{Backend, Batch};
use alloy_primitives::B256;
use std::vec::Vec;

/// A node to hash.
#[derive(Clone, Copy, Debug)]
struct Task {
    /// Index among the shards at hand.
    shard: u32,
    /// Where the node hangs.
    place: u32,
    /// Depth of that place.
    from: u8,
}

/// Depths that a branch may have, and one for the root of a trie.
const LEVELS: usize = 64;

/// The memory that hashing needs, kept from block to block.
#[derive(Debug)]
pub(super) struct Hasher {
    batch: Batch<Task>,
    leaves: Vec<Task>,
    /// Branches by their depth.
    levels: [Vec<Task>; LEVELS],
    /// Branches of a level that an extension leads to.
    extensions: Vec<Task>,
    stack: Vec<(u32, u8)>,
    message: Vec<u8>,
    value: Vec<u8>,
}

impl Hasher {
    /// `None` if this processor does not have the backend.
    pub(super) fn new(backend: Backend) -> Option<Self> {
        Some(Self {
            batch: Batch::new(backend)?,
            leaves: Vec::new(),
            levels: [const { Vec::new() }; LEVELS],
            extensions: Vec::new(),
            stack: Vec::new(),
            message: Vec::new(),
            value: Vec::new(),
        })
    }

    /// Brings all references of the shards up to date. `depth` is that of the shards' roots.
    pub(super) fn hash(&mut self, depth: u8, shards: &mut [&mut Shard]) {
        for (index, shard) in (0..).zip(shards.iter_mut()) {
            let mut changed = std::mem::take(&mut shard.changed);
            changed.sort_unstable();
            changed.dedup();
            for place in changed.drain(..) {
                self.collect(index, shard, (place, 0));
            }
            shard.changed = changed;
        }
        self.hash_collected(Kind::Storage, shards);
        for (index, shard) in (0..).zip(shards.iter()) {
            self.collect(index, shard, (shard.root, depth));
        }
        self.hash_collected(Kind::Accounts, shards);
    }

    /// Notes every node of a trie whose reference is out of date.
    fn collect(&mut self, shard_index: u32, shard: &Shard, root: (u32, u8)) {
        self.stack.push(root);
        while let Some((place, from)) = self.stack.pop() {
            let link = shard.nodes.child(place).link();
            if link.is_empty() || !link.is_dirty() {
                continue;
            }
            let task = Task { shard: shard_index, place, from };
            if link.is_leaf() {
                self.leaves.push(task);
                continue;
            }
            let branch = shard.nodes.branch(link);
            self.levels[usize::from(branch.depth)].push(task);
            let children = branch.places().zip(shard.nodes.children(branch));
            let dirty = children.filter(|(_, child)| child.link().is_dirty());
            self.stack.extend(dirty.map(|(place, _)| (place, branch.depth + 1)));
        }
    }

    fn hash_collected(&mut self, kind: Kind, shards: &mut [&mut Shard]) {
        let mut tasks = std::mem::take(&mut self.leaves);
        for task in tasks.drain(..) {
            self.message.clear();
            let shard = &shards[task.shard as usize];
            let leaf = shard.nodes.child(task.place).link().index();
            shard.put_leaf((kind, leaf), task.from, &mut self.value, &mut self.message);
            self.submit(task, shards);
        }
        self.finish(shards);
        self.leaves = tasks;
        for depth in (0..LEVELS).rev() {
            let mut tasks = std::mem::take(&mut self.levels[depth]);
            for task in tasks.drain(..) {
                self.hash_branch(depth, task, shards);
            }
            self.finish(shards);
            self.levels[depth] = tasks;
            self.hash_extensions(kind, depth, shards);
        }
    }

    fn hash_branch(&mut self, depth: usize, task: Task, shards: &mut [&mut Shard]) {
        self.message.clear();
        let shard = &shards[task.shard as usize];
        let link = shard.nodes.child(task.place).link();
        shard.nodes.put_branch(link, &mut self.message);
        if usize::from(task.from) == depth {
            self.submit(task, shards);
        } else {
            // Until the level is done, the place has the reference of the branch, which the extension
            // contains; so the node at a root is the extension, and the branch is none.
            self.extensions.push(task);
            self.submit(Task { from: branch_depth(depth), ..task }, shards);
        }
    }

    fn hash_extensions(&mut self, kind: Kind, depth: usize, shards: &mut [&mut Shard]) {
        if self.extensions.is_empty() {
            return;
        }
        let mut tasks = std::mem::take(&mut self.extensions);
        for task in tasks.drain(..) {
            self.message.clear();
            let shard = &shards[task.shard as usize];
            let child = shard.nodes.child(task.place);
            let span = (task.from, branch_depth(depth));
            let key = shard.key_below(kind, child.link());
            let put_branch = |out: &mut Vec<u8>| child.put_item(out);
            encode::extension(&mut self.message, key, span, child.item_bytes(), put_branch);
            self.submit(task, shards);
        }
        self.finish(shards);
        self.extensions = tasks;
    }

    /// Sets the reference to the node that `message` holds. That of a root is a hash always.
    fn submit(&mut self, task: Task, shards: &mut [&mut Shard]) {
        if self.message.len() < HASHED_BYTES_MIN && task.from > 0 {
            let shard = &mut shards[task.shard as usize];
            shard.nodes.child_mut(task.place).embed(&self.message);
            return;
        }
        self.batch.push(task, &self.message, &mut |task, hash| set(shards, task, hash));
    }

    fn finish(&mut self, shards: &mut [&mut Shard]) {
        self.batch.finish(&mut |task, hash| set(shards, task, hash));
    }
}

fn set(shards: &mut [&mut Shard], task: Task, hash: B256) {
    shards[task.shard as usize].nodes.child_mut(task.place).set_hash(hash);
}

/// The depth of the branches of a level.
#[allow(clippy::cast_possible_truncation, reason = "below LEVELS")]
fn branch_depth(level: usize) -> u8 {
    level as u8
}
