//! Where nodes live: dense vectors whose places are used again. A place is known by its index, half
//! the size of a pointer; nothing moves while it is in use.

use std::vec::Vec;

/// Items that one vector may hold: an index must fit beside the flags of a [`Link`](super::link::Link).
pub(super) const ITEMS_MAX: usize = (1 << 29) - 2;

/// A vector grows by this part of its length: less memory than doubling, at a copy now and then.
const GROWTH_PART: usize = 8;

/// Appends, and returns the index. The caller has made sure of [`ITEMS_MAX`].
#[allow(clippy::cast_possible_truncation, reason = "ITEMS_MAX is below the limit of u32")]
fn append<T>(items: &mut Vec<T>, item: T) -> u32 {
    if items.len() == items.capacity() {
        items.reserve_exact(items.len() / GROWTH_PART + 8);
    }
    items.push(item);
    (items.len() - 1) as u32
}

fn at(index: u32) -> usize {
    index as usize
}

/// Items of one size.
#[derive(Debug)]
pub(super) struct Slab<T> {
    items: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn of(mut items: Vec<T>) -> Self {
        items.shrink_to_fit();
        Self { items, free: Vec::new() }
    }

    pub(super) fn add(&mut self, item: T) -> u32 {
        match self.free.pop() {
            Some(index) => {
                self.items[at(index)] = item;
                index
            }
            None => append(&mut self.items, item),
        }
    }

    /// Gives a place back. Its item stays readable until the place is used again.
    pub(super) fn remove(&mut self, index: u32) {
        self.free.push(index);
        if self.free.len() == self.items.len() {
            *self = Self::default();
        }
    }

    pub(super) fn get(&self, index: u32) -> &T {
        &self.items[at(index)]
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        &mut self.items[at(index)]
    }

    /// Items in use.
    pub(super) fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    /// All items of a slab that none was removed from.
    pub(super) fn all(&self) -> &[T] {
        &self.items
    }

    /// Places, used or not.
    pub(super) fn places(&self) -> usize {
        self.items.len()
    }

    pub(super) fn reserve(&mut self, items: usize) {
        self.items.reserve_exact(items);
    }

    pub(super) fn shrink(&mut self) {
        self.items.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

/// The longest run: the children of a full branch.
const RUN_MAX: usize = 16;

/// Runs of one to sixteen items side by side.
#[derive(Debug)]
pub(super) struct Runs<T> {
    items: Vec<T>,
    /// Free runs by their length less one.
    free: [Vec<u32>; RUN_MAX],
    /// Items in free runs.
    free_items: usize,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self { items: Vec::new(), free: Default::default(), free_items: 0 }
    }
}

impl<T: Copy> Runs<T> {
    /// A run of `length` items; each holds `fill` until it is set.
    pub(super) fn add(&mut self, length: usize, fill: T) -> u32 {
        if let Some(start) = self.free[length - 1].pop() {
            self.free_items -= length;
            self.items[at(start)..][..length].fill(fill);
            return start;
        }
        let start = append(&mut self.items, fill);
        for _ in 1..length {
            append(&mut self.items, fill);
        }
        start
    }

    pub(super) fn remove(&mut self, start: u32, length: usize) {
        self.free[length - 1].push(start);
        self.free_items += length;
        if self.free_items == self.items.len() {
            *self = Self::default();
        }
    }

    /// Moves a run to a new place with room for one more item before `index`, which is set to `item`.
    pub(super) fn insert(&mut self, start: u32, length: usize, index: usize, item: T) -> u32 {
        let new = self.add(length + 1, item);
        let (from, to) = (at(start), at(new));
        self.items.copy_within(from..from + index, to);
        self.items.copy_within(from + index..from + length, to + index + 1);
        self.remove(start, length);
        new
    }

    /// Moves a run to a new place without the item at `index`.
    pub(super) fn take(&mut self, start: u32, length: usize, index: usize) -> u32 {
        let new = self.add(length - 1, self.items[at(start)]);
        let (from, to) = (at(start), at(new));
        self.items.copy_within(from..from + index, to);
        self.items.copy_within(from + index + 1..from + length, to + index);
        self.remove(start, length);
        new
    }

    pub(super) fn run(&self, start: u32, length: usize) -> &[T] {
        &self.items[at(start)..][..length]
    }

    pub(super) fn get(&self, index: u32) -> &T {
        &self.items[at(index)]
    }

    pub(super) fn get_mut(&mut self, index: u32) -> &mut T {
        &mut self.items[at(index)]
    }

    /// Places, used or not.
    pub(super) fn places(&self) -> usize {
        self.items.len()
    }

    pub(super) fn reserve(&mut self, items: usize) {
        self.items.reserve_exact(items);
    }

    pub(super) fn shrink(&mut self) {
        self.items.shrink_to_fit();
    }

    pub(super) fn bytes(&self) -> usize {
        let free: usize = self.free.iter().map(Vec::capacity).sum();
        self.items.capacity() * size_of::<T>() + free * size_of::<u32>()
    }
}
